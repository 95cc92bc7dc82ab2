package deviceauth

import "errors"

// An Error is a refusal by the protocol. Both of its texts may be sent to the client:
// they are printable ASCII without quotes and backslashes (RFC 6749 §5.2). Any other
// error is a fault of the server.
type Error struct {
	Code        string // an OAuth error code: "invalid_grant", "slow_down", …
	Description string // one sentence that a developer can act on
}

func (r *Error) Error() string { return r.Code + ": " + r.Description }

// NewError returns an error of the protocol.
func NewError(code, description string) *Error { return &Error{Code: code, Description: description} }

// AsError returns the [*Error] in err's chain, or nil when err is a fault or nil.
func AsError(err error) *Error {
	if err == nil {
		return nil // the usual case, which costs no memory
	}
	var r *Error
	errors.As(err, &r)
	return r
}
