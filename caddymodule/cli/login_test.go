package cli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

func TestTokenIsPrintedAsAsked(t *testing.T) {
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
			got, err := outputFormats[test.output](&oauth2.Token{AccessToken: test.token})
			if test.want == "" && err == nil || test.want != "" && (err != nil || got != test.want) {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestJSONHasTheRemainingLifetime(t *testing.T) {
	token := &oauth2.Token{
		AccessToken: "a", RefreshToken: "r", TokenType: "Bearer",
		Expiry: time.Now().Add(100*time.Second + time.Second/2), ExpiresIn: 900,
	}
	text, err := tokenResponse(token.WithExtra(map[string]any{"scope": "read", "id_token": ""}))
	var got map[string]any
	if err := errors.Join(err, json.Unmarshal([]byte(text), &got)); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "scope": "read", "expires_in": 100.0,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWarningComesBeforeTheAddress(t *testing.T) {
	var out strings.Builder
	(&login{err: &out}).show(deviceclient.Prompt{Address: "https://a", Code: "U", Warning: "Look twice."})
	want := "\nLook twice.\n\nOpen   https://a\nType   U\n\nWaiting for your answer…\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestCodeIsShownWithItsEnd(t *testing.T) {
	var out strings.Builder
	until := time.Date(2026, 3, 1, 14, 32, 5, 0, time.Local)
	prompt := deviceclient.Prompt{Address: "https://a", Code: "U", Complete: "https://a?user_code=U", Expires: until}
	(&login{err: &out}).show(prompt)
	want := "\nOpen   https://a\nType   U\n\nThe code is good until 14:32:05.\nWaiting for your answer…\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want) // and no QR code, since this is no terminal
	}
}

func TestNoQRCodeInAFile(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if (&login{err: file}).drawsQR() {
		t.Error("a file gets a QR code")
	}
}

func TestWelcomeSaysForHowLong(t *testing.T) {
	until := time.Date(2026, 3, 1, 14, 32, 5, 0, time.Local)
	alice := func(t oauth2.Token) *oauth2.Token {
		claims := base64.RawURLEncoding.EncodeToString([]byte(`{"preferred_username":"ali\u202ece\u001b[2J"}`))
		return t.WithExtra(map[string]any{"id_token": "e30." + claims + ".x"})
	}
	for _, test := range []struct {
		name   string
		noKeep bool
		token  *oauth2.Token
		want   string
	}{
		{"kept", false, alice(oauth2.Token{RefreshToken: "r", Expiry: until}),
			"Connected as alice[2J, renewed by itself."},
		{"not kept", true, alice(oauth2.Token{RefreshToken: "r", Expiry: until}),
			"Connected as alice[2J, until 2026-03-01 14:32:05."},
		{"an unknown account", false, &oauth2.Token{RefreshToken: "r"}, "Connected, renewed by itself."},
		{"an unknown end", false, (&oauth2.Token{}).WithExtra(map[string]any{"id_token": "a.!.b"}), "Connected."},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := (&login{noKeep: test.noKeep}).welcome(test.token); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestExitCodesAreThoseOfTheHelp(t *testing.T) {
	for want, err := range map[int]error{
		0: nil, 1: errors.New("away"), 3: fmt.Errorf("login: %w", deviceclient.ErrDenied), 4: deviceclient.ErrExpired,
		5: deviceclient.ErrInteraction, 130: errInterrupted,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
