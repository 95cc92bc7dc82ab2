package guard

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An Outcome is the result of a guard's decision, as a word that is fit for a metric.
type Outcome string

// The outcomes. With the first four the request goes on to the backend; with
// Preflight it does so only if PassPreflight is set.
const (
	Unguarded Outcome = "unguarded" // the matchers do not select the request
	Admitted  Outcome = "admitted"  // with a valid token
	LegacyKey Outcome = "legacy"    // with an old API key
	Anonymous Outcome = "anonymous" // without credentials, with Optional
	Preflight Outcome = "preflight" // a CORS preflight

	Described         Outcome = "described" // answered with the metadata of the resource
	Malformed         Outcome = "malformed" // 400
	NoToken           Outcome = "no_token"
	InvalidToken      Outcome = "invalid_token"
	InsufficientScope Outcome = "insufficient_scope"
	Unavailable       Outcome = "unavailable" // no decision is possible now: 503, never access
)

// outcomeOf returns the outcome of a request that is refused with an error.
func outcomeOf(err error) Outcome {
	if err == ErrNoCredentials {
		return NoToken
	}
	switch refusal := deviceauth.AsError(err); {
	case refusal == nil:
		return Unavailable
	case refusal.Code == "insufficient_scope":
		return InsufficientScope
	case refusal.Code == "invalid_token":
		return InvalidToken
	}
	return Malformed
}

// A Decision is the decision of a [Pipeline] about a request.
type Decision struct {
	Outcome   Outcome
	Answered  bool       // the response has been written
	Guarded   bool       // the request is guarded, or so ambiguous that it counts as guarded
	Origin    string     // of the page that may read the response; empty: none
	Challenge *Challenge // if the request is refused because of its credentials; else nil
	Err       error      // why the request does not pass; nil: it passes, or has been answered
}

// A State is the result of the guards that a request has passed so far. A new request
// has the zero State. It must be used by one goroutine at a time.
type State struct {
	Identity *deviceauth.Identity // nil: none
	Cookies  []string             // the Cookie header as the client sent it; nil: it had none of our cookies

	token    string            // taken off the request by a guard, kept for the guards that follow
	by       *Guard            // the guard that set the identity headers
	cleaned  bool              // the first guard has cleaned the request
	reserved []ReservedHeaders // headers that have been stripped from the request
}

// Restore sets the identity headers again, for the identity of the request.
func (s *State) Restore(r *http.Request) {
	if s.Identity != nil {
		s.by.SetIdentityHeaders(r, s.Identity)
	}
}
