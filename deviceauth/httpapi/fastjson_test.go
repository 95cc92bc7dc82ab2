package httpapi

import (
	"bytes"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

var odd = []string{"", "plain", `"\`, "<&>", "\x00\n\x7f", "Zoë", "\u2028", "\xff", "~ }"}

func TestFastJSONIsWhatEncodingJSONWrites(t *testing.T) {
	t.Parallel()
	for _, text := range odd {
		for _, n := range []int{0, 5, -1} {
			refusal := refusalAnswer{Error: text, Description: text + "x", Interval: n}
			if got, want := refusal.json(), response.JSON(refusal); !bytes.Equal(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
			for _, message := range []string{"", text} {
				said := &authorizationAnswer{
					DeviceCode: text, UserCode: "B" + text, URI: text, Complete: text, ExpiresIn: n, Interval: n, Message: message,
				}
				if got, want := said.json(), response.JSON(said); !bytes.Equal(got, want) {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		}
	}
}

func FuzzFastJSON(f *testing.F) {
	for _, text := range odd {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		refusal := refusalAnswer{Error: "invalid_scope", Description: text}
		if got, want := refusal.json(), response.JSON(refusal); !bytes.Equal(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
