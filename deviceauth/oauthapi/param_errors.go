package oauthapi

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// The mistakes that developers of clients often make have messages of their own in
// error_description (RFC 6749 §5.2), so that the cause need not be guessed.

// byteOrderMark is what some editors and libraries write before UTF-8.
var byteOrderMark = []byte("\ufeff")

// errEncoded becomes a 415. errJSONAsForm would otherwise be a form with one strange
// parameter, and be refused for what it lacks.
var (
	errEncoded    = deviceauth.NewError("invalid_request", "Content-Encoding: want none; the body has to come as it is")
	errJSONAsForm = deviceauth.NewError("invalid_request",
		"the body looks like JSON, but Content-Type says application/x-www-form-urlencoded: "+
			"send Content-Type: application/json")
)

// notJSON is the error for a body that is no JSON object, although its type says so. A
// form that was sent under the wrong Content-Type is named as such.
func notJSON(body []byte) error {
	if p, err := formParams(string(body)); err == nil && p.anyKnown() && !bytes.HasPrefix(body, []byte("{")) {
		return badRequest("the body looks like a form, but Content-Type says application/json: " +
			"send Content-Type: application/x-www-form-urlencoded")
	}
	return badRequest("the body is not a JSON object")
}

// anyKnown reports whether a parameter is there that some endpoint reads.
func (p params) anyKnown() bool {
	for name := range p {
		if known[name] {
			return true
		}
	}
	return false
}

// endsInLineBreak reports what a shell's $(cat file) leaves out, and most programs that
// read a file do not.
func endsInLineBreak(s string) bool { return strings.HasSuffix(s, "\n") || strings.HasSuffix(s, "\r") }

// missing is the error for a request without a required parameter. If the parameter is
// in the query, the description says that it belongs in the body (RFC 6749 §3.2 has the
// parameters of a POST in the body alone, because URLs are logged).
func missing(r *http.Request, code, name string) error {
	if r.URL.Query().Get(name) != "" {
		return deviceauth.NewError(code,
			name+" is in the query, where the parameters of a POST are not looked at: send it in the body")
	}
	return deviceauth.NewError(code, name+" is missing")
}
