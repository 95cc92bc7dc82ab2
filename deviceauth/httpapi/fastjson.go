package httpapi

import (
	"bytes"
	"strconv"

	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// The two answers that busy devices draw, of a device authorization request and of a
// poll, are written member by member: as encoding/json would write them, at a tenth of
// the cost.

// appendMember appends a member of an object whose value is a string. first begins the
// object.
func appendMember(to []byte, first bool, name, value string) []byte {
	return appendString(appendName(to, first, name), value)
}

func appendName(to []byte, first bool, name string) []byte {
	between := byte(',')
	if first {
		between = '{'
	}
	to = append(to, between, '"')
	to = append(to, name...)
	return append(to, '"', ':')
}

// appendString appends a string as [response.JSON] does, which is left to do what needs
// an escape.
func appendString(to []byte, value string) []byte {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(to, bytes.TrimSuffix(response.JSON(value), []byte("\n"))...)
		}
	}
	to = append(to, '"')
	to = append(to, value...)
	return append(to, '"')
}

// json is RFC 6749 §5.2.
func (a refusalAnswer) json() []byte {
	to := make([]byte, 0, 64+len(a.Error)+len(a.Description))
	to = appendMember(to, true, "error", a.Error)
	to = appendMember(to, false, "error_description", a.Description)
	if a.Interval != 0 {
		to = strconv.AppendInt(appendName(to, false, "interval"), int64(a.Interval), 10)
	}
	return append(to, '}', '\n')
}

// json is RFC 8628 §3.2. What only dialects add is left to encoding/json.
func (a *authorizationAnswer) json() []byte {
	if a.URL != "" || a.Message != "" || a.RedirectURI != "" || a.Token != nil {
		return response.JSON(a)
	}
	to := make([]byte, 0, 192+len(a.DeviceCode)+2*len(a.UserCode)+len(a.URI)+len(a.Complete))
	to = appendMember(to, true, "device_code", a.DeviceCode)
	to = appendMember(to, false, "user_code", a.UserCode)
	to = appendMember(to, false, "verification_uri", a.URI)
	if a.Complete != "" {
		to = appendMember(to, false, "verification_uri_complete", a.Complete)
	}
	to = strconv.AppendInt(appendName(to, false, "expires_in"), int64(a.ExpiresIn), 10)
	to = strconv.AppendInt(appendName(to, false, "interval"), int64(a.Interval), 10)
	return append(to, '}', '\n')
}
