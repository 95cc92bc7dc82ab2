package deviceclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"rsc.io/qr"
)

// A server answers paths with JSON, or with what a function makes of the request.
type server map[string]any

func (s server) start(t *testing.T) *httptest.Server {
	t.Helper()
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := s[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if f, ok := answer.(func(http.ResponseWriter, *http.Request)); ok {
			f(w, r)
			return
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(ts.Close)
	return ts
}

func metadata(issuer string) map[string]any {
	return map[string]any{"issuer": issuer, "device_authorization_endpoint": issuer + "/d",
		"token_endpoint": issuer + "/t"}
}

func TestServerIsFoundFromTheAPI(t *testing.T) {
	t.Parallel()
	issuer := server{}
	as := issuer.start(t)
	tests := []struct {
		name string
		api  func(s server, origin string)
		path string
		as   string // where the server's metadata are
	}{
		{"by the resource's own metadata", func(s server, origin string) {
			s["/.well-known/oauth-protected-resource/v2"] = protected(origin+"/v2", as.URL)
		}, "/v2", "/.well-known/oauth-authorization-server"},
		{"by the site's metadata", func(s server, origin string) {
			s["/.well-known/oauth-protected-resource"] = protected(origin, as.URL)
		}, "/v2/things", "/.well-known/openid-configuration"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clear(issuer)
			issuer[test.as] = metadata(as.URL)
			api := server{}
			ts := api.start(t)
			test.api(api, ts.URL)
			got, err := Discover(t.Context(), http.DefaultClient, ts.URL+test.path)
			if err != nil || got.Issuer != as.URL || got.Token != as.URL+"/t" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestServerIsItsOwnAPI(t *testing.T) {
	t.Parallel()
	s := server{}
	ts := s.start(t)
	s["/auth/.well-known/openid-configuration"] = metadata(ts.URL + "/auth")
	for _, address := range []string{ts.URL + "/auth", ts.URL + "/auth/"} {
		if got, err := Discover(t.Context(), http.DefaultClient, address); err != nil || got.Issuer != ts.URL+"/auth" {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
}

func TestDiscoveryRefuses(t *testing.T) {
	t.Parallel()
	const wellKnown = "/.well-known/oauth-authorization-server"
	tests := []struct {
		name   string
		answer func(issuer string) any
		want   string
	}{
		{"another issuer", func(string) any { return metadata("https://evil.example") }, "says that it is"},
		{"no device flow", func(issuer string) any {
			return map[string]any{"issuer": issuer, "token_endpoint": issuer}
		}, "does not offer the device flow"},
		{"an endpoint without TLS", func(issuer string) any {
			m := metadata(issuer)
			m["token_endpoint"] = "http://evil.example/t"
			return m
		}, "is not https"},
		{"a revocation endpoint without TLS", func(issuer string) any {
			m := metadata(issuer)
			m["revocation_endpoint"] = "http://evil.example/r"
			return m
		}, "is not https"},
		{"no JSON", func(string) any {
			return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }
		}, wellKnown},
		{"nothing", func(string) any { return http.NotFound }, "404"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := server{}
			ts := s.start(t)
			s[wellKnown] = test.answer(ts.URL)
			if got, err := Discover(t.Context(), http.DefaultClient, ts.URL); err == nil ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("got %+v, %v; want %q", got, err, test.want)
			}
		})
	}
	for _, address := range []string{"", "api.example.com", "ftp://api.example.com", "://"} {
		if _, err := Discover(t.Context(), http.DefaultClient, address); err == nil {
			t.Errorf("%q is an address", address)
		}
	}
}

func TestLoginEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, answer string
		status       int
		want         error
	}{
		{"allowed", `{"access_token":"a","token_type":"Bearer"}`, 200, nil},
		{"denied", `{"error":"access_denied"}`, 400, ErrDenied},
		{"expired", `{"error":"expired_token"}`, 400, ErrExpired},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := server{
				"/t": func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(test.status)
					w.Write([]byte(test.answer))
				},
				"/d": func(w http.ResponseWriter, r *http.Request) {
					if r.FormValue("client_id") != "tv" || r.FormValue("scope") != "read" ||
						r.FormValue("audience") != "https://api" {
						t.Errorf("asked with %v", r.Form)
					}
					json.NewEncoder(w).Encode(map[string]any{"device_code": "d", "user_code": "U",
						"verification_uri": "https://v", "interval": 1, "expires_in": 60})
				},
			}
			ts := s.start(t)
			var shown Prompt
			token, err := Login(t.Context(), Server{DeviceAuthorization: ts.URL + "/d", Token: ts.URL + "/t"}, Options{
				HTTP: ts.Client(), ClientID: "tv", Scopes: []string{"read"}, Audience: "https://api",
				Show: func(p Prompt) { shown = p },
			})
			if !errors.Is(err, test.want) || test.want == nil && (err != nil || token.AccessToken != "a") {
				t.Errorf("got %v, %v", token, err)
			}
			if shown.Code != "U" || shown.Address != "https://v" {
				t.Errorf("the person was shown %+v", shown)
			}
		})
	}
}

// A server cannot make the client panic, block for ever, or send something that is no
// bearer token.
func TestAnswersThatNoClientCanUse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ interval, token, want string }{
		"a negative interval":  {"-5", "", "interval is -5 s"},
		"a month":              {"2592000", "", "interval is 2592000 s"},
		"an interval too long": {"9223372036854775807", "", "interval is"},
		"another token type":   {"1", `{"access_token":"a","token_type":"DPoP"}`, `token_type is "DPoP"`},
		"a space in a token":   {"1", `{"access_token":"a b","token_type":"Bearer"}`, "characters"},
		"a quote in a token":   {"1", `{"access_token":"a\"b","token_type":"Bearer"}`, "characters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := func(text string) func(http.ResponseWriter, *http.Request) {
				return func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					io.WriteString(w, text)
				}
			}
			s := server{"/t": answer(test.token), "/d": answer(`{"device_code":"d","user_code":"U",` +
				`"verification_uri":"https://v","expires_in":60,"interval":` + test.interval + "}")}
			ts := s.start(t)
			connected := false
			token, err := Login(t.Context(), Server{DeviceAuthorization: ts.URL + "/d", Token: ts.URL + "/t"}, Options{
				HTTP: ts.Client(), ClientID: "tv", Show: func(Prompt) {}, Connected: func() { connected = true },
			})
			if err == nil || !strings.Contains(err.Error(), test.want) || token != nil || connected {
				t.Errorf("got %v, %v, connected %v; want %q", token, err, connected, test.want)
			}
		})
	}
}

func TestAnswerThatWasLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	ts := server{"/d": new(strict).authorize, "/t": func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"access_token":"a"}`))
	}}.start(t)
	token, err := Login(t.Context(), Server{DeviceAuthorization: ts.URL + "/d", Token: ts.URL + "/t"},
		Options{HTTP: ts.Client(), Show: func(Prompt) {}})
	if err != nil || token.AccessToken != "a" || asked.Load() != 2 {
		t.Errorf("got %v, %v, asked %d times", token, err, asked.Load())
	}
}

// A server that cannot decide now says nothing about the code.
func TestServerThatIsAwayForAMomentIsAskedAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway} {
		var asked atomic.Int32
		ts := server{"/d": new(strict).authorize, "/t": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if asked.Add(1) == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(status)
				io.WriteString(w, `{"error":"temporarily_unavailable"}`)
				return
			}
			io.WriteString(w, `{"access_token":"a"}`)
		}}.start(t)
		token, err := Login(t.Context(), Server{DeviceAuthorization: ts.URL + "/d", Token: ts.URL + "/t"},
			Options{HTTP: ts.Client(), Show: func(Prompt) {}})
		if err != nil || token.AccessToken != "a" || asked.Load() != 2 {
			t.Errorf("%d: got %v, %v, asked %d times", status, token, err, asked.Load())
		}
	}
}

// So is one in a login by the browser; but a code whose response is lost is not sent twice.
func TestCodeOfABrowserLoginIsExchangedOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first func(http.ResponseWriter)
		asked int32
	}{
		"503":             {func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }, 2},
		"400":             {func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) }, 1},
		"a lost response": {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 1},
	} {
		var asked atomic.Int32
		ts := server{"/t": func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) == 1 {
				test.first(w)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"access_token":"a"}`)
		}}.start(t)
		b := &browserLogin{config: &oauth2.Config{ClientID: "tv",
			Endpoint: oauth2.Endpoint{TokenURL: ts.URL + "/t", AuthStyle: oauth2.AuthStyleInParams}}}
		token, err := b.exchange(t.Context(), "code")
		if asked.Load() != test.asked || (err == nil) != (test.asked == 2) || err == nil && token.AccessToken != "a" {
			t.Errorf("%s: got %v, %v, asked %d times", name, token, err, asked.Load())
		}
	}
}

func TestCodesThatNoClientCanUse(t *testing.T) {
	t.Parallel()
	const code = `{"device_code":"d","user_code":"U","verification_uri":"https://v","expires_in":`
	for body, want := range map[string]string{
		"null": "verification_uri", "[]": "device authorization response", "": "device authorization response",
		code + "4611686018427387904}": "expires_in", code + "-1}": "expires_in",
	} {
		ts := server{"/d": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }}.start(t)
		_, err := Login(t.Context(), Server{DeviceAuthorization: ts.URL + "/d", Token: ts.URL + "/t"},
			Options{HTTP: ts.Client(), Show: func(Prompt) {}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", body, err, want)
		}
	}
}

// A server that sends its answer byte by byte is left as soon as the caller wants that.
func TestSlowCodeDoesNotHoldTheCaller(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	ts := server{"/d": func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		close(begun)
		<-r.Context().Done()
	}}.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	began := time.Now()
	_, err := Login(ctx, Server{DeviceAuthorization: ts.URL + "/d"}, Options{HTTP: ts.Client(), Show: func(Prompt) {}})
	if took := time.Since(began); !errors.Is(err, context.Canceled) || took > 5*time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

func TestRefusalIsToldAsTheServerSaidIt(t *testing.T) {
	t.Parallel()
	s := server{"/d": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(401)
		w.Write([]byte(`{"error":"invalid_client","error_description":"unknown client"}`))
	}}
	ts := s.start(t)
	_, err := Login(t.Context(), Server{DeviceAuthorization: ts.URL + "/d"}, Options{HTTP: ts.Client(), ClientID: "tv"})
	if err == nil || !strings.HasSuffix(err.Error(), "invalid_client: unknown client") {
		t.Errorf("got %v", err)
	}
}

func TestQRCodeOnATerminalIsTheCode(t *testing.T) {
	t.Parallel()
	for _, colours := range []bool{true, false} {
		t.Run(fmt.Sprint("with colours: ", colours), func(t *testing.T) { qrCode(t, colours) })
	}
}

func qrCode(t *testing.T, colours bool) {
	const text = "https://api.example.com/device?user_code=BCDF-GHJK"
	var out strings.Builder
	if err := QR(&out, text, colours); err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for i, line := range lines {
		if !colours && strings.Contains(line, "\x1b") {
			t.Errorf("line %d has an escape code: %q", i, line)
		}
		cells := []rune(strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[30;107m"), "\x1b[0m"))
		if len(cells) != code.Size+2*quiet {
			t.Fatalf("line %d has %d cells, want %d", i, len(cells), code.Size+2*quiet)
		}
		for x, cell := range cells {
			upper, lower := cell == '▀' || cell == '█', cell == '▄' || cell == '█'
			if upper != (code.Black(x-quiet, 2*i-quiet) == colours) ||
				lower != (code.Black(x-quiet, 2*i-quiet+1) == colours) {
				t.Fatalf("line %d, cell %d is %q", i, x, cell)
			}
		}
	}
}
