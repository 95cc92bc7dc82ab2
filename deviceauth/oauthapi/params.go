package oauthapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// errTooLarge is answered with status 413.
var errTooLarge = deviceauth.NewError("invalid_request", "the body is larger than 64 KiB")

// badRequest returns the error invalid_request (RFC 6749 §5.2) for a malformed
// request.
func badRequest(why string) error { return deviceauth.NewError("invalid_request", why) }

// params are the parameters of a POST, each with one value; only resource may have
// several (RFC 8707 §2). A parameter with an empty value counts as omitted (RFC 6749
// §3.1).
type params map[string][]string

// get returns the first value of a parameter, or "" if there is none; [params.check]
// refuses a second one.
func (p params) get(name string) string {
	if len(p[name]) == 0 {
		return ""
	}
	return p[name][0]
}

// readParams reads a form or a JSON object. It ignores the query, because URLs are
// logged, unless orQuery is set and the body is empty. An empty body needs no
// Content-Type and has no parameters: some clients send everything in Basic.
func readParams(r *http.Request, orQuery bool) (params, error) {
	// A compressed body could be a decompression bomb, and no client needs one.
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, errEncoded
	}
	body, err := reqbody.ReadAll(r.Body, endpoint.MaxBody+1, r.ContentLength)
	if err != nil {
		return nil, badRequest("the body broke off")
	}
	if len(body) > endpoint.MaxBody {
		return nil, errTooLarge
	}
	// RFC 6749 appendix B requires UTF-8; invalid bytes would also reach logs and
	// pages.
	if !utf8.Valid(body) {
		return nil, badRequest("the body is not UTF-8")
	}
	body = bytes.TrimPrefix(body, byteOrderMark)
	// Only for dialects whose devices need it: URLs are logged.
	if len(body) == 0 && orQuery {
		p, err := formParams(r.URL.RawQuery)
		if err != nil {
			return nil, err
		}
		return p, p.check()
	}
	if len(body) == 0 {
		return params{}, nil
	}
	p, err := typedParams(r.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, err
	}
	return p, p.check()
}

// formType is the media type of RFC 6749 appendix B.
const formType = "application/x-www-form-urlencoded"

// typedParams parses a body by its media type: a form (RFC 6749 appendix B), or JSON,
// which is an extension for devices without form encoding.
func typedParams(contentType string, body []byte) (params, error) {
	if contentType == formType { // nearly all requests: nothing to parse
		return formParams(string(body))
	}
	switch kind, _, err := mime.ParseMediaType(contentType); {
	case err == nil && kind == formType:
		return formParams(string(body))
	case err == nil && kind == "application/json":
		return jsonParams(body)
	}
	return nil, badRequest("Content-Type: want application/x-www-form-urlencoded or application/json")
}

// formParams parses a form. It returns a specific error for a body that looks like
// JSON.
func formParams(body string) (params, error) {
	values, err := url.ParseQuery(body)
	switch p := params(values); {
	case !p.anyKnown() && strings.HasPrefix(strings.TrimLeft(body, " \t\r\n"), "{"):
		return nil, errJSONAsForm
	case err != nil:
		return nil, badRequest("the body is not a well-formed form")
	default:
		return p, nil
	}
}

// jsonParams parses an object member by member, because a decoder into a map would
// not notice a repeated member.
func jsonParams(body []byte) (params, error) {
	// The error describes what the body looks like instead.
	broken := notJSON(body)
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, broken
	}
	p := params{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, broken
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil, broken
		}
		if err := p.addJSON(name.(string), value); err != nil {
			return nil, err
		}
	}
	// Nothing may follow the object: another reader might use a second one.
	if end, err := d.Token(); err != nil || end != json.Delim('}') {
		return nil, broken
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, broken
	}
	return p, nil
}

// known are the parameters that some endpoint reads. Other members, such as the
// _links of hypermedia clients, may have any value.
var known = map[string]bool{
	"client_id": true, "client_secret": true, "scope": true, "audience": true, "resource": true,
	"grant_type": true, "device_code": true, "device_name": true, "redirect_uri": true,
	"refresh_token": true, "code": true,
	"token": true, "token_type_hint": true,
	"code_challenge": true, "code_challenge_method": true, "code_verifier": true,
}

// addJSON adds a member of a JSON object: a string, or for resource also a list of
// strings. null counts as omitted. Members that no endpoint reads may have any type.
func (p params) addJSON(name string, value json.RawMessage) error {
	var one *string
	var many []string
	switch {
	case !known[name]:
	case json.Unmarshal(value, &one) == nil && one != nil:
		p[name] = append(p[name], *one)
	case string(value) == "null":
	case name == "resource" && json.Unmarshal(value, &many) == nil:
		p[name] = append(p[name], many...)
	default:
		return badRequest("the member " + name + " is not a string")
	}
	return nil
}

// check removes empty values, and refuses a repeated parameter (RFC 6749 §3.2) and
// text that would corrupt logs and pages.
func (p params) check() error {
	for name, values := range p {
		// RFC 6749 §3.2. Unknown parameters may be repeated.
		if len(values) > 1 && name != "resource" && known[name] {
			return badRequest("the parameter " + name + " is repeated")
		}
		for _, v := range values {
			// The body itself has been checked, but its percent-encoding may contain
			// these bytes.
			if strings.ContainsRune(v, 0) || !utf8.ValidString(v) {
				return badRequest("a parameter contains a NUL character, or is not UTF-8")
			}
			if known[name] && name != "client_secret" && endsInLineBreak(v) { // for secrets the engine reports it
				return badRequest("the parameter " + name + " ends in a line break")
			}
		}
		if slices.Contains(values, "") {
			p[name] = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		}
	}
	return nil
}
