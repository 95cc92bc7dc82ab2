package caddymodule

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/deviceauth/caddy-deviceauth/internal/keyfile"
)

// readKeys reads a file of old keys with this text.
func readKeys(t *testing.T, text string) (*keyfile.File, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &Legacy{Header: "X-Api-Key", File: name}
	err := l.open(zap.NewNop())
	return l.keys, err
}

func TestLinesOfOldKeys(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("0a", sha256.Size)
	for text, want := range map[string]string{
		"client":                       ":1: want a client and its key",
		"client short":                 "shorter than 8 characters",
		"client long-enough a,b":       "separated by spaces",
		"client long-enough /v2/*":     "scopes",
		"cl\u202eient long-enough":     "printable ASCII",
		"caf\u00e9 long-enough":        "printable ASCII",
		"a long-enough\nb long-enough": "have the same key",
		"a sha256:12":                  "64 hexadecimal digits",
		digits + "  -":                 "begins with a digest",
		digits + "  - files":           "begins with a digest",
	} {
		if _, err := readKeys(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	keys, err := readKeys(t,
		"\ufeff# a-comment that-is-no-key\n\n# another\na long-enough a:read a:write # a third\r\n")
	if err != nil || len(keys.Clients()) != 1 {
		t.Fatalf("%+v, %v", keys, err)
	}
	for _, id := range keys.Clients() {
		if id.ClientID != "a" || id.Scope != "a:read a:write" {
			t.Errorf("%+v", id)
		}
	}
}

// What sha256sum prints is a digest, which would be the key itself without sha256: before it.
func TestDigestWithoutItsMarkIsWarnedAbout(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte("builder "+strings.Repeat("0a", sha256.Size)+" files\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, lines := observer.New(zap.WarnLevel)
	l := &Legacy{Header: "Authorization", File: name}
	if err := l.open(zap.New(log)); err != nil {
		t.Fatal(err)
	}
	if lines.FilterMessageSnippet("write sha256: before it").Len() != 1 {
		t.Errorf("the log has %v", lines.All())
	}
}
