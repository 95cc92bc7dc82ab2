package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each mistake is put into a frame: a Caddyfile that is correct but for the
// lines that replace %s.
const (
	inOption   = "{\n\tdevice_login {\n\t\tissuer https://connect.example.com\n%s\n\t\t" + oneUpstream + "\n\t}\n}\n"
	inAny      = "{\n\tdevice_login {\n%s\n\t}\n}\n"
	inUpstream = "{\n\tdevice_login {\n\t\tissuer https://connect.example.com\n" +
		"\t\tupstream a https://a.example {\n\t\t\tclient_id x\n%s\n\t\t}\n\t}\n}\n"
	inProvider = "{\n\tdevice_login {\n\t\tissuer https://connect.example.com\n" +
		"\t\tupstream a https://a.example {\n%s\n\t\t}\n\t}\n}\n"
	inSite  = rightOption + "example.com {\n%s\n\treverse_proxy localhost:8080\n}\n"
	inGuard = rightOption + "example.com {\n\tdevice_auth {\n%s\n\t}\n}\n"
	inEdge  = "example.com {\n\tdevice_auth {\n\t\tissuer https://far.example\n\t\tclient edge secret\n%s\n\t}\n}\n"

	oneUpstream = "upstream a https://a.example {\n\t\t\tclient_id x\n\t\t}"
	rightOption = "{\n\tdevice_login {\n\t\tissuer https://connect.example.com\n\t\t" + oneUpstream + "\n\t}\n}\n"
)

func inBlockOf(head string) string {
	return fmt.Sprintf(inOption, "\t\t"+head+" {\n%s\n\t\t}")
}

var bySentinel = fmt.Sprintf(inOption, "\t\tstore redis redis://a {\n\t\t\tsentinel m\n%s\n\t\t}")

// A knownWord is a word of the Caddyfile with correct arguments, and with the
// mistakes that its arguments can have.
type knownWord struct {
	frame, word string
	right       string   // arguments; {x} below: a block of its own may follow
	wrong       []string // arguments that are refused; the last word is named, unless =word says which
	many        bool     // it may be repeated
	open        bool     // any number of arguments
	none        bool     // it may stand without
	block       bool     // it may have a block
}

var knownWords = []knownWord{
	{frame: inAny, word: "issuer", right: "https://b.example",
		wrong: []string{"http://b.example", "b.example", "https://b.example?x=y"}},
	{frame: inOption, word: "upstream", right: "b https://b.example {\n\t\t\tclient_id x\n\t\t}",
		block: true, many: true, wrong: []string{
			"b", "b http://b.example", "b b.example", "B https://b.example =B", "b https://b.example =client_id",
		}},
	{frame: inOption, word: "client", right: "c", wrong: []string{"cä", `""=id`}, block: true},
	{frame: inOption, word: "scope", right: `read "Read"`,
		wrong: []string{`a,b "Read"=a,b`, `"a b" "Read"=b`, `read`, `read ""=read`}, block: true},
	{frame: inOption, word: "audience", right: "https://b.example",
		wrong: []string{"api", "https://b.example#x"}, many: true, open: true},
	{frame: inOption, word: "user_code", right: "****-**** base20",
		wrong: []string{"****", "****-**** base10=****-****", "****-**** AABBCC"}},
	{frame: inOption, word: "lifetime", right: "session 1h",
		wrong: []string{"0s", "soon 1h=soon", "session"}, block: true},
	{frame: inOption, word: "lifetime device_code", right: "5m",
		wrong: []string{"0s", "0", "5", "-5m", "25h=device_code", "500ms=device_code"}},
	{frame: inOption, word: "lifetime access_token", right: "5m", wrong: []string{"0s", "soon", "25h=access_token"}},
	{frame: inOption, word: "lifetime refresh_token", right: "5d",
		wrong: []string{"0s", "soon", "9999d=refresh_token"}},
	{frame: inOption, word: "lifetime refresh_idle", right: "5d", wrong: []string{"0s", "soon", "9999d=refresh_idle"}},
	{frame: inOption, word: "lifetime refresh_grace", right: "off", wrong: []string{"soon", "11m=refresh_grace"}},
	{frame: inOption, word: "lifetime session", right: "1h", wrong: []string{"0s", "soon", "31d=session"}},
	{frame: inOption, word: "pending", right: "total 9", wrong: []string{"9", "all 9=all", "total"}, block: true},
	{frame: inOption, word: "pending address", right: "9", wrong: []string{"0", "-1", "many", "1.5", "1k"}},
	{frame: inOption, word: "pending client", right: "9", wrong: []string{"0", "many"}},
	{frame: inOption, word: "pending total", right: "9", wrong: []string{"0", "many"}},
	{frame: inOption, word: "wait", right: "off", wrong: []string{"on", "2", "-1s", "2m=wait"}},
	{frame: inOption, word: "interval", right: "5s", wrong: []string{"0s", "off", "often", "10ms=interval"}},
	{frame: inOption, word: "signing", right: "ES256", wrong: []string{"HS256", "es256", "none"}},
	{frame: inOption, word: "network", right: "off", wrong: []string{"maybe", "10.0.0.0/8"}},
	{frame: inOption, word: "networks", right: "home 10.0.0.0/8",
		wrong: []string{"home", "home 10.0.0.0/33", "10.0.0", "home away"}, many: true, open: true},
	{frame: inOption, word: "nat64", right: "64:ff9b:1::/48",
		wrong: []string{"10.0.0.0/8", "here", "2001:db8::/97"}, many: true, open: true},
	{frame: inOption, word: "place", right: "{geoip.city}", wrong: []string{"Berlin=place"}},
	{frame: inOption, word: "health", right: "/healthz", wrong: []string{"healthz", "/device", "/a?b", "/"}},
	{frame: inOption, word: "dialect", right: "auth0",
		wrong: []string{"okta", "Auth0", "auth0 auth0"}, many: true, open: true},
	{frame: inOption, word: "brand", right: "X", block: true},
	{frame: inOption, word: "registration", right: "{\n\t\t\topen\n\t\t\tscopes a\n\t\t}", block: true},
	{frame: inOption, word: "paths", right: "", none: true, block: true, wrong: []string{"/x"}},
	{frame: inOption, word: "store", right: "memory", wrong: []string{"postgres", "Badger", "memory x", "badger a b",
		"redis localhost:6379", "redis http://localhost", "redis redis://a redis://b=addresses",
	}, block: true, open: true},

	{frame: inUpstream, word: "name", right: "X"},
	{frame: inProvider, word: "client_id", right: "y"},
	{frame: inUpstream, word: "client_secret", right: "s", wrong: []string{`""=client_secret`, `" "=client_secret`}},
	{frame: inUpstream, word: "scopes", right: "openid email",
		wrong: []string{"openid,email", "openid, email=openid,"}, open: true},
	{frame: inUpstream, word: "allow", right: "email *@example.com",
		wrong: []string{"email=allow"}, many: true, open: true},
	{frame: inUpstream, word: "user", right: "email", wrong: []string{"aud", "nonce"}},
	{frame: inUpstream, word: "claims", right: "department", many: true, open: true},
	{frame: inUpstream, word: "revalidate", right: "", none: true},
	{frame: inUpstream, word: "ca", right: "/etc/caddy/ca.pem"},
	{frame: inUpstream, word: "authorize", right: "access_type offline", many: true,
		wrong: []string{"client_id y=client_id", "prompt none", "state x=state", "nothing=authorize"}},

	{frame: inBlockOf("client a"), word: "name", right: "X"},
	{frame: inBlockOf("client a"), word: "maker", right: "X"},
	{frame: inBlockOf("client a"), word: "logo", right: "/a.svg",
		wrong: []string{"http://a.example/a.svg", "a.svg", "ftp://a/a.svg"}},
	{frame: inBlockOf("client a"), word: "secret", right: "s", wrong: []string{`""=secret`, `" "=secret`}},
	{frame: inBlockOf("client a"), word: "scopes", right: "a b",
		wrong: []string{"a,b", "a, b=a,", `a\b=a\\b`}, open: true},
	{frame: inBlockOf("client a"), word: "redirect", right: "http://127.0.0.1/cb", many: true, open: true,
		wrong: []string{"http://a.example/cb", "https://a.example/cb#x", "javascript:x"}},
	{frame: inBlockOf("client a"), word: "origin", right: "https://a.example", many: true, open: true,
		wrong: []string{"a.example", "https://a.example/", "https://b.example https://a.example/x"}},
	{frame: inBlockOf("client a"), word: "from", right: "10.0.0.0/8",
		wrong: []string{"home", "10.0.0.0/33", "10.0.0.1-9"}, many: true, open: true},
	{frame: inBlockOf("client a"), word: "allow", right: "groups a",
		wrong: []string{"groups=allow"}, many: true, open: true},
	{frame: inBlockOf("client a"), word: "network", right: "require", wrong: []string{"maybe"}},
	{frame: inBlockOf("client a"), word: "lifetime", right: "device_code 5m", block: true,
		wrong: []string{"5m", "access_token 5m=access_token", "device_code 0s", "device_code 25h=device_code"}},
	{frame: inBlockOf("client a"), word: "prefilled", right: "off", wrong: []string{"on", "no"}},
	{frame: inBlockOf("client a"), word: "id_token", right: "RS256", wrong: []string{"ES256", "rs256", "none"}},
	{frame: inBlockOf("client a"), word: "sign_in", right: "fresh", wrong: []string{"now"}},
	{frame: inBlockOf("client a"), word: "notify", right: "", none: true},
	{frame: inBlockOf("client a {\n\t\t\tsecret x\n\t\t}\n\t\tclient b"), word: "guard",
		right: "\n\t\t\tsecret x", none: true},

	{frame: inBlockOf("registration"), word: "documents", right: "*.example.com\n\t\t\tscopes a",
		many: true, open: true,
		wrong: []string{"https://a.example/=https://a.example/", "*"}},
	{frame: inBlockOf("registration"), word: "open", right: "\n\t\t\tscopes a", none: true},
	{frame: inBlockOf("registration"), word: "token", right: "t\n\t\t\tscopes a", wrong: []string{`""=token`}},
	{frame: inBlockOf("registration"), word: "scopes", right: "a b\n\t\t\topen", open: true,
		wrong: []string{"a,b", "a, b=a,"}},
	{frame: inBlockOf("registration"), word: "limit", right: "5\n\t\t\topen\n\t\t\tscopes a",
		wrong: []string{"0", "many", "-1"}},

	{frame: inBlockOf("brand X"), word: "logo", right: "/a.svg", wrong: []string{"http://a.example/a.svg", "a.svg"}},
	{frame: inBlockOf("brand X"), word: "color", right: `"#00aa66"`,
		wrong: []string{"green", `"#00aa6"`, "#00aa66=color"}},
	{frame: inBlockOf("brand X"), word: "contact", right: "a"},
	{frame: inBlockOf("brand X"), word: "templates", right: "testdata/good", wrong: []string{"testdata/nothing"}},

	{frame: inBlockOf("paths"), word: "device_authorization", right: "/a",
		wrong: []string{"a", "/", "/a?b", "/oauth2/jwks"}},
	{frame: inBlockOf("paths"), word: "token", right: "/a",
		wrong: []string{"a", "/a%20b", "/device/token", "/oauth2/revoke"}},
	{frame: inBlockOf("paths"), word: "register", right: "/a", wrong: []string{"a", "/oauth2/token"}},
	{frame: inBlockOf("paths"), word: "revoke", right: "/a", wrong: []string{"a", "/../a", "/oauth2/token"}},
	{frame: inBlockOf("paths"), word: "introspect", right: "/a", wrong: []string{"a", "https://a.example/a"}},
	{frame: inBlockOf("paths"), word: "userinfo", right: "/a", wrong: []string{"a"}},
	{frame: inBlockOf("paths"), word: "jwks", right: "/a", wrong: []string{"a"}},
	{frame: inBlockOf("paths"), word: "device", right: "/a", wrong: []string{"a", "/oauth2"}},

	{frame: inBlockOf("store badger x"), word: "encryption_key", right: "{env.KEY}",
		wrong: []string{`""=encryption_key`, `" "=encryption_key`, "secret=encryption_key"}},
	{frame: inBlockOf("store redis redis://a"), word: "username", right: "x"},
	{frame: inBlockOf("store redis redis://a"), word: "password", right: "x"},
	{frame: inBlockOf("store redis redis://a"), word: "prefix", right: "x"},
	{frame: inBlockOf("store redis rediss://a"), word: "ca", right: "x"},
	{frame: inBlockOf("store redis redis://a"), word: "sentinel", right: "x"},
	{frame: bySentinel, word: "sentinel_username", right: "x"},
	{frame: bySentinel, word: "sentinel_password", right: "x"},
	{frame: inBlockOf("store redis redis://a"), word: "cluster", right: "", none: true},

	{frame: inSite, word: "device_login", right: "", none: true, many: true, wrong: []string{"/foo/*", "@m", "*"}},
	{frame: inSite, word: "device_auth", right: "/v2/*", many: true, open: true, none: true, block: true,
		wrong: []string{"/a/* /b/*", "a,b", "/v2/* a, b=a,", "@m", "* *"}},
	{frame: inGuard, word: "scopes", right: "a b", wrong: []string{"a,b", "a /b", "@m"}, open: true},
	{frame: inGuard, word: "audience", right: "https://a.example", many: true, open: true},
	{frame: inGuard, word: "optional", right: "", none: true},
	{frame: inGuard, word: "authorization", right: "keep", wrong: []string{"drop"}},
	{frame: inGuard, word: "header", right: "X-User email",
		wrong: []string{"X-User=header", "X:User email=X:User", "Cookie email=Cookie", "X-User email raw"}, many: true},
	{frame: inGuard, word: "token_header", right: "X-Token", wrong: []string{"Cookie", "Remote-User", "X:Y"}},
	{frame: inGuard, word: "basic", right: "", none: true},
	{frame: inGuard, word: "preflight", right: "pass", wrong: []string{"answer"}},
	{frame: inGuard, word: "report_only", right: "", none: true},
	{frame: inGuard, word: "cache", right: "keep", wrong: []string{"forever", "1s=cache", "off=cache"}, many: true},
	{frame: inGuard, word: "legacy", right: "X-Api-Key /etc/keys 2026-01-31", wrong: []string{
		"X-Api-Key=legacy", "X-Api-Key /etc/keys soon", "X-Api-Key /etc/keys 31.1.2026", "X:Y /etc/keys=X:Y",
	}},
	{frame: inGuard, word: "issuer", right: "https://far.example\n\t\tclient a b",
		wrong: []string{"far.example", "http://far.example", "https://far.example=issuer"}},
	{frame: inGuard, word: "client", right: "a b\n\t\tissuer https://far.example",
		wrong: []string{"a=client", "a b=client"}},
	{frame: inEdge, word: "cache", right: "1s", wrong: []string{"forever", "-1s"}, many: true},
	{frame: inEdge, word: "ca", right: "/etc/caddy/ca.pem"},
	{frame: inEdge, word: "origin", right: "https://a.example",
		wrong: []string{"a.example", "https://a.example/"}, many: true, open: true},
}

// A mistake is a line of a Caddyfile, with lines around it that are right.
type mistake struct{ before, line, after, names string }

func (k knownWord) mistakes() (list []mistake) {
	first := k.word[strings.LastIndexByte(k.word, ' ')+1:]
	add := func(line, names string) { list = append(list, mistake{line: line, names: names}) }
	args, rest, _ := strings.Cut(k.right, "\n")
	line := strings.TrimSpace(k.word + " " + args)
	if !k.none {
		add(k.word, first)
	}
	if !k.open && !strings.HasSuffix(line, "{") {
		add(line+" surplus", "surplus")
	}
	if !k.many {
		list = append(list, mistake{before: k.word + " " + k.right, line: line, after: rest, names: first})
	}
	if !k.block {
		list = append(list, mistake{line: line + " {", after: "\tx\n}\n" + rest, names: first})
	}
	if k.frame != inSite {
		list = append(list, mistake{line: k.word + "x " + args, after: rest, names: first + "x"})
	}
	for _, w := range k.wrong {
		w, names, hasValue := strings.Cut(w, "=")
		if !hasValue {
			names = w[strings.LastIndexByte(w, ' ')+1:]
		}
		add(k.word+" "+strings.TrimSpace(w), strings.Trim(names, `"`))
	}
	return list
}

// refusal puts a mistake into its frame in some way, and wants an error with its
// file, its line and its word.
func refusal(t *testing.T, frame string, m mistake, imported string) {
	t.Helper()
	lines := strings.Join(slices.DeleteFunc([]string{m.before, m.line + " # wrong", m.after}, func(s string) bool {
		return s == ""
	}), "\n")
	file, text := "Caddyfile", fmt.Sprintf(frame, lines)
	in := text
	switch imported {
	case "snippet":
		text = "(part) {\n" + lines + "\n}\n" + fmt.Sprintf(frame, "import part")
		in = text
	case "file":
		file = filepath.Join(t.TempDir(), "part.caddyfile")
		if err := os.WriteFile(file, []byte(lines+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		text, in = fmt.Sprintf(frame, "import "+file), lines
	}
	number := strings.Count(in[:strings.Index(in, "# wrong")], "\n") + 1
	_, err := adapt(text)
	if err == nil {
		t.Fatalf("this is accepted:\n%s", text)
	}
	message := err.Error()
	at := fmt.Sprintf("%s:%d", file, number)
	if !strings.Contains(message+" ", at+" ") && !strings.Contains(message, at+":") {
		t.Errorf("want %s in: %v", at, err)
	}
	if !strings.Contains(message, m.names) {
		t.Errorf("want %q in: %v", m.names, err)
	}
	if before, _, _ := strings.Cut(message, m.names); len(before) > 100 {
		t.Errorf("%d characters stand before the word: %v", len(before), err)
	}
}

func TestEveryMistakeIsNamedWithFileLineAndWord(t *testing.T) {
	t.Parallel()
	count := 0
	for _, k := range knownWords {
		for _, m := range k.mistakes() {
			count++
			for _, imported := range []string{"", "snippet", "file"} {
				name := fmt.Sprintf("%s/%s/%s", k.word, m.line, imported)
				t.Run(strings.ReplaceAll(name, "\n", " "), func(t *testing.T) { refusal(t, k.frame, m, imported) })
			}
		}
	}
	if count < 200 {
		t.Errorf("only %d mistakes", count)
	}
}

// What the table calls right is accepted: otherwise a mistake could be refused
// for another reason.
func TestCorrectLinesAreAccepted(t *testing.T) {
	t.Parallel()
	for _, k := range knownWords {
		text := fmt.Sprintf(k.frame, k.word+" "+k.right)
		if k.frame == inAny {
			text = fmt.Sprintf(k.frame, k.word+" "+k.right+"\n"+oneUpstream)
		}
		if _, err := adapt(text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// The table has every word that the parser has.
func TestTableOfMistakesHasEveryWord(t *testing.T) {
	t.Parallel()
	for name, text := range blocks {
		for _, word := range parserWords(t, name, text) {
			if !slices.ContainsFunc(knownWords, func(k knownWord) bool {
				return k.word == word || k.word == name+" "+word
			}) {
				t.Errorf("%s: %s", name, word)
			}
		}
	}
}
