package main

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// A line of a backup, as far as this test looks.
type backedUp struct {
	Name     string          `json:"name"`
	Document []byte          `json:"document"`
	Grant    json.RawMessage `json:"grant"`
}

// backUp takes a backup of the running server and reads it.
func (g *gateway) backUp() (list []backedUp) {
	g.t.Helper()
	file := filepath.Join(g.t.TempDir(), "backup")
	if out, err := g.run("device-auth", "backup", file, "--address", g.admin); err != nil {
		g.t.Fatal(err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var next backedUp
		if err := json.Unmarshal([]byte(line), &next); err != nil {
			g.t.Fatal(err)
		}
		list = append(list, next)
	}
	return list
}

// texts are all strings of a JSON value.
func texts(v any) (list []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, member := range v {
			list = append(list, texts(member)...)
		}
	case map[string]any:
		for name, member := range v {
			list = append(append(list, name), texts(member)...)
		}
	}
	return list
}

// opened is what a key opens among texts: whatever is base64, as a whole or
// behind a prefix, sealed for whatever stands among the texts too.
func opened(t *testing.T, key []byte, all []string) (list []string) {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range all {
		_, behind, _ := strings.Cut(text, ".")
		for _, encoded := range []string{text, behind} {
			plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(encoded, "="))
			raw, err := base64.RawStdEncoding.DecodeString(plain)
			if err != nil || len(raw) < aead.Overhead() {
				continue
			}
			for _, purpose := range append(all, "") {
				if secret, err := aead.Open(nil, nil, raw, []byte(purpose)); err == nil {
					list = append(list, string(secret))
					break
				}
			}
		}
	}
	return list
}

func TestZeroKeyOpensNothingInABackup(t *testing.T) {
	t.Parallel()
	idp := idptest.Start()
	defer idp.Close()
	idp.Behave(idptest.Behaviour{Refresh: true})
	g := startAt(t, idp, "revalidate")
	_, device := connected(t, g)
	if device = g.refresh(device.Refresh); device.Access == "" { // the traded token is sealed too
		t.Fatalf("the refresh is answered %+v", device)
	}
	var all []string
	var ring struct {
		Secrets map[string][]byte `json:"secrets"`
	}
	for _, next := range g.backUp() {
		if next.Name == "keyring" {
			if err := json.Unmarshal(next.Document, &ring); err != nil {
				t.Fatal(err)
			}
		}
		for _, document := range [][]byte{next.Document, next.Grant} {
			var v any
			if len(document) > 0 && json.Unmarshal(document, &v) == nil {
				all = append(all, texts(v)...)
			}
		}
	}
	if found := opened(t, make([]byte, 32), all); len(found) > 0 {
		t.Errorf("32 zero bytes open %q", found)
	}
	if found := opened(t, ring.Secrets["upstream"], all); len(found) != 1 {
		t.Errorf("the key of the ring opens %d texts, want one refresh token: this tested nothing", len(found))
	}
	for purpose, secret := range ring.Secrets {
		if len(secret) != 32 || string(secret) == string(make([]byte, 32)) {
			t.Errorf("the secret %q has %d bytes, or is zero", purpose, len(secret))
		}
	}
}
