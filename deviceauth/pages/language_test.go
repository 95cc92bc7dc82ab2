package pages

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

func ownCatalogs(t *testing.T) map[language.Tag]messages {
	t.Helper()
	all := map[language.Tag]messages{}
	if err := readCatalogs(all, ownFiles, "templates/languages"); err != nil {
		t.Fatal(err)
	}
	return all
}

var placeholder = regexp.MustCompile(`%\[\d\][sd]`)

func placeholders(p messageText) (all []string) {
	texts := []string{p.text}
	if p.forms != nil {
		texts = []string{p.forms["other"]}
	}
	for _, text := range texts {
		all = append(all, placeholder.FindAllString(text, -1)...)
	}
	slices.Sort(all)
	return all
}

// formsWithin reports whether every form names only given placeholders. A form for one
// thing may leave its number out.
func formsWithin(p messageText, known []string) bool {
	for _, form := range p.forms {
		for _, found := range placeholder.FindAllString(form, -1) {
			if !slices.Contains(known, found) {
				return false
			}
		}
	}
	return true
}

// Operators copy our templates and change them. A field that is gone would keep their next
// configuration from loading, so copies of an earlier day go on to work. They change only
// with the list of fields in docs/people.md and a line of CHANGELOG.md.
func TestTemplatesThatWereCopiedStillWork(t *testing.T) {
	t.Parallel()
	if err := (Brand{Templates: "testdata/copied"}).Check(); err != nil {
		t.Error(err)
	}
}

// docs/people.md names each language.
func TestLanguagesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/people.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "## Languages")
	list, _, _ = strings.Cut(list, "by the browser's")
	for tag := range ownCatalogs(t) {
		if name := display.English.Languages().Name(tag); !strings.Contains(list, name) {
			t.Errorf("%s is not in %q", name, list)
		}
	}
}

func TestNoLanguageLacksAText(t *testing.T) {
	all := ownCatalogs(t)
	english := all[language.English]
	for _, want := range []string{"en", "de", "fr", "es", "pt", "ja", "zh"} {
		if all[language.MustParse(want)] == nil {
			t.Errorf("there is no %s", want)
		}
	}
	for tag, words := range all {
		for key, p := range english {
			switch theirs := words[key]; {
			case theirs.empty():
				t.Errorf("%s lacks %s", tag, key)
			case (theirs.forms == nil) != (p.forms == nil):
				t.Errorf("%s: %s: plural forms where English has none, or none where it has", tag, key)
			case !formsWithin(theirs, placeholders(p)):
				t.Errorf("%s: a form of %s has a placeholder that English has not", tag, key)
			case !slices.Equal(placeholders(theirs), placeholders(p)):
				t.Errorf("%s: %s has %v, want %v", tag, key, placeholders(theirs), placeholders(p))
			case tag != language.English && theirs.text == p.text && len(p.text) > 12:
				t.Errorf("%s: %s is in English", tag, key)
			}
		}
	}
}

// Every text that templates and code name is there, and every one there is named.
func TestTextsAreThoseThatPagesSay(t *testing.T) {
	english, named := ownCatalogs(t)[language.English], map[string]bool{}
	files, err := filepath.Glob("templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	code, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	quoted := regexp.MustCompile(`"([a-z_]+\.[a-z_]+)"`)
	for _, file := range append(files, code...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range quoted.FindAllStringSubmatch(string(text), -1) {
			named[key[1]] = true
			if isPage := strings.HasSuffix(file, ".html"); isPage && english[key[1]].empty() {
				t.Errorf("%s says %s, which there is not", file, key[1])
			}
		}
	}
	for notice := range notices {
		named[notice+".title"], named[notice+".text"] = true, true
	}
	for key := range english {
		if !named[key] && !strings.HasPrefix(key, "scope.") {
			t.Errorf("nobody says %s", key)
		}
	}
	for key := range named {
		if prefix, _, _ := strings.Cut(key, "."); notices[prefix].status != 0 && english[key].empty() {
			t.Errorf("there is no %s", key)
		}
	}
}

func TestPagesSpeakTheBrowsersLanguage(t *testing.T) {
	all := ownCatalogs(t)
	all[language.Arabic] = messages{"code.button": {text: "متابعة"}}
	l, err := newCatalogs(all)
	if err != nil {
		t.Fatal(err)
	}
	for accept, want := range map[string]string{
		"": "en", "xx": "en", "de-AT,de;q=0.9,en;q=0.8": "de", "fr-CA": "fr", "pt-BR": "pt", "es-MX,es;q=0.5": "es",
		"ja": "ja", "zh-CN": "zh", "zh-SG": "zh", "zh-TW": "en", "zh-HK,zh;q=0.9": "en", "zh-Hant": "en",
		"zh-TW,ja": "ja", "tlh,zh-TW": "en", "zh-CN,zh;q=0.9,zh-TW;q=0.8": "zh",
		"tlh,ja;q=0.5": "ja", "de;q=0.1,fr;q=0.9": "fr", "\x00": "en",
		strings.Repeat("de,", 10000): "de", "ar-EG": "ar",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Language", accept)
		if s := l.forRequest(r); s.Lang != want || s.Dir != map[bool]string{true: "rtl", false: "ltr"}[want == "ar"] {
			t.Errorf("%.40q is answered in %s, %s; want %s", accept, s.Lang, s.Dir, want)
		}
	}
}

func TestNumbersHaveTheirForms(t *testing.T) {
	l, err := newCatalogs(ownCatalogs(t))
	if err != nil {
		t.Fatal(err)
	}
	for accept, want := range map[string][]string{
		"en": {"just now", "1 minute ago", "59 minutes ago", "1 hour ago", "2 days ago"},
		"de": {"gerade eben", "vor 1 Minute", "vor 59 Minuten", "vor 1 Stunde", "vor 2 Tagen"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Language", accept)
		for i, d := range []time.Duration{0, time.Minute, time.Hour - time.Second, time.Hour, 49 * time.Hour} {
			if got := l.forRequest(r).Ago(time.Now().Add(-d)); got != want[i] {
				t.Errorf("%s: %v is %q, want %q", accept, d, got, want[i])
			}
		}
	}
}

func TestNamesDoNotTurnTheWords(t *testing.T) {
	all := ownCatalogs(t)
	all[language.Arabic] = messages{}
	l, err := newCatalogs(all)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	if got := l.forRequest(r).say("confirm.title", "TV\u202e\x07%s"); got != "Connect TV%s?" {
		t.Errorf("got %q", got)
	}
	r.Header.Set("Accept-Language", "ar")
	if got := l.forRequest(r).say("confirm.title", "TV\u202e"); got != "Connect \u2068TV\u2069?" {
		t.Errorf("got %q", got)
	}
}

// write fills an operator's folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOperatorsFilesComeOverOurs(t *testing.T) {
	dir := write(t, map[string]string{
		"done.html": `{{template "head" .}}{{template "top" .}}<h1>{{.Title}}</h1><p>Enjoy!</p>{{template ` +
			`"bottom" .}}`,
		"style.css":         "main{border-radius:0}",
		"languages/it.json": `{"code.button": "Avanti"}`,
		"languages/de.json": `{"code.button": "Los"}`,
	})
	p, err := newRenderer(Brand{Templates: dir, Color: "#00aa66"}, "/device", "api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	say := func(accept, page string, data any) string {
		r := httptest.NewRequest("GET", "/device", nil)
		r.Header.Set("Accept-Language", accept)
		a, err := p.render(r, 200, page, newMessage("code.title"), data, account{})
		if err != nil {
			t.Fatal(err)
		}
		return string(a.Body)
	}
	if page := say("it", "done", outcome{Said: "allowed"}); !strings.Contains(page, "Enjoy!") {
		t.Errorf("the operator's page is not shown:\n%s", page)
	}
	if page := say("it", "code", codeView{}); !strings.Contains(page, "Avanti") ||
		!strings.Contains(page, "Enter the code") || !strings.Contains(page, `lang="it"`) {
		t.Errorf("a language of the operator's, English where it lacks a text:\n%s", page)
	}
	if page := say("de", "code", codeView{}); !strings.Contains(page, ">Los<") ||
		!strings.Contains(page, "Gerät verbinden") {
		t.Errorf("a text of the operator's in a language of ours:\n%s", page)
	}
	style := string(p.assets["style.css"].body)
	if ours, color, theirs := strings.Index(style, ":root"), strings.Index(style, "#00aa66"), strings.Index(style,
		"border-radius:0"); ours > color || color > theirs || theirs < 0 {
		t.Errorf("the style sheets stand in another order: %d %d %d", ours, color, theirs)
	}
}

func TestOperatorsMistakesAreFoundAtLoad(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"template: done.html:1":  {"done.html": "{{.Title"},
		"can't evaluate field":   {"confirm.html": "{{.Data.Colour}}"},
		"no such template":       {"code.html": `{{template "heads" .}}`},
		"there is no text":       {"languages/de.json": `{"code.titel": "x"}`},
		"is no language":         {"languages/german.json": `{}`},
		"plural forms":           {"languages/de.json": `{"ago.minutes": {"one": "x"}}`},
		"not supported":          {"languages/de.json": `{"ago.minutes": {"few": "x", "other": "y"}}`},
		"NoSuchField":            {"confirm.html": "{{if .Data.Elsewhere}}{{.Data.NoSuchField}}{{end}}"},
		"no text \"code.titel\"": {"code.html": `{{.Say "code.titel"}}`},
		"lacks its hidden field": {"code.html": `<form method="post"><input name="user_code"></form>`},
		"too many":               {"languages/it.json": `{"network.title": "100% safe"}`},
	} {
		if err := (Brand{Templates: write(t, files)}).Check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
	if err := (Brand{Templates: "/nowhere"}).Check(); err == nil {
		t.Error("a folder that there is not is accepted")
	}
}

func TestBrandsColourCanBeRead(t *testing.T) {
	for _, test := range []struct {
		color  string
		advice bool
	}{{"#00aa66", true}, {"#ffffff", true}, {"#000000", false}, {"#ffee00", true}, {"#1a56bd", false},
		{"#777777", true}} {
		c := parseColor(test.color)
		for _, on := range []color{lightCard, darkCard} {
			if got := contrast(readable(c, on), on); got < textContrast {
				t.Errorf("%s on %s: %.2f", test.color, on, got)
			}
		}
		b := Brand{Color: test.color}
		if err := b.Check(); err != nil {
			t.Error(err)
		}
		if got := b.Advice(); (got != "") != test.advice {
			t.Errorf("%s: %q", test.color, got)
		}
	}
	for _, wrong := range []Brand{{Color: "red"}, {Color: "#12345"}, {Logo: "http://evil.example/x"},
		{Logo: "javascript:x"}, {Logo: "data:image/png;base64,x"}} {
		if wrong.Check() == nil {
			t.Errorf("%+v is accepted", wrong)
		}
	}
	if got := contrast(color{255, 255, 255}, color{}); got != 21 {
		t.Errorf("white on black is %v, want 21", got)
	}
}
