package badgerstore

import (
	"bytes"
	"context"
	"errors"
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

func TestFullDiskIsATemporaryError(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	g := active("BCDFGHJK")
	if err := s.put(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	left := s.room.reserve() - 1
	s.room.free = func() (uint64, error) { return left, nil }
	revoke := func() error {
		s.room.next = time.Time{}
		return s.Update(t.Context(), g.ID, func(g *deviceauth.Grant) error { return g.Revoke(time.Now(), "test") })
	}
	s.room.next = time.Time{}
	if err := s.Create(t.Context(), storetest.NewGrant("LMNPQRST")); !errors.Is(err, errDiskFull) {
		t.Errorf("a creation: %v", err)
	}
	if err := revoke(); !errors.Is(err, errDiskFull) {
		t.Errorf("a change: %v", err)
	}
	if got, err := s.Get(t.Context(), g.ID); err != nil || !got.IsActive() {
		t.Errorf("a change that failed is seen: %+v, %v", got, err)
	}
	left++
	if err := revoke(); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

// Compactions can wait; reopening a store needs less space.
func TestCompactionsWaitWhenLittleSpaceIsLeft(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	left := s.room.reserve() - 1
	s.room.free = func() (uint64, error) { return left, nil }
	if err := s.room.canMakeTables(); !errors.Is(err, errDiskFull) {
		t.Errorf("with less than a change needs: %v", err)
	}
	if err := s.room.requireFree(startReserve); err != nil {
		t.Errorf("a start: %v", err)
	}
	left++
	if err := s.room.canMakeTables(); err != nil {
		t.Errorf("with as much as a change needs: %v", err)
	}
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

func TestFreeSpaceIsMeasured(t *testing.T) {
	if left, err := freeSpace(t.TempDir()); err == nil && left == 0 {
		t.Error("nothing is left on this disk")
	}
	if _, err := freeSpace(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("there is room nowhere")
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

func TestZeroKeyIsRefusedAndCanBeChanged(t *testing.T) {
	zero, dir := deviceauth.Secret(strings.Repeat("0", 64)), t.TempDir()
	if err := (Options{EncryptionKey: zero}).Check(); err == nil || !strings.Contains(err.Error(), "32 zero bytes") {
		t.Errorf("got %v", err)
	}
	s, err := openWith(Options{Dir: dir}, make([]byte, keySize)) // such a store may exist
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
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

// A commit whose sync failed is synced before anything that may rest on it is answered.
func TestRetryOfAChangeThatWasNotSyncedIsSynced(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	g := active("BCDFGHJK")
	if err := s.put(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	s.unsynced = true
	nothing := errors.New("nothing to change")
	if err := s.Update(t.Context(), g.ID, func(*deviceauth.Grant) error { return nothing }); err != nothing {
		t.Fatal(err)
	}
	if s.unsynced {
		t.Error("it was answered without a sync")
	}
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

// Expired records are removed from the disk by dropExpired, and a store in which grants
// come and go does not grow without end.
func TestExpiredRecordsLeaveTheDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		kept := active("BCDFGHJK")
		kept.Refresh = &deviceauth.Refresh{Idle: kept.Created.Add(30 * 24 * time.Hour)}
		if err := s.put(context.Background(), kept); err != nil {
			t.Fatal(err)
		}
		days := 3
		if testing.Short() {
			days = 1
		}
		for day := range days {
			for i := range 300 {
				g := shortLived(deviceauth.UserCode(fmt.Sprintf("D%dN%d", day, i)))
				g.ClientID = "expired-device"
				if err := s.Create(context.Background(), g); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Until(kept.Created.Add(time.Duration(day+1) * 12 * time.Minute)))
			if err := s.dropExpired(); err != nil {
				t.Fatal(err)
			}
			// some of the junk may stay until the next run
			if found, size := onDisk(t, dir, "expired-device"); found || size > 4*memTable {
				t.Errorf("tidied: tables of %d bytes, with what has expired: %v", size, found)
			}
		}
		if got, err := s.Get(context.Background(), kept.ID); err != nil || !got.IsActive() {
			t.Errorf("what is needed: %+v, %v", got, err)
		}
	})
}

// onDisk searches the tables for a text, and adds up their sizes.
func onDisk(t *testing.T, dir, text string) (found bool, size int) {
	files, err := filepath.Glob(dir + "/*.sst")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		size += len(content)
		found = found || bytes.Contains(content, []byte(text))
	}
	return found, size
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
