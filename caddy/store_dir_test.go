package main

import (
	"os"
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
	unit, err := os.ReadFile("../examples/caddy-deviceauth.service")
	if err != nil || !strings.Contains(string(unit), "\nUMask=0077\n") {
		t.Errorf("%v, or the unit lacks UMask=0077", err)
	}
}
