package deviceauth

import "errors"

// A Refusal is the protocol saying no. Both of its texts are safe to send to
// whoever asked: printable ASCII without quotes and backslashes, as RFC 6749
// §5.2 wants them. Any other error is a fault of ours.
type Refusal struct {
	Code        string // an OAuth error code: "invalid_grant", "slow_down", …
	Description string // one sentence that a developer can act on
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Description }

// Refuse makes a refusal.
func Refuse(code, description string) *Refusal { return &Refusal{Code: code, Description: description} }

// Refused returns the refusal in err's chain, or nil when err is a fault or nil.
func Refused(err error) *Refusal {
	var r *Refusal
	errors.As(err, &r)
	return r
}
