package endpoint_test

import (
	"bytes"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

func TestOAuthErrorIsWhatEncodingJSONWrites(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain", `"\`, "<&>", "Zoë", "\xff"} {
		for _, interval := range []int{0, 5, -1} {
			e := endpoint.OAuthError{Error: text, Description: text + "x", Interval: interval}
			if got, want := endpoint.JSON(400, e).Body, response.JSON(e); !bytes.Equal(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}
