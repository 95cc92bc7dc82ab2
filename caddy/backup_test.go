package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (g *gateway) storeDir() string { return filepath.Join(g.dir, "data", "caddy", "device_login") }

func TestBackupOfARunningServerIsRestored(t *testing.T) {
	t.Parallel()
	g := start(t)
	d, pending := g.device(), g.device()
	newPerson(t, "alice").allow(d)
	token := d.poll()
	file := filepath.Join(g.dir, "backup")
	if out, err := g.run("device-auth", "backup", file, "--address", g.admin); err != nil {
		t.Fatal(err, out)
	}
	wantMode(t, file, 0o600)
	wantMode(t, g.storeDir(), 0o700)
	if err := os.Chmod(file, 0o644); err != nil { // as copies often are
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(text), token.Refresh) || strings.Contains(string(text), d.Code) {
		t.Errorf("%v, or a token is in the backup", err)
	}
	if out, err := g.run("device-auth", "restore", file); err == nil || !strings.Contains(out, "is there already") {
		t.Errorf("a store in use is overwritten: %v\n%s", err, out)
	}
	later := g.device()
	newPerson(t, "alice").allow(later)
	lost := later.poll()
	g.revoke(lost.Refresh)
	for _, test := range []struct {
		name   string
		flags  []string
		before int // what the API answers to the device connected before the backup
	}{{"all end", nil, http.StatusUnauthorized}, {"those before go on", []string{"--keep-grants"}, http.StatusOK}} {
		restoreInstead(t, g, file, test.flags)
		if status, _ := g.api(token.Access); status != test.before {
			t.Errorf("%s: connected before the backup: %d, want %d", test.name, status, test.before)
		}
		if status, _ := g.api(lost.Access); status != http.StatusUnauthorized {
			t.Errorf("%s: connected after it: %d", test.name, status)
		}
		for _, code := range []*device{d, later, pending} {
			if answer := code.poll(); answer.Status != http.StatusBadRequest || answer.Error != "invalid_grant" {
				t.Errorf("%s: a device code from before the restore: %+v", test.name, answer)
			}
		}
	}
}

func TestEncryptedStoreNeedsItsKey(t *testing.T) {
	t.Parallel()
	keys := []string{filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "new")}
	for i, key := range keys {
		if err := os.WriteFile(key, []byte(strings.Repeat(string('a'+rune(i)), 64)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateway(t)
	with := func(key string) {
		g.configure(func(s string) string {
			return strings.Replace(s, "\tbrand",
				"\tstore badger {\n\t\t\tencryption_key {file."+key+"}\n\t\t}\n\t\tbrand", 1)
		})
	}
	with(keys[0])
	g.start()
	d := g.device()
	newPerson(t, "alice").allow(d)
	token := d.poll()
	g.kill()
	with(keys[1])
	if out, err := g.run("run", "--config", g.config); err == nil || !strings.Contains(out, "another encryption key") {
		t.Errorf("with the wrong key: %v\n%s", err, out)
	}
	if out, err := g.run("device-auth", "rekey", "--old-key-file", keys[0], "--new-key-file", keys[1]); err != nil {
		t.Fatal(err, out)
	}
	g.start()
	if status, _ := g.api(token.Access); status != http.StatusOK {
		t.Errorf("with the new key the API answers %d", status)
	}
}

// wantMode checks the permissions of a file or directory.
func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
		t.Errorf("%s: %v, %v, want mode %v", path, info, err, want)
	}
}

// restoreInstead kills the server and starts it again with a backup that all may read in
// place of its store.
func restoreInstead(t *testing.T, g *gateway, backup string, flags []string) {
	t.Helper()
	g.kill()
	if err := os.Rename(g.storeDir(), filepath.Join(t.TempDir(), "old")); err != nil {
		t.Fatal(err)
	}
	out, err := g.run(append([]string{"device-auth", "restore", backup}, flags...)...)
	if err != nil {
		t.Fatal(err, out)
	}
	wantMode(t, g.storeDir(), 0o700)
	if !strings.Contains(out, "open to every user (mode 0644)") {
		t.Errorf("%q: no warning of a backup that every user may read:\n%s", flags, out)
	}
	g.start()
}
