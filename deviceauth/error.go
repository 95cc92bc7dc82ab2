package deviceauth

import "errors"

// An Error is the protocol saying no. Both of its texts are safe to send to
// whoever asked: printable ASCII without quotes and backslashes, as RFC 6749
// §5.2 wants them. Any other error is a fault of ours.
type Error struct {
	Code        string // an OAuth error code: "invalid_grant", "slow_down", …
	Description string // one sentence that a developer can act on
}

func (r *Error) Error() string { return r.Code + ": " + r.Description }

// NewError makes an error of the protocol.
func NewError(code, description string) *Error { return &Error{Code: code, Description: description} }

// AsError returns the [*Error] in err's chain, or nil when err is a fault or nil.
func AsError(err error) *Error {
	if err == nil { // nearly always; what follows allocates
		return nil
	}
	var r *Error
	errors.As(err, &r)
	return r
}
