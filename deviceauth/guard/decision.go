package guard

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An Outcome is what a guard decided, in one word that is fit for a metric.
type Outcome string

// The outcomes. With the first four of them the request goes on to the backend, and with
// Preflight where PassPreflight is set.
const (
	Unguarded Outcome = "unguarded" // the matchers ask for no guard
	Admitted  Outcome = "admitted"  // by a token
	LegacyKey Outcome = "legacy"    // by an old API key
	Anonymous Outcome = "anonymous" // without credentials, with Optional
	Preflight Outcome = "preflight" // of CORS

	Described         Outcome = "described" // the metadata of the resource was asked for, and answered
	Malformed         Outcome = "malformed" // 400
	NoToken           Outcome = "no_token"
	InvalidToken      Outcome = "invalid_token"
	InsufficientScope Outcome = "insufficient_scope"
	Unavailable       Outcome = "unavailable" // nothing can be decided now: 503, never access
)

// outcomeOf is the outcome of a request that is refused for a reason.
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

// A Decision is what a [Pipeline] decided on a request.
type Decision struct {
	Outcome   Outcome
	Answered  bool       // the response has been written
	Guarded   bool       // the request is guarded, or so ambiguous that it is taken for guarded
	Origin    string     // whose page may read the response; empty: none
	Challenge *Challenge // of a request that is refused for its credentials; nil: it is not
	Err       error      // why the request does not pass; nil: it passes, or is answered
}

// A State is what the guards of one request have established, one after the other.
// The zero State is that of a new request. It is for one goroutine at a time.
type State struct {
	Identity *deviceauth.Identity // nil: there is none
	Cookies  []string             // the Cookie header as the client sent it; nil: none of ours was in it

	token    string            // as a guard took it off the request, for the guards that follow
	by       *Guard            // set the identity headers
	cleaned  bool              // by the first guard
	reserved []ReservedHeaders // that have been taken off
}

// Restore sets the identity headers again, of the identity that the request has.
func (s *State) Restore(r *http.Request) {
	if s.Identity != nil {
		s.by.SetIdentityHeaders(r, s.Identity)
	}
}
