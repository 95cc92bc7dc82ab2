package badgerstore

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
	"github.com/deviceauth/caddy-deviceauth/internal/badgerdb"
)

const (
	aKey     = deviceauth.Secret("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	otherKey = deviceauth.Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
)

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// active returns a grant that is in use.
func active(code deviceauth.UserCode) *deviceauth.Grant {
	g := storetest.NewGrant(code)
	g.State, g.Redeemed = deviceauth.Active, g.Created
	g.Person = &deviceauth.Person{Subject: "work|remarkable-name", Upstream: "work", User: "alice"}
	return g
}

// Run with GOARCH=386, as the project's own check does.
func TestSystemsOf32BitsAreRefused(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir()})
	if err == nil {
		s.Close()
	}
	if refused := err != nil && strings.Contains(err.Error(), "64-bit build"); refused != (strconv.IntSize == 32) {
		t.Errorf("on %d bits: %v", strconv.IntSize, err)
	}
}

func TestWhatIsOnTheDiskIsEncrypted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, EncryptionKey: aKey})
	g := active("BCDFGHJK")
	if err := s.put(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(dir + "/*")
	for _, file := range files {
		if text, err := os.ReadFile(file); err != nil || bytes.Contains(text, []byte("remarkable-name")) {
			t.Errorf("%s: %v, or it can be read", file, err)
		}
	}
	for name, wrong := range map[string]deviceauth.Secret{"another key": otherKey, "no key": ""} {
		if _, err := Open(Options{Dir: dir, EncryptionKey: wrong}); err == nil ||
			!strings.Contains(err.Error(), "another encryption key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Rekey(dir, otherKey, aKey); err == nil {
		t.Error("the wrong old key is accepted")
	}
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	if err := Rekey(nowhere, aKey, otherKey); err == nil || !strings.Contains(err.Error(), "no store in") {
		t.Errorf("where there is no store: %v", err)
	}
	if _, err := os.Stat(nowhere); err == nil {
		t.Error("one was made")
	}
	if err := Rekey(dir, aKey, otherKey); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, Options{Dir: dir, EncryptionKey: otherKey}).Get(t.Context(), g.ID); err != nil ||
		!got.IsActive() {
		t.Errorf("with the new key: %+v, %v", got, err)
	}
	if _, err := Open(Options{Dir: dir, EncryptionKey: aKey}); err == nil {
		t.Error("the old key still opens it")
	}
}

// A key that is nothing but white space, as of an empty file, does not mean that there is
// to be no encryption.
func TestBlankKeyIsRefused(t *testing.T) {
	t.Parallel()
	for _, blank := range []deviceauth.Secret{" ", "\n", " \t\r\n"} {
		dir := filepath.Join(t.TempDir(), "store")
		s, err := Open(Options{Dir: dir, EncryptionKey: blank})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "want 32 bytes") {
			t.Errorf("%q: got %v", blank, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q: a store was made", blank)
		}
	}
}

func TestZeroKeyIsRefusedAndCanBeChanged(t *testing.T) {
	zero, dir := deviceauth.Secret(strings.Repeat("0", 64)), t.TempDir()
	if err := (Options{EncryptionKey: zero}).Check(); err == nil || !strings.Contains(err.Error(), "32 zero bytes") {
		t.Errorf("got %v", err)
	}
	s, err := badgerdb.Open(Options{Dir: dir}.database(make([]byte, keySize))) // such a store may exist
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	if err := Rekey(dir, zero, aKey); err != nil {
		t.Fatal(err)
	}
	if err := Rekey(dir, aKey, zero); err == nil || !strings.Contains(err.Error(), "32 zero bytes") {
		t.Errorf("as the new key: %v", err)
	}
	open(t, Options{Dir: dir, EncryptionKey: aKey})
}

func TestKeyOfAPlainStoreIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, Options{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, EncryptionKey: aKey}); err == nil ||
		!strings.Contains(err.Error(), "or with none") {
		t.Errorf("got %v", err)
	}
	for _, wrong := range []deviceauth.Secret{"short", "zz" + aKey[2:], aKey + "00"} {
		if err := (Options{EncryptionKey: wrong}).Check(); err == nil || strings.Contains(err.Error(), wrong.Reveal()) {
			t.Errorf("%q: %v", wrong.Reveal(), err)
		}
	}
}

// A grant that was active when the backup was made has expired by now.
func TestExpiredGrantsOfABackupAreNotRestored(t *testing.T) {
	if testing.Short() {
		t.Skip("go test without -short runs it: nothing in it runs beside another")
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{Dir: filepath.Join(dir, "store")})
		g := active("BCDFGHJK")
		if err := s.put(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		var backup bytes.Buffer
		if err := s.Backup(t.Context(), &backup); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(g.KeepUntil()))
		done, err := Restore(t.Context(), Options{Dir: filepath.Join(dir, "restored") + "/"}, &backup, true)
		if err != nil || done != (Restored{Documents: 0, Kept: 0, Ended: 1}) {
			t.Errorf("%+v, %v", done, err)
		}
	})
}

// backedUp returns the backup of a store with three grants, a document and a session.
func backedUp(t *testing.T) (backup string, alive, ended, pending *deviceauth.Grant) {
	t.Helper()
	s := open(t, Options{Dir: t.TempDir()})
	alive, ended, pending = active("BCDFGHJK"), active("LMNPQRST"), storetest.NewGrant("VWXZBCDF")
	ended.State, ended.Ended = deviceauth.Revoked, ended.Created
	for _, g := range []*deviceauth.Grant{alive, ended, pending} {
		if err := s.put(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.UpdateDocument(t.Context(), "keyring",
		func([]byte) ([]byte, error) { return []byte("keys"), nil }); err != nil {
		t.Fatal(err)
	}
	// A document with a time to live is a session, which must not come back after its end.
	if err := s.PutDocument(t.Context(), "session", []byte("alice"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Backup(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.String(), alive, ended, pending
}

func TestBackupAndRestore(t *testing.T) {
	backup, alive, ended, pending := backedUp(t)
	tests := []struct {
		name string
		keep bool
		want Restored
	}{{"without grants", false, Restored{Documents: 1, Kept: 0, Ended: 3}},
		{"with those that are alive", true, Restored{Documents: 1, Kept: 1, Ended: 2}}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "restored")
			done, err := Restore(t.Context(), Options{Dir: dir}, strings.NewReader(backup), test.keep)
			if err != nil || done != test.want {
				t.Fatalf("%+v, %v, want %+v", done, err, test.want)
			}
			if _, err := Restore(t.Context(), Options{Dir: dir}, strings.NewReader(backup), test.keep); err == nil {
				t.Error("a store is overwritten")
			}
			restored := open(t, Options{Dir: dir})
			for _, g := range []*deviceauth.Grant{alive, ended, pending} {
				got, err := restored.Get(t.Context(), g.ID)
				if want := test.keep && g == alive; (err == nil) != want {
					t.Errorf("%s: %+v, %v", g.State, got, err)
				}
			}
			list, err := restored.ByOwner(t.Context(), alive.Person.Subject)
			if err != nil || len(list) != test.want.Kept {
				t.Errorf("the person's: %v, %v", list, err)
			}
			err = restored.UpdateDocument(t.Context(), "keyring", func(old []byte) ([]byte, error) {
				if string(old) != "keys" {
					t.Errorf("the document is %q", old)
				}
				return old, nil
			})
			if err != nil {
				t.Error(err)
			}
			if session, err := restored.LoadDocument(t.Context(), "session"); session != nil || err != nil {
				t.Errorf("the session is %q, %v", session, err)
			}
		})
	}
}

func TestBackupThatIsNotWholeIsNotRestored(t *testing.T) {
	backup, _, _, _ := backedUp(t)
	for name, text := range map[string]string{
		"nothing": "", "something else": "{}\n", "half": backup[:len(backup)/2],
		"no end":      strings.TrimSuffix(backup, "{\"end\":4}\n"),
		"a line less": strings.Replace(backup, `{"end":4}`, `{"end":5}`, 1),
	} {
		dir := filepath.Join(t.TempDir(), "restored")
		if _, err := Restore(t.Context(), Options{Dir: dir}, strings.NewReader(text), true); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something is left in its place", name)
		}
	}
}

// Expired grants are removed from the disk.
func TestExpiredRecordsLeaveTheDisk(t *testing.T) {
	t.Parallel()
	inBubbleAt(t, func(t *testing.T, s *Store, dir string) {
		kept := active("BCDFGHJK")
		kept.Refresh = &deviceauth.Refresh{Idle: kept.Created.Add(30 * 24 * time.Hour)}
		if err := s.put(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			g := shortLived(deviceauth.UserCode(fmt.Sprintf("N%d", i)))
			g.ClientID = "expired-device"
			if err := s.Create(t.Context(), g); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(16 * time.Minute) // until the first run, and a minute for it
		synctest.Wait()
		if onDisk(t, dir, "expired-device") {
			t.Error("what has expired is there")
		}
		if got, err := s.Get(t.Context(), kept.ID); err != nil || !got.IsActive() {
			t.Errorf("what is needed: %+v, %v", got, err)
		}
	})
}

// onDisk searches the tables for a text. There must be some.
func onDisk(t *testing.T, dir, text string) (found bool) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.sst")
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found = found || bytes.Contains(content, []byte(text))
	}
	return found
}

// A symbolic link to nothing is not replaced, and a restore that fails leaves nothing.
func TestRestoreIntoALinkToNothingIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
		t.Skip(err)
	}
	_, err := Restore(t.Context(), Options{Dir: link}, strings.NewReader(""), false)
	if err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("got %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%q are left", files)
	}
}

// An operator reads what to do about a directory that does not open.
func TestErrorsOfOpeningSayWhatToDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.HasSuffix(err.Error(),
		dir+" is in use by another process; several gateways need a store that can be shared") {
		t.Errorf("in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "MANIFEST")
	if err := os.WriteFile(manifest, []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	const advice = "move the directory away and bring the last backup back with caddy device-auth restore; " +
		"docs/troubleshooting.md says more"
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), dir+" is damaged: MANIFEST: ") ||
		!strings.HasSuffix(err.Error(), ": "+advice) {
		t.Errorf("damaged: %v", err)
	}
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil ||
		!strings.HasSuffix(err.Error(), "has data and no file MANIFEST, without which it cannot be read: "+advice) {
		t.Errorf("without a MANIFEST: %v", err)
	}
}
