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

// scopeText is what an operator says of one scope, ready to be said in the
// language of a page.
type scopeText struct {
	text    string // for whom there is none in their language; may be empty
	texts   []localizedText
	tags    []language.Tag   // of those texts whose language is known
	matcher language.Matcher // of tags
	matches []int            // of each tag: which of texts it is
}

// localizedText is one of an operator's texts.
type localizedText struct {
	text string
	tag  language.Tag // what is known of the language; und: nothing
	lang string       // for a lang attribute
}

// undetermined is the language of tags whose language is unknown. A matcher
// would take it for English, as the likeliest.
var undetermined, _, _ = language.Und.Raw()

// languageTag has the characters of a tag (RFC 5646 §2.1). The parser would
// take an underscore too, and browsers do not.
var languageTag = regexp.MustCompile(`^[0-9A-Za-z]+(-[0-9A-Za-z]+)*$`)

// parseLanguage reads a well-formed language tag (RFC 5646 §2.2.9). Subtags that
// that are in no registry are well-formed too; the tag is then what remains.
func parseLanguage(s string) (tag language.Tag, lang string, err error) {
	if !languageTag.MatchString(s) {
		err = errors.New("other characters than letters, digits and hyphens")
	} else {
		tag, err = language.Parse(s)
	}
	// A tag of a language that the tables lack is taken as it is written: the operator may lay a
	// file for it over ours.
	var unknown language.ValueError
	if errors.As(err, &unknown) {
		return tag, strings.ToLower(s), nil
	}
	if err != nil {
		return tag, "", fmt.Errorf("%q is no language tag: want one such as de or pt-BR (BCP 47)", s)
	}
	return tag, tag.String(), nil
}

// newScopeText checks the texts of a scope. One that has none is nil.
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
		// Texts without a known language are found by their tag alone, never by a guess.
		if base, _, _ := tag.Raw(); base != undetermined {
			t.tags, t.matches = append(t.tags, tag), append(t.matches, len(t.texts)-1)
		}
	}
	// Our own words for the scope are said then, or the scope itself.
	if s.Text == "" && len(s.Texts) == 0 {
		return nil, nil
	}
	t.matcher = language.NewMatcher(t.tags)
	return t, nil
}

// newScopeTexts makes the texts of all scopes ready.
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

// in returns the text for a page, and the language tag of that text, or "" where
// its language is not given.
func (t *scopeText) in(s *localizer) (text, lang string) {
	// In the language of the page first: a page in German with a scope in French reads as a
	// mistake.
	if i := t.match(s.wanted...); i >= 0 {
		return t.texts[i].text, t.texts[i].lang
	}
	if t.text != "" {
		return t.text, ""
	}
	// English is what most people read who read none of the others.
	i := max(t.match(language.English), 0)
	return t.texts[i].text, t.texts[i].lang
}

// match finds the text for a person who wants these languages, the best first,
// as the pages' own language is found; -1: there is none.
func (t *scopeText) match(wanted ...language.Tag) int {
	_, i, confidence := t.matcher.Match(readableTags(wanted, t.tags)...)
	// The matcher always names one; without confidence it is only the first.
	if confidence == language.No {
		return -1
	}
	return t.matches[i]
}

// CheckScopeTexts says what is wrong with what an operator says of scopes: a
// language tag that is not well-formed (BCP 47), two texts of a scope in one
// language, an empty one, a scope that is declared twice.
func CheckScopeTexts(list ...deviceauth.ScopeText) error {
	_, err := newScopeTexts(list)
	return err
}

// ScopeAdvice names the texts of scopes that are never shown, because no page
// is in their language. It reads the brand's templates, which may add languages.
func ScopeAdvice(b Brand, list []deviceauth.ScopeText) (advice []string) {
	p, err := newRenderer(b, "", "")
	scopes, wrong := newScopeTexts(list)
	if err != nil || wrong != nil {
		return nil // the check of the texts reports it
	}
	for _, s := range list {
		for i, text := range s.Texts {
			t := scopes[s.Scope]
			speaker := p.languages.speakTo([]language.Tag{t.texts[i].tag})
			if _, lang := t.in(speaker); lang != t.texts[i].lang {
				advice = append(advice, fmt.Sprintf("scope %s: nobody will read the text in %s: "+
					"the pages do not speak it, and would with a file languages/%[2]s.json in the brand's templates",
					s.Scope, text.Language))
			}
		}
	}
	return advice
}
