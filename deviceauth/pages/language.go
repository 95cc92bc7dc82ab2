package pages

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/message/catalog"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// The pages are in the language that a browser requests, among those with a file. A
// file maps keys to texts; a text that depends on a number is an object of plural
// forms.

// messageText is a text, or its forms by plural category of the first argument.
type messageText struct {
	text  string
	forms map[string]string
}

// UnmarshalJSON decodes a string or an object of strings.
func (p *messageText) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &p.text) == nil {
		return nil
	}
	if err := json.Unmarshal(b, &p.forms); err != nil || p.forms["other"] == "" {
		return errors.New(`want a text, or an object of plural forms with at least "other"`)
	}
	return nil
}

// messages are the texts of a language by key.
type messages map[string]messageText

// catalogs are the compiled messages of all languages.
type catalogs struct {
	tags         []language.Tag // English first: it is the default
	matcher      language.Matcher
	catalog      catalog.Catalog
	keys         map[string]bool
	untranslated map[language.Tag]map[string]bool // keys of texts that a language lacks
}

// readCatalogs reads the files of a folder, which override existing texts. Only keys
// of English are permitted.
func readCatalogs(all map[language.Tag]messages, folder fs.FS, dir string) error {
	files, err := fs.Glob(folder, path.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		tag, err := language.Parse(strings.TrimSuffix(path.Base(file), ".json"))
		if err != nil {
			return fmt.Errorf("%s: its name is no language: want something like de.json or pt-BR.json", file)
		}
		text, err := fs.ReadFile(folder, file)
		if err != nil {
			return err
		}
		var words messages
		if err := json.Unmarshal(text, &words); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		// A key that English lacks is misspelled: its text would never be used, and
		// the right key would silently be shown in English.
		for key := range words {
			if english := all[language.English]; english != nil && english[key].empty() {
				return fmt.Errorf("%s: there is no text %q", file, key)
			}
		}
		// Each text of an operator's file overrides ours.
		if all[tag] == nil {
			all[tag] = messages{}
		}
		maps.Copy(all[tag], words)
	}
	return nil
}

// empty reports whether there is no text, so that the English one is used.
func (p messageText) empty() bool { return p.text == "" && p.forms == nil }

// newCatalogs compiles catalogs. Missing texts of a language are in English.
func newCatalogs(all map[language.Tag]messages) (*catalogs, error) {
	builder := catalog.NewBuilder(catalog.Fallback(language.English))
	l := &catalogs{catalog: builder, keys: map[string]bool{}, untranslated: map[language.Tag]map[string]bool{}}
	// Every language gets all keys, so that no page shows a key. Texts that are
	// actually English are recorded, because a screen reader must know (WCAG 2.2
	// §3.1.2).
	for tag, words := range all {
		l.tags = append(l.tags, tag)
		l.untranslated[tag] = map[string]bool{}
		for key, english := range all[language.English] {
			p := words[key]
			if p.empty() {
				p, l.untranslated[tag][key] = english, true
			}
			l.keys[key] = true
			if err := p.add(builder, tag, key); err != nil {
				return nil, fmt.Errorf("%s.json: %s: %w", tag, key, err)
			}
		}
	}
	// The matcher uses the first language for a browser that requests none of them.
	slices.SortFunc(l.tags, func(a, b language.Tag) int {
		if a == language.English || b == language.English {
			return cmp.Compare(b2i(b == language.English), b2i(a == language.English))
		}
		return strings.Compare(a.String(), b.String())
	})
	l.matcher = language.NewMatcher(l.tags)
	return l, nil
}

// b2i converts a boolean for comparisons: true is greater than false.
func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// add adds a text to a catalog, with its plural forms if it has any.
func (p messageText) add(to *catalog.Builder, tag language.Tag, key string) error {
	if p.forms == nil {
		return to.SetString(tag, key, p.text)
	}
	// The categories of CLDR; "other" exists in every language, and must be last.
	var cases []any
	for _, form := range slices.Sorted(maps.Keys(p.forms)) {
		if form != "other" {
			cases = append(cases, form, p.forms[form])
		}
	}
	return to.Set(tag, key, plural.Selectf(1, "%d", append(cases, "other", p.forms["other"])...))
}

// knows reports whether there is a text for a key.
func (l *catalogs) knows(key string) bool { return l.keys[key] }

// A localizer is the language of a page.
type localizer struct {
	printer      *message.Printer
	keys         map[string]bool
	untranslated map[string]bool // keys whose texts are in English because this language lacks them
	wanted       []language.Tag  // this language as requested by the browser, for example de-AT, and that of the page
	Lang         string          // for the page's lang attribute and Content-Language
	Dir          string          // ltr or rtl
}

// forRequest returns the localizer for a request (RFC 9110 §12.5.4).
func (l *catalogs) forRequest(r *http.Request) *localizer {
	// An invalid header counts as missing.
	wanted, _, _ := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	return l.forLanguages(wanted)
}

// forLanguages returns the localizer for some languages, the preferred one first.
func (l *catalogs) forLanguages(wanted []language.Tag) *localizer {
	// Before the matcher, which would accept simplified characters for traditional
	// ones.
	wanted = readableTags(wanted, l.tags)
	_, i, _ := l.matcher.Match(wanted...)
	s := l.byIndex(i)
	page, _ := l.tags[i].Base()
	same := slices.DeleteFunc(wanted, func(tag language.Tag) bool {
		base, _ := tag.Base()
		return base != page
	})
	// An operator's scope text may be in exactly the requested variant, for example
	// de-AT, although the page itself is in de.
	s.wanted = append(same, s.wanted...)
	return s
}

// readableTags removes Chinese tags whose script no text has: readers of traditional
// characters prefer the next language, or English, to simplified ones. The plain zh
// that browsers append after zh-HK is removed as well.
func readableTags(wanted, have []language.Tag) (list []language.Tag) {
	left := map[language.Script]bool{}
	for _, tag := range wanted {
		base, script, region := tag.Raw()
		letters, _ := tag.Script()
		bare := script == language.Script{} && region == language.Region{}
		if base != chinese || hasScript(have, letters) && !(bare && len(left) > 0) {
			list = append(list, tag)
		} else {
			left[letters] = true
		}
	}
	return list
}

// chinese is the only language here whose readers differ by script.
var chinese, _ = language.Chinese.Base()

// hasScript reports whether one of the languages has this script.
func hasScript(list []language.Tag, letters language.Script) bool {
	return slices.ContainsFunc(list, func(tag language.Tag) bool {
		script, _ := tag.Script()
		return script == letters
	})
}

// byIndex returns the localizer of the i-th language; English is the first.
func (l *catalogs) byIndex(i int) *localizer {
	tag := l.tags[i]
	s := &localizer{
		printer: message.NewPrinter(tag, message.Catalog(l.catalog)), keys: l.keys, untranslated: l.untranslated[tag],
		wanted: []language.Tag{tag}, Lang: tag.String(), Dir: "ltr",
	}
	// None of our languages is right-to-left, but an operator's file may be.
	if script, _ := tag.Script(); slices.Contains(rightToLeft, script.String()) {
		s.Dir = "rtl"
	}
	return s
}

// rightToLeft are the right-to-left scripts in use.
var rightToLeft = []string{"Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"}

// The characters that isolate a name from the direction of the surrounding text.
const (
	isolate    = "\u2068"
	endIsolate = "\u2069"
)

// Say returns the text of a key, for templates. An unknown key is an error, because
// templates may be an operator's.
func (s *localizer) Say(key string, args ...any) (string, error) {
	if !s.keys[key] {
		return "", fmt.Errorf("there is no text %q", key)
	}
	return s.say(key, args...), nil
}

// say returns the text of a known key. Names in it are converted by [text.Plain].
func (s *localizer) say(key string, args ...any) string {
	for i, arg := range args {
		if name, ok := arg.(string); ok {
			args[i] = text.Plain(name)
			// On a right-to-left page, a name in Latin letters would otherwise
			// reorder the punctuation around it.
			if s.Dir == "rtl" {
				args[i] = isolate + text.Plain(name) + endIsolate
			}
		}
	}
	return s.printer.Sprintf(key, args...)
}

// Ago returns in words how long ago a time was.
func (s *localizer) Ago(t time.Time) string {
	d := time.Since(t)
	// A time in the future, after the clock was set back, is "just now", too.
	switch {
	case d < time.Minute:
		return s.say("ago.now")
	case d < time.Hour:
		return s.say("ago.minutes", int(d.Minutes()))
	case d < 24*time.Hour:
		return s.say("ago.hours", int(d.Hours()))
	}
	return s.say("ago.days", int(d.Hours()/24))
}

// A Message is a text whose language has not been chosen yet.
type Message struct {
	key  string
	args []any
}

// newMessage returns the message of a key with its arguments.
func newMessage(key string, args ...any) Message { return Message{key: key, args: args} }

// text returns a message in this language. It copies the arguments, since say
// modifies them.
func (s *localizer) text(t Message) string { return s.say(t.key, slices.Clone(t.args)...) }
