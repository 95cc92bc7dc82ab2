package badgerstore

import (
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

// A record that is not the grant's own is an error in a list, too.
func TestListedRecordThatIsNoGrantsOwnIsAFault(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	g := storetest.NewGrant("BCDFGHJK")
	if err := s.Create(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	err = s.db.Update(func(txn *badger.Txn) error { return txn.Set(grantKey(g.ID), []byte("null")) })
	if err != nil {
		t.Fatal(err)
	}
	if list, _, err := s.List(t.Context(), "", 10); err == nil {
		t.Errorf("%+v", list)
	}
}
