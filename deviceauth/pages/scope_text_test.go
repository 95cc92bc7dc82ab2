package pages

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/language"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// inLanguages makes texts of tags: the text of de is "in de".
func inLanguages(text string, tags ...string) deviceauth.ScopeText {
	s := deviceauth.ScopeText{Scope: "read", Text: text}
	for _, tag := range tags {
		s.Texts = append(s.Texts, deviceauth.LocalizedText{Language: tag, Text: "in " + tag})
	}
	return s
}

func TestScopeIsSaidInThePagesLanguage(t *testing.T) {
	all := ownCatalogs(t)
	all[language.Italian] = messages{}
	l, err := newCatalogs(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, accept string
		text         deviceauth.ScopeText
		want, lang   string
	}{
		{"the page's", "de", inLanguages("", "en", "de"), "in de", ""},
		{"the browser's region, the page's language", "de-AT", inLanguages("", "en", "de"), "in de", ""},
		{"a region alone", "de", inLanguages("", "en", "de-AT"), "in de-AT", "de-AT"},
		{"the browser's region", "de-CH,de;q=0.9", inLanguages("", "de", "de-AT", "de-CH"), "in de-CH", "de-CH"},
		{"the tag in other case", "pt-BR", inLanguages("", "en", "PT-br"), "in PT-br", "pt-BR"},
		{"of an operator's page", "it", inLanguages("", "en", "it"), "in it", ""},
		{"English for whom there is none", "fr", inLanguages("", "de", "en"), "in en", "en"},
		{"some English for whom there is none", "fr", inLanguages("", "de", "en-GB"), "in en-GB", "en-GB"},
		{"the first without English", "fr", inLanguages("", "de", "es"), "in de", "de"},
		{"without a language for whom there is none", "fr", inLanguages("plain", "de", "en"), "plain", ""},
		{"without a language on an English page", "en", inLanguages("plain", "de"), "plain", ""},
		{"a language that no page speaks", "tlh", inLanguages("", "en", "tlh"), "in en", ""},
		{"a second language of the browser's", "de,fr", inLanguages("", "en", "fr"), "in en", "en"},
		{"other Chinese letters", "zh-CN", inLanguages("", "zh-TW", "en"), "in en", "en"},
		{"Chinese", "zh-CN", inLanguages("", "en", "zh-Hans"), "in zh-Hans", "zh-Hans"},
		{"a tag that nobody knows is no English", "en", inLanguages("", "qq", "en-GB"), "in en-GB", "en-GB"},
		{"a tag that nobody knows, as the first", "en", inLanguages("", "qq", "de"), "in qq", "qq"},
	} {
		t.Run(test.name, func(t *testing.T) {
			texts, err := newScopeText(test.text)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Accept-Language", test.accept)
			s, v := l.forRequest(r), scopeView{Texts: texts}
			if s.Scope(v) != test.want || s.ScopeLang(v) != test.lang {
				t.Errorf("%q in %q on a page in %s, want %q in %q", s.Scope(v), s.ScopeLang(v), s.Lang,
					test.want, test.lang)
			}
		})
	}
}

func TestOurTextOfAScopeTellsThatItIsEnglish(t *testing.T) {
	all := ownCatalogs(t)
	all[language.Italian] = messages{}
	l, err := newCatalogs(all)
	if err != nil {
		t.Fatal(err)
	}
	for accept, want := range map[string]string{"it": "en", "de": "", "en": ""} {
		s := l.forLanguages([]language.Tag{language.MustParse(accept)})
		if got := s.ScopeLang(scopeView{Key: "scope.email"}); got != want {
			t.Errorf("%s: %q, want %q", accept, got, want)
		}
	}
}

func TestTextsOfScopesAreChecked(t *testing.T) {
	empty := deviceauth.ScopeText{Scope: "read", Texts: []deviceauth.LocalizedText{{Language: "de", Text: " "}}}
	one := func(tags ...string) []deviceauth.ScopeText { return []deviceauth.ScopeText{inLanguages("", tags...)} }
	for name, test := range map[string]struct {
		texts []deviceauth.ScopeText
		want  string
	}{
		"none":                {nil, ""},
		"no text at all":      {[]deviceauth.ScopeText{{Scope: "read"}}, ""},
		"any well-formed tag": {one("en", "qq", "x-klingon", "de-CH-1996", "sr-Latn-RS"), ""},
		"an underscore":       {one("de_DE"), `scope read: "de_DE" is no language tag`},
		"a language's name":   {one("german"), `"german" is no language tag`},
		"an empty tag":        {one(""), `"" is no language tag`},
		"twice":               {one("de", "DE"), "two texts in DE"},
		"an old name":         {one("he", "iw"), "two texts in iw"},
		"an empty text":       {[]deviceauth.ScopeText{empty}, "the text in de is empty"},
		"a scope twice":       {[]deviceauth.ScopeText{inLanguages("a"), inLanguages("b")}, "duplicate scope read"},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckScopeTexts(test.texts...)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestUnusedTextsAreNamed(t *testing.T) {
	brand := Brand{Templates: write(t, map[string]string{"languages/it.json": `{}`})}
	list := []deviceauth.ScopeText{inLanguages("", "en", "de", "de-AT", "it", "tlh", "qq", "zh", "zh-Hant")}
	var got []string
	for _, advice := range ScopeAdvice(brand, list) {
		_, tag, _ := strings.Cut(advice, "the text in ")
		tag, _, _ = strings.Cut(tag, " is never shown:")
		got = append(got, tag)
	}
	if want := []string{"tlh", "qq", "zh-Hant"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The question and the list of connections mark a text in another language.
func TestPagesTellTheLanguageOfAScopesText(t *testing.T) {
	p, err := newRenderer(Brand{}, "/device", "connect.example.com")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := newScopeText(inLanguages("", "de", "es"))
	if err != nil {
		t.Fatal(err)
	}
	device := deviceView{Name: "Gadget", Scopes: []scopeView{{Texts: texts}}}
	for page, data := range map[string]any{
		"confirm":     confirmView{deviceView: device},
		"connections": connectionsView{Devices: []connection{{deviceView: device}}},
	} {
		for accept, want := range map[string]string{
			"de": "<li>in de</li>", "es": "<li>in es</li>", "fr": `<li lang="de" dir="auto">in de</li>`,
		} {
			r := httptest.NewRequest("GET", "/device", nil)
			r.Header.Set("Accept-Language", accept)
			a, err := p.render(r, 200, page, newMessage("devices.title"), data, account{})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(a.Body), want) {
				t.Errorf("%s in %s lacks %s:\n%s", page, accept, want, a.Body)
			}
		}
	}
}
