package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

func TestTokenIsSpelledAsAsked(t *testing.T) {
	tests := []struct {
		name, output, token, want string
	}{
		{"as a header", "header", "abc", "Authorization: Bearer abc"},
		{"alone", "token", "abc", "abc"},
		{"for curl", "curl", "abc", `header = "Authorization: Bearer abc"`},
		{"for curl, escaped", "curl", `a"b\c`, `header = "Authorization: Bearer a\"b\\c"`},
		{"never with a second line for curl", "curl", "a\noutput = x", ""},
		{"never with a second header", "header", "a\r\nCookie: x", ""},
		{"never with what a terminal obeys", "token", "a\x1b[2J", ""},
		{"never with what a terminal obeys, in JSON", "json", "a\u009b2J", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := spellings[test.output](&oauth2.Token{AccessToken: test.token})
			if test.want == "" && err == nil || test.want != "" && (err != nil || got != test.want) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestJSONTellsWhatIsLeft(t *testing.T) {
	token := &oauth2.Token{AccessToken: "a", RefreshToken: "r", TokenType: "Bearer", Expiry: time.Now().Add(100*time.Second + time.Second/2), ExpiresIn: 900}
	text, err := tokenResponse(token.WithExtra(map[string]any{"scope": "read", "id_token": ""}))
	var got map[string]any
	if err := errors.Join(err, json.Unmarshal([]byte(text), &got)); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "scope": "read", "expires_in": 100.0}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWarningComesBeforeTheAddress(t *testing.T) {
	var out strings.Builder
	(&login{err: &out}).show(deviceclient.Prompt{Address: "https://a", Code: "U", Warning: "Look twice."})
	if want := "\nLook twice.\n\nOpen   https://a\nType   U\n\nWaiting for your answer…\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestExitCodesAreThoseOfTheHelp(t *testing.T) {
	for want, err := range map[int]error{
		0: nil, 1: errors.New("away"), 3: fmt.Errorf("login: %w", deviceclient.ErrDenied), 4: deviceclient.ErrExpired,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
