package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStoreThatIsOpenToOthersIsClosed(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	if err := os.MkdirAll(g.storeDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(g.storeDir(), 0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	g.start()
	if info, err := os.Stat(g.storeDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it is %v, %v", info, err)
	}
	g.log.wait(t, "was open to other users")
}

func TestUnitForSystemdMakesNoFileForOthers(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile("../examples/caddy-deviceauth.service")
	if err != nil || !strings.Contains(string(unit), "\nUMask=0077\n") {
		t.Errorf("%v, or the unit lacks UMask=0077", err)
	}
}

// A variable that is not set leads no store to the root of the file system.
func TestStoreIsNotMadeAtTheRoot(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"{$NOT_SET_ANYWHERE}/grants":    "at the root of the file system",
		"{env.NOT_SET_ANYWHERE}/grants": "NOT_SET_ANYWHERE", "/": "at the root",
	} {
		g := newGateway(t)
		g.configure(func(s string) string {
			return strings.Replace(s, "\tbrand", "\tstore badger "+path+"\n\t\tbrand", 1)
		})
		if out, err := g.run("run", "--config", g.config); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		if _, err := os.Stat("/grants"); err == nil {
			t.Error("it was made")
		}
	}
}

// A directory is one store under all of its names, at a reload too.
func TestStoreBehindALinkIsTheSame(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	store, link := filepath.Join(g.dir, "store"), filepath.Join(g.dir, "link")
	at := func(path string) {
		g.configure(func(s string) string {
			return strings.Replace(s, "\tbrand", "\tstore badger "+path+"\n\t\tbrand", 1)
		})
	}
	at(store)
	g.start()
	token := g.token()
	if err := os.Symlink(store, link); err != nil {
		t.Fatal(err)
	}
	at(link)
	if out, err := g.reload(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if status, _ := g.api(token); status != 200 {
		t.Errorf("after the reload the device is answered %d", status)
	}
}
