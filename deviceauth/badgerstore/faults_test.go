package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/testlog"
)

// storeWithRemovableDir returns a store with a grant, whose directory can be removed.
func storeWithRemovableDir(t *testing.T) (*Store, string, *deviceauth.Grant, *testlog.Buffer) {
	t.Helper()
	dir, log := filepath.Join(t.TempDir(), "store"), new(testlog.Buffer)
	s, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	g := active("BCDFGHJK")
	if err := s.put(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return s, dir, g, log
}

// memTable is the size of one of Badger's memtables in bytes.
const memTable = 8 << 20

func unchanged(*deviceauth.Grant) error { return nil }

// protocol 4
func TestStoreWhoseDirectoryIsGoneRefusesWritesAndServesReads(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(string) error{
		"removed": os.RemoveAll,
		"another in its place": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir, g, log := storeWithRemovableDir(t)
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			// More than a memtable holds: Badger would have to create a file.
			for i := range 3 * memTable >> 10 {
				waiting := pending(deviceauth.UserCode(fmt.Sprintf("%08d", i)))
				if err := s.Create(t.Context(), waiting); err == nil || !strings.Contains(err.Error(), "is gone") {
					t.Fatalf("a new grant: %v", err)
				}
			}
			if err := s.Update(t.Context(), g.ID, unchanged); err == nil || !strings.Contains(err.Error(), "is gone") {
				t.Errorf("a change: %v", err)
			}
			if got, err := s.Get(t.Context(), g.ID); err != nil || got.ID != g.ID {
				t.Errorf("what is known: %v, %v", got, err)
			}
			since := time.Now()
			if err := s.Close(); err == nil || !strings.Contains(err.Error(), "is gone") {
				t.Errorf("it closes with %v", err)
			}
			if took := time.Since(since); took > time.Second {
				t.Errorf("it closes after %v", took)
			}
			if decoded := log.String(); !strings.Contains(decoded, "level=ERROR") || !strings.Contains(decoded, dir) {
				t.Errorf("the log says %q", decoded)
			}
		})
	}
}

func TestDirectoryThatComesBackIsWrittenAgain(t *testing.T) {
	t.Parallel()
	s, dir, g, _ := storeWithRemovableDir(t)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), g.ID, unchanged); err == nil {
		t.Error("it is written to nowhere")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), g.ID, unchanged); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// The directory may be removed between the check and the write.
func TestDirectoryRemovedUnderLoadCrashesNothing(t *testing.T) {
	t.Parallel()
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		s, dir, _, _ := storeWithRemovableDir(t)
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				// After one refusal, a thousand more mean that all will be refused.
				for i, refused := 0, 0; i < memTable>>10 && refused < 1000; i++ {
					if s.Create(t.Context(), pending(deviceauth.UserCode(fmt.Sprintf("%d%07d", worker, i)))) != nil {
						refused++
					}
				}
			})
		}
		wg.Go(func() { os.RemoveAll(dir) })
		wg.Wait()
	}
}

// If no file can be created for a memtable, for lack of descriptors, of inodes or of
// permission, the process goes on. Calls meanwhile are errors, and once a file can be
// created the store is reopened, with everything that was answered.
//
// protocol 4
func TestStoreWithoutAFileForItsMemtableReopens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	g := active("BCDFGHJK")
	if err := s.put(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	free := blockMemtables(t, dir)
	answered, text := 0, bytes.Repeat([]byte("x"), 200<<10)
	var err error
	for n := 0; err == nil && n < 2000; n++ {
		document := binary.BigEndian.AppendUint32(nil, uint32(n))
		err = s.UpdateDocument(t.Context(), "large",
			func([]byte) ([]byte, error) { return append(document, text...), nil })
		if err == nil {
			answered = n
		}
	}
	if err == nil || !strings.Contains(err.Error(), "cannot create new mem table") {
		t.Fatalf("after %d changes: %v", answered, err)
	}
	for name, err := range map[string]error{
		"a new grant": s.Create(t.Context(), pending("CDFGHJKL")), "a change": s.Update(t.Context(), g.ID, unchanged),
		"a document": failure(s.LoadDocument(t.Context(), "large")), "a list": failure(s.ByOwner(t.Context(), "x")),
	} {
		if err == nil || !strings.Contains(err.Error(), "until it can be opened again") {
			t.Errorf("%s: %v", name, err)
		}
	}
	free()
	for end := time.Now().Add(30 * time.Second); s.Update(t.Context(), g.ID, unchanged) != nil; {
		if time.Sleep(10 * time.Millisecond); time.Now().After(end) {
			t.Fatal("it does not heal")
		}
	}
	document, err := s.LoadDocument(t.Context(), "large")
	if err != nil || len(document) < 4 || int(binary.BigEndian.Uint32(document)) != answered {
		t.Errorf("the last document that was answered is lost: %v", err)
	}
	if found, err := s.Get(t.Context(), g.ID); err != nil || found.ID != g.ID {
		t.Errorf("the grant: %v, %v", found, err)
	}
}

// blockMemtables creates files with the names of the next memtables' WALs, until free is
// called.
func blockMemtables(t *testing.T, dir string) (free func()) {
	t.Helper()
	var files []string
	for n := 2; n < 60; n++ {
		file := filepath.Join(dir, fmt.Sprintf("%05d.mem", n))
		if err := os.WriteFile(file, []byte{1}, 0o600); err != nil { // an empty one would be taken for a new WAL
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return func() {
		for _, file := range files {
			os.Remove(file)
		}
	}
}

func failure[A any](_ A, err error) error { return err }

func TestCloseDoesNotWaitForLong(t *testing.T) {
	t.Parallel()
	s, dir, _, log := storeWithRemovableDir(t)
	for i := range 20 {
		if err := s.put(t.Context(), pending(deviceauth.UserCode(fmt.Sprintf("%08d", i)))); err != nil {
			t.Fatal(err)
		}
	}
	reading, stalled := make(chan struct{}), make(chan struct{})
	defer func() { // and then it closes: before the directory is removed
		close(stalled)
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if next, err := Open(Options{Dir: dir}); err == nil {
				next.Close()
				return
			}
		}
		t.Error("it never closes")
	}()
	sleeps := sync.OnceFunc(func() { close(reading) })
	go s.Backup(t.Context(), writer(func(p []byte) (int, error) { // a reader that has stalled
		sleeps()
		<-stalled
		return 0, io.ErrClosedPipe
	}))
	<-reading
	since := time.Now()
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "does not close") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(since); took > closeTime+time.Second {
		t.Errorf("it took %v", took)
	}
	if !strings.Contains(log.String(), "given up") {
		t.Errorf("the log says %q", log)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// pending returns a pending grant of about a kilobyte.
func pending(code deviceauth.UserCode) *deviceauth.Grant {
	g := active(code)
	g.State, g.Person, g.Audience = deviceauth.Pending, nil, []string{strings.Repeat("x", 1<<10)}
	return g
}
