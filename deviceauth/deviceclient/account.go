package deviceclient

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Account returns the account of the person who approved, from the ID token that was
// sent with the token, or "" if it is unknown. The ID token comes from the server
// over the same connection and is not verified further (OpenID Connect Core
// §3.1.3.7), so the account must only be displayed. Account uses preferred_username,
// email or name, in this order (OpenID Connect Core §5.1): the first one that is not
// empty after control characters were removed.
func Account(t *oauth2.Token) string {
	parts := strings.Split(extra(t, "id_token"), ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims map[string]any
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	for _, name := range []string{"preferred_username", "email", "name"} {
		if value, ok := claims[name].(string); ok {
			if value = text.CleanName(value); value != "" {
				return value
			}
		}
	}
	return ""
}
