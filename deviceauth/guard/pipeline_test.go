package guard_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// asked is a request to a guard of [knowsOne].
func asked(method, path string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// A pipelineTest is a request on its way through a pipeline.
type pipelineTest struct {
	name     string
	pipeline guard.Pipeline
	options  guard.Options
	request  *http.Request
	want     guard.Outcome
	status   int // of the challenge; 0: there is none
}

var errUnresolved = errors.New("a placeholder cannot be resolved")

// described answers all that it is asked.
func described(w http.ResponseWriter, _ *http.Request) bool {
	w.WriteHeader(http.StatusOK)
	return true
}

// matches is a matcher that says always the same.
func matches(guarded bool, err error) func(*http.Request) (bool, error) {
	return func(*http.Request) (bool, error) { return guarded, err }
}

// oldKey is that of a client which may read.
func oldKey(http.ResponseWriter, *http.Request) *deviceauth.Identity {
	return deviceauth.NewIdentity(&deviceauth.Person{}, &deviceauth.AccessClaims{ClientID: "meter", Scope: "read"})
}

// beforeCredentials are tests of decisions that need no credentials.
func beforeCredentials() []pipelineTest {
	return []pipelineTest{
		{name: "a target that is no path is refused before all", want: guard.Malformed,
			pipeline: guard.Pipeline{Describe: described, Match: matches(false, nil)},
			request:  asked("GET", "http://h/x")},
		{name: "metadata need no token", want: guard.Described,
			pipeline: guard.Pipeline{Describe: described, Match: matches(true, errUnresolved)},
			request:  asked("GET", guard.ResourceMetadataPath)},
		{name: "an ambiguous path", want: guard.Malformed,
			pipeline: guard.Pipeline{Match: matches(false, guard.ErrPath)}, request: asked("GET", "/")},
		{name: "a matcher that fails is an outage", want: guard.Unavailable,
			pipeline: guard.Pipeline{Match: matches(true, errUnresolved)}, request: asked("GET", "/")},
		{name: "what no matcher asks for", want: guard.Unguarded,
			pipeline: guard.Pipeline{Match: matches(false, nil)}, request: asked("GET", "/")},
		{name: "a server that is away", want: guard.Unavailable, pipeline: guard.Pipeline{Key: oldKey,
			Guard: func(*http.Request) (*guard.Guard, func(), error) { return nil, nil, errUnresolved }},
			request: asked("OPTIONS", "/", "Access-Control-Request-Method", "GET")},
	}
}

// byCredentials are tests of decisions about credentials.
func byCredentials() []pipelineTest {
	return []pipelineTest{
		{name: "a preflight before a key", want: guard.Preflight, pipeline: guard.Pipeline{Key: oldKey},
			request: asked("OPTIONS", "/", "Access-Control-Request-Method", "GET")},
		{name: "a key before a token", want: guard.LegacyKey, pipeline: guard.Pipeline{Key: oldKey},
			request: asked("GET", "/", "Authorization", "Bearer bad")},
		{name: "a key without the scope", want: guard.InsufficientScope, status: http.StatusForbidden,
			pipeline: guard.Pipeline{Key: oldKey}, options: guard.Options{Need: deviceauth.Requirement{Scope: "write"}},
			request: asked("GET", "/")},
		{name: "a token", want: guard.Admitted, request: asked("GET", "/", "Authorization", "Bearer good")},
		{name: "a token that is none", want: guard.InvalidToken, status: http.StatusUnauthorized,
			request: asked("GET", "/", "Authorization", "Bearer bad")},
		{name: "credentials that cannot be read", want: guard.Malformed, status: http.StatusBadRequest,
			request: asked("GET", "/", "Authorization", "Bearer a b")},
		{name: "no token", want: guard.NoToken, status: http.StatusUnauthorized, request: asked("GET", "/")},
		{name: "no token, optional", want: guard.Anonymous, options: guard.Options{Optional: true},
			request: asked("GET", "/")},
	}
}

// The order of the steps shows in which step wins if several apply.
func TestPipelineDecidesInOrder(t *testing.T) {
	t.Parallel()
	for _, test := range append(beforeCredentials(), byCredentials()...) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, released, taken := test.pipeline, 0, 0
			p.Reserved = test.options.ReservedHeaders()
			original := false
			p.Asked = func(r *http.Request) *http.Request { original = true; return r }
			if p.Guard == nil {
				p.Guard = func(*http.Request) (*guard.Guard, func(), error) {
					taken++
					return guard.New(test.options, knowsOne{}), func() { released++ }, nil
				}
			}
			test.request.Header.Set("Remote-User", "root")
			d := p.Decide(httptest.NewRecorder(), test.request, new(guard.State))
			status := 0
			if d.Challenge != nil && !original {
				t.Error("the challenge is not for the request as the client sent it")
			}
			if d.Challenge != nil {
				status = d.Challenge.Status
			}
			if d.Outcome != test.want || status != test.status {
				t.Errorf("got %s, %d (%v), want %s, %d", d.Outcome, status, d.Err, test.want, test.status)
			}
			if taken != released {
				t.Errorf("the store was taken %d times and released %d times", taken, released)
			}
			if user := test.request.Header.Get("Remote-User"); user == "root" {
				t.Error("the client's own identity stays")
			}
		})
	}
}
