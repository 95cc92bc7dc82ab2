package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readKeys reads a file of old keys with this text.
func readKeys(t *testing.T, text string) (*legacyKeys, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return (&Legacy{Header: "X-Api-Key", File: name}).read()
}

func TestLinesOfOldKeys(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"client":                       ":1: want a client and its key",
		"client short":                 "shorter than 8 characters",
		"client long-enough a,b":       "separated by spaces",
		"client long-enough /v2/*":     "scopes",
		"cl\u202eient long-enough":     "printable ASCII",
		"caf\u00e9 long-enough":        "printable ASCII",
		"a long-enough\nb long-enough": "have the same key",
		"a sha256:12":                  "64 hexadecimal digits",
	} {
		if _, err := readKeys(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	keys, err := readKeys(t,
		"\ufeff# a-comment that-is-no-key\n\n# another\na long-enough a:read a:write # a third\r\n")
	if err != nil || len(keys.clients) != 1 {
		t.Fatalf("%+v, %v", keys, err)
	}
	for _, id := range keys.clients {
		if id.ClientID != "a" || id.Scope != "a:read a:write" {
			t.Errorf("%+v", id)
		}
	}
}
