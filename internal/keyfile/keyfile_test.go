package keyfile

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What sha256sum prints is a digest, which would be the key itself without sha256: before it.
func TestDigestWithoutItsMarkIsReportedOnce(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte("builder "+strings.Repeat("0a", sha256.Size)+" files\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var reported []string
	f, err := Open(Options{
		Path: name, CheckScopes: func([]string) error { return nil }, Client: func(string) {},
		Hexadecimal: func(clients []string) { reported = append(reported, clients...) },
	})
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.read() // as after a minute
	if err != nil {
		t.Fatal(err)
	}
	f.use(again)
	if !slices.Equal(reported, []string{"builder"}) {
		t.Errorf("%v is reported", reported)
	}
}

// A typing error in one line must not lock out all machines, whether or not its caller
// wants to know.
func TestFileThatCannotBeReadKeepsTheKeys(t *testing.T) {
	t.Parallel()
	for _, failed := range []func(error){nil, func(error) {}} {
		name := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(name, []byte("builder long-enough\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(Options{
			Path: name, CheckScopes: func([]string) error { return nil }, Client: func(string) {}, Failed: failed,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		f.checked.Store(0) // as after reloadInterval
		if client := f.Client("long-enough"); client == nil || client.ClientID != "builder" {
			t.Errorf("got %v", client)
		}
	}
}
