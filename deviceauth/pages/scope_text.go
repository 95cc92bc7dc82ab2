package pages

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/language"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// scopeText is an operator's explanation of a scope, prepared for the choice of a
// language.
type scopeText struct {
	text    string // for people whose language is not in texts; may be empty
	texts   []localizedText
	tags    []language.Tag   // of the texts whose language is known
	matcher language.Matcher // of tags
	matches []int            // by index of tags: the index in texts
}

// localizedText is one of an operator's texts.
type localizedText struct {
	text string
	tag  language.Tag // what is known of the language; und: nothing
	lang string       // for a lang attribute
}

// undetermined is the base of tags whose language is unknown. A matcher would take it
// for English, as the likeliest.
var undetermined, _, _ = language.Und.Raw()

// languageTag matches the characters of a tag (RFC 5646 §2.1). The parser would also
// accept an underscore, but browsers do not.
var languageTag = regexp.MustCompile(`^[0-9A-Za-z]+(-[0-9A-Za-z]+)*$`)

// parseLanguage parses a well-formed language tag (RFC 5646 §2.2.9). Unregistered
// subtags are well-formed, too, and are omitted from tag.
func parseLanguage(s string) (tag language.Tag, lang string, err error) {
	if !languageTag.MatchString(s) {
		err = errors.New("other characters than letters, digits and hyphens")
	} else {
		tag, err = language.Parse(s)
	}
	// The tag of a language that the tables lack is returned as it is written: the
	// operator may add a file for it.
	var unknown language.ValueError
	if errors.As(err, &unknown) {
		return tag, strings.ToLower(s), nil
	}
	if err != nil {
		return tag, "", fmt.Errorf("%q is no language tag: want one such as de or pt-BR (BCP 47)", s)
	}
	return tag, tag.String(), nil
}

// newScopeText checks the texts of a scope. It returns nil if there are none.
func newScopeText(s deviceauth.ScopeText) (*scopeText, error) {
	t := &scopeText{text: s.Text}
	for _, localized := range s.Texts {
		tag, lang, err := parseLanguage(localized.Language)
		switch {
		case err != nil:
			return nil, fmt.Errorf("scope %s: %w", s.Scope, err)
		case slices.ContainsFunc(t.texts, func(other localizedText) bool { return other.lang == lang }):
			return nil, fmt.Errorf("scope %s: there are two texts in %s: want one for each language",
				s.Scope, localized.Language)
		case strings.TrimSpace(text.Plain(localized.Text)) == "":
			return nil, fmt.Errorf("scope %s: the text in %s is empty: want what the scope allows, in words",
				s.Scope, localized.Language)
		}
		t.texts = append(t.texts, localizedText{text: localized.Text, tag: tag, lang: lang})
		// Texts without a known language are found only by their exact tag.
		if base, _, _ := tag.Raw(); base != undetermined {
			t.tags, t.matches = append(t.tags, tag), append(t.matches, len(t.texts)-1)
		}
	}
	// Then our own text for the scope is shown, or the scope itself.
	if s.Text == "" && len(s.Texts) == 0 {
		return nil, nil
	}
	t.matcher = language.NewMatcher(t.tags)
	return t, nil
}

// newScopeTexts prepares the texts of all scopes.
func newScopeTexts(list []deviceauth.ScopeText) (map[string]*scopeText, error) {
	all := map[string]*scopeText{}
	for _, s := range list {
		if _, twice := all[s.Scope]; twice {
			return nil, fmt.Errorf("duplicate scope %s", s.Scope)
		}
		t, err := newScopeText(s)
		if err != nil {
			return nil, err
		}
		all[s.Scope] = t
	}
	return all, nil
}

// in returns the text for a page, and the language tag of that text, or "" if its
// language is unknown.
func (t *scopeText) in(s *localizer) (text, lang string) {
	// The page's language comes first: a German page with a French scope looks like a
	// mistake.
	if i := t.match(s.wanted...); i >= 0 {
		return t.texts[i].text, t.texts[i].lang
	}
	if t.text != "" {
		return t.text, ""
	}
	// English is readable for most people who read none of the other languages.
	i := max(t.match(language.English), 0)
	return t.texts[i].text, t.texts[i].lang
}

// match returns the index of the text for some languages, the preferred one first, as
// for the pages' own language; -1: there is none.
func (t *scopeText) match(wanted ...language.Tag) int {
	_, i, confidence := t.matcher.Match(readableTags(wanted, t.tags)...)
	// The matcher always returns one; without confidence it is only the first.
	if confidence == language.No {
		return -1
	}
	return t.matches[i]
}

// CheckScopeTexts checks an operator's explanations of scopes. It returns an error
// for a language tag that is not well-formed (BCP 47), two texts of a scope in one
// language, an empty text, or a scope that is declared twice.
func CheckScopeTexts(list ...deviceauth.ScopeText) error {
	_, err := newScopeTexts(list)
	return err
}

// ScopeAdvice returns hints about texts of scopes that are never shown, because no
// page is in their language. It reads the brand's templates, which may add languages.
func ScopeAdvice(b Brand, list []deviceauth.ScopeText) (advice []string) {
	p, err := newRenderer(b, "", "")
	scopes, wrong := newScopeTexts(list)
	if err != nil || wrong != nil {
		return nil // the check of the texts reports it
	}
	for _, s := range list {
		for i, text := range s.Texts {
			t := scopes[s.Scope]
			reader := p.languages.forLanguages([]language.Tag{t.texts[i].tag})
			if _, lang := t.in(reader); lang != t.texts[i].lang {
				advice = append(advice, fmt.Sprintf("scope %s: the text in %s is never shown: "+
					"the pages are not in that language, and would be with a file languages/%[2]s.json "+
					"in the brand's templates",
					s.Scope, text.Language))
			}
		}
	}
	return advice
}
