package badgerstore_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

func open(dir string) (deviceauth.Storage, error) {
	return badgerstore.Open(badgerstore.Options{Dir: dir})
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, open)
}

func TestBugsOnTopAreCaught(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("go test without -short runs it: nothing in it runs beside another")
	}
	storetest.RunBugs(t, open)
}

func TestGrantsSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := storetest.NewGrant("BCDFGHJK")
		s, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = open(dir); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got, err := s.ByUserCode(t.Context(), "BCDFGHJK"); err != nil || got.ID != g.ID {
			t.Errorf("got %v, %v; want the grant created before", got, err)
		}
	})
}

func TestSecondOpenSaysWhichDirectoryIsInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := open(dir); err == nil || !strings.Contains(err.Error(), dir+" is in use") {
		t.Errorf("got %v, want a sentence that names %s", err, dir)
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	g := storetest.NewGrant("BCDFGHJK")
	_, get := s.Get(t.Context(), g.ID)
	for name, err := range map[string]error{
		"Create": s.Create(t.Context(), g), "Get": get,
		"Update": s.Update(t.Context(), g.ID, func(*deviceauth.Grant) error { return nil }),
	} {
		if err == nil {
			t.Errorf("%s on a closed store succeeds", name)
		}
	}
}
