package deviceclient

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// evil is what terminals obey: it writes to the clipboard, clears the screen,
// does so in another way, turns the direction of writing, and begins a line.
const evil = "\x1b]52;c;ZXZpbA==\a\x1b[2J\u009b2J\u202e\r\nOpen   https://evil.example"

// badly refuses as RFC 6749 §5.2 says, with something in its words.
func badly(code, words string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": words})
	}
}

// rawly responds with raw bytes.
func rawly(answer string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		conn.Write([]byte(answer))
	}
}

// prompting gives a code with one member changed.
func prompting(name string, value any) map[string]any {
	answer := map[string]any{"device_code": "d", "user_code": "U", "verification_uri": "https://v", "interval": 1,
		"expires_in": 60}
	answer[name] = value
	return answer
}

// noJSON answers with a text.
func noJSON(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusBadGateway)
	fmt.Fprint(w, evil)
}

// awry redirects to an address that is none.
func awry(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "https://evil.example/"+evil)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

func TestTerminalObeysNoServer(t *testing.T) {
	t.Parallel()
	const wellKnown = "/.well-known/oauth-authorization-server"
	tests := []struct {
		name, path string
		answer     func(issuer string) any
	}{
		{"verification_uri", "/d", func(string) any { return prompting("verification_uri", "https://v/"+evil) }},
		{"verification_uri_complete", "/d",
			func(string) any { return prompting("verification_uri_complete", "https://v/"+evil) }},
		{"user_code", "/d", func(string) any { return prompting("user_code", "BCDF"+evil) }},
		{"error", "/d", func(string) any { return badly("no"+evil, "") }},
		{"error_description", "/d", func(string) any { return badly("no", evil) }},
		{"error of the token endpoint", "/t", func(string) any { return badly("no"+evil, evil) }},
		{"error of a refresh, as a note", "/t", func(string) any { return badly("invalid_grant", evil) }},
		{"error of a revocation", "/r", func(string) any { return badly("no"+evil, evil) }},
		{"text that is no JSON", "/t", func(string) any { return noJSON }},
		{"redirect", "/t", func(string) any { return awry }},
		{"status line", wellKnown, func(string) any { return rawly("HTTP/1.1 500 " + evil + "\r\n\r\n") }},
		{"status line of an endpoint", "/t", func(string) any { return rawly("HTTP/1.1 500 " + evil + "\r\n\r\n") }},
		{"header line", wellKnown, func(string) any { return rawly("HTTP/1.1 200 OK\r\n" + evil + "\r\n\r\n") }},
		{"issuer", wellKnown, func(string) any { return metadata("https://login.example/" + evil) }},
		{"endpoint", wellKnown, func(issuer string) any {
			m := metadata(issuer)
			m["token_endpoint"] = "http://evil.example/" + evil
			return m
		}},
		{"resource", "/.well-known/oauth-protected-resource",
			func(issuer string) any { return protected(issuer+"/"+evil, issuer) }},
		{"authorization server", "/.well-known/oauth-protected-resource",
			func(issuer string) any { return protected(issuer, issuer+"/"+evil) }},
	}
	var all sync.WaitGroup // they wait most of the time
	for _, test := range tests {
		s := newStrict(t, 59)
		s.answers["/d"] = prompting("expires_in", 2) // a server that is not understood is asked until then
		s.answers[test.path] = test.answer(s.Issuer)
		all.Go(func() {
			for _, text := range s.everything() {
				if strings.Contains("\n"+text, "\nOpen") || strings.ContainsFunc(text, obeyed) {
					t.Errorf("%s: told %q", test.name, text)
				}
			}
		})
	}
	all.Wait()
}

// obeyed are characters that no text may have; a line may end.
func obeyed(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e }

// everything is all that can be read where tokens are had and given back.
func (s *strict) everything() (requests []string) {
	f, o := Folder(s.t.TempDir()), s.options()
	s.seed(f)
	o.Note = func(text string) { requests = append(requests, text) }
	o.Show = func(p Prompt) { requests = append(requests, p.Address, p.Code, p.Complete, p.Warning) }
	_, found := Discover(s.t.Context(), nil, s.Issuer)
	_, refreshed := f.Token(s.t.Context(), s.Server, o)
	_, asked := Login(s.t.Context(), s.Server, o)
	_, out := f.Logout(s.t.Context(), s.Server, o)
	for _, err := range []error{found, refreshed, asked, out} {
		if err != nil {
			requests = append(requests, err.Error())
		}
	}
	return requests
}

func TestPromptNamesOnlyAddressesOfPages(t *testing.T) {
	t.Parallel()
	for _, member := range []string{"verification_uri", "verification_uri_complete"} {
		for _, address := range []string{"javascript:alert(1)", "file:///etc/passwd", "tel:+1900", "https:", "//v", "v",
			"https://v/\x1b[2J", "https://v/\u009b2J"} {
			ts := server{"/d": prompting(member, address)}.start(t)
			_, err := Login(t.Context(), Server{DeviceAuthorization: ts.URL + "/d"},
				Options{Show: func(p Prompt) { t.Errorf("was shown %+v", p) }})
			if err == nil || !strings.Contains(err.Error(), "the server's "+member) {
				t.Errorf("%q: %v", address, err)
			}
		}
	}
}
