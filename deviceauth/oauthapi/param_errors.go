package oauthapi

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Common mistakes of client developers have specific messages in error_description
// (RFC 6749 §5.2).

// byteOrderMark is written before UTF-8 by some editors and libraries.
var byteOrderMark = []byte("\ufeff")

// errEncoded is answered with status 415. Without errJSONAsForm, JSON would be parsed
// as a form with one strange parameter, and refused for missing parameters.
var (
	errEncoded    = deviceauth.NewError("invalid_request", "Content-Encoding: want none; the body has to come as it is")
	errJSONAsForm = deviceauth.NewError("invalid_request",
		"the body looks like JSON, but Content-Type says application/x-www-form-urlencoded: "+
			"send Content-Type: application/json")
)

// notJSON returns the error for a body that is not a JSON object, although its
// Content-Type is JSON. Its description says so if the body looks like a form with
// the wrong Content-Type.
func notJSON(body []byte) error {
	if p, err := formParams(string(body)); err == nil && p.anyKnown() && !bytes.HasPrefix(body, []byte("{")) {
		return badRequest("the body looks like a form, but Content-Type says application/json: " +
			"send Content-Type: application/x-www-form-urlencoded")
	}
	return badRequest("the body is not a JSON object")
}

// anyKnown reports whether there is a parameter that some endpoint reads.
func (p params) anyKnown() bool {
	for name := range p {
		if known[name] {
			return true
		}
	}
	return false
}

// endsInLineBreak reports whether a value ends in a line break, which a shell's $(cat
// file) strips, but most programs that read a file do not.
func endsInLineBreak(s string) bool { return strings.HasSuffix(s, "\n") || strings.HasSuffix(s, "\r") }

// missing returns the error for a request without a required parameter. If the
// parameter is in the query, the description says that it belongs in the body: RFC
// 6749 §3.2 requires the parameters of a POST there, because URLs are logged.
func missing(r *http.Request, code, name string) error {
	if r.URL.Query().Get(name) != "" {
		return deviceauth.NewError(code,
			name+" is in the query, where the parameters of a POST are not looked at: send it in the body")
	}
	return deviceauth.NewError(code, name+" is missing")
}
