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

// The pages speak the language that a browser asks for, out of those for which
// there is a file: adding a language is adding one. A file maps keys to texts;
// a text whose words depend on a number is an object of plural forms.

// messageText is a text, or its forms by the plural category of the first argument.
type messageText struct {
	text  string
	forms map[string]string
}

// UnmarshalJSON reads a string or an object of strings.
func (p *messageText) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &p.text) == nil {
		return nil
	}
	if err := json.Unmarshal(b, &p.forms); err != nil || p.forms["other"] == "" {
		return errors.New(`want a text, or an object of plural forms with at least "other"`)
	}
	return nil
}

// messages holds the texts of one language by their keys.
type messages map[string]messageText

// catalogs are the messages of all languages, made ready.
type catalogs struct {
	tags    []language.Tag // English first: it is spoken to whom nothing else fits
	matcher language.Matcher
	catalog catalog.Catalog
	keys    map[string]bool
	english map[language.Tag]map[string]bool // keys of texts that a language lacks
}

// readCatalogs adds the files of a folder, over those that are there. Only
// what English has is a key.
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
		// A key that English lacks is a misspelled one: its text would never be said, and the
		// right key would be said in English without a word about it.
		for key := range words {
			if english := all[language.English]; english != nil && english[key].empty() {
				return fmt.Errorf("%s: there is no text %q", file, key)
			}
		}
		// An operator's file is laid over ours, text by text.
		if all[tag] == nil {
			all[tag] = messages{}
		}
		maps.Copy(all[tag], words)
	}
	return nil
}

// empty reports whether there is no text: a language that lacks it says it in English.
func (p messageText) empty() bool { return p.text == "" && p.forms == nil }

// newCatalogs makes catalogs ready. What a language lacks it says in English.
func newCatalogs(all map[language.Tag]messages) (*catalogs, error) {
	builder := catalog.NewBuilder(catalog.Fallback(language.English))
	l := &catalogs{catalog: builder, keys: map[string]bool{}, english: map[language.Tag]map[string]bool{}}
	// Every language gets every key, so that a page never says a key for want of a text. Which
	// ones are English in truth is kept: a screen reader has to be told (WCAG 2.2 §3.1.2).
	for tag, words := range all {
		l.tags = append(l.tags, tag)
		l.english[tag] = map[string]bool{}
		for key, english := range all[language.English] {
			p := words[key]
			if p.empty() {
				p, l.english[tag][key] = english, true
			}
			l.keys[key] = true
			if err := p.add(builder, tag, key); err != nil {
				return nil, fmt.Errorf("%s.json: %s: %w", tag, key, err)
			}
		}
	}
	// The matcher takes the first language for a browser that asks for none of them.
	slices.SortFunc(l.tags, func(a, b language.Tag) int {
		if a == language.English || b == language.English {
			return cmp.Compare(b2i(b == language.English), b2i(a == language.English))
		}
		return strings.Compare(a.String(), b.String())
	})
	l.matcher = language.NewMatcher(l.tags)
	return l, nil
}

// b2i is for comparing truth values: true comes after false.
func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// add puts a text into a catalog, by its plural forms where it has some.
func (p messageText) add(to *catalog.Builder, tag language.Tag, key string) error {
	if p.forms == nil {
		return to.SetString(tag, key, p.text)
	}
	// The categories of CLDR; "other" is the one that every language has, and comes last.
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

// A localizer is one language, for one page.
type localizer struct {
	printer *message.Printer
	keys    map[string]bool
	english map[string]bool // those of texts that are said in English, for want of others
	wanted  []language.Tag  // this language as the browser asks for it, say de-AT, and as the page has it
	Lang    string          // for the page's lang attribute and Content-Language
	Dir     string          // ltr or rtl
}

// speak finds the language that a browser asks for (RFC 9110 §12.5.4).
func (l *catalogs) speak(r *http.Request) *localizer {
	// A header that cannot be read is as good as none.
	wanted, _, _ := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	return l.speakTo(wanted)
}

// speakTo finds the language for a person who wants these, the best first.
func (l *catalogs) speakTo(wanted []language.Tag) *localizer {
	// Before the matcher, which takes simplified letters for good enough.
	wanted = readableTags(wanted, l.tags)
	_, i, _ := l.matcher.Match(wanted...)
	s := l.speech(i)
	page, _ := l.tags[i].Base()
	same := slices.DeleteFunc(wanted, func(tag language.Tag) bool {
		base, _ := tag.Base()
		return base != page
	})
	// An operator's scope text may have the very variant that the browser asks for, say de-AT,
	// where the page itself is in de.
	s.wanted = append(same, s.wanted...)
	return s
}

// readableTags leaves Chinese out in letters that there are no texts in: whoever reads
// traditional ones has more of the next language that they ask for, or of English,
// than of simplified ones. The bare zh that browsers put after zh-HK goes with it.
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

// chinese is the one language here whose readers differ by script.
var chinese, _ = language.Chinese.Base()

// hasScript reports whether one of the languages has these letters.
func hasScript(list []language.Tag, letters language.Script) bool {
	return slices.ContainsFunc(list, func(tag language.Tag) bool {
		script, _ := tag.Script()
		return script == letters
	})
}

// speech is the localizer of the i-th language; English is the first.
func (l *catalogs) speech(i int) *localizer {
	tag := l.tags[i]
	s := &localizer{
		printer: message.NewPrinter(tag, message.Catalog(l.catalog)), keys: l.keys, english: l.english[tag],
		wanted: []language.Tag{tag}, Lang: tag.String(), Dir: "ltr",
	}
	// No language of ours is; an operator's file may add one.
	if script, _ := tag.Script(); slices.Contains(rightToLeft, script.String()) {
		s.Dir = "rtl"
	}
	return s
}

// rightToLeft are the scripts in use that are written so.
var rightToLeft = []string{"Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"}

// The marks that keep a name from turning the words around it.
const (
	isolate    = "\u2068"
	endIsolate = "\u2069"
)

// Say returns the text of a key, for templates, which may be an operator's:
// a key that there is not is an error.
func (s *localizer) Say(key string, args ...any) (string, error) {
	if !s.keys[key] {
		return "", fmt.Errorf("there is no text %q", key)
	}
	return s.say(key, args...), nil
}

// say returns the text of a key that there is. Names in it are made plain.
func (s *localizer) say(key string, args ...any) string {
	for i, arg := range args {
		if name, ok := arg.(string); ok {
			args[i] = text.Plain(name)
			// In a page that runs from right to left, a name in Latin letters would take the
			// punctuation around it along.
			if s.Dir == "rtl" {
				args[i] = isolate + text.Plain(name) + endIsolate
			}
		}
	}
	return s.printer.Sprintf(key, args...)
}

// Ago says how long ago a time was, as people do.
func (s *localizer) Ago(t time.Time) string {
	d := time.Since(t)
	// A clock that was set back makes of a time just now one in the future: that is "just now", too.
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

// A Message is a text that has not found its language yet.
type Message struct {
	key  string
	args []any
}

// newMessage returns the text of a key with its arguments.
func newMessage(key string, args ...any) Message { return Message{key: key, args: args} }

// text says a message in this language. Its arguments are copied, since say changes them.
func (s *localizer) text(t Message) string { return s.say(t.key, slices.Clone(t.args)...) }
