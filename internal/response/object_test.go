package response_test

import (
	"bytes"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// object writes the members as an Object and as encoding/json does.
func object(text string, n int) (got, want []byte) {
	o := response.NewObject(0)
	o.String("first", text)
	o.Int("number", n)
	o.String("last", text+"x")
	return o.End(), response.JSON(struct {
		First  string `json:"first"`
		Number int    `json:"number"`
		Last   string `json:"last"`
	}{First: text, Number: n, Last: text + "x"})
}

var oddTexts = []string{"", "plain", `"\`, "<&>", "\x00\n\x7f", "Zoë", "\u2028", "\xff", "~ }"}

func TestObjectIsWhatEncodingJSONWrites(t *testing.T) {
	t.Parallel()
	for _, text := range oddTexts {
		for _, n := range []int{0, 5, -1} {
			if got, want := object(text, n); !bytes.Equal(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

func FuzzObject(f *testing.F) {
	for _, text := range oddTexts {
		f.Add(text, 5)
	}
	f.Fuzz(func(t *testing.T, text string, n int) {
		if got, want := object(text, n); !bytes.Equal(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
