package badgerstore_test

import (
	"sync"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

// A pool opens a directory once for all its users at a time, as a reload does.
type pool struct {
	mu   sync.Mutex
	used map[string]*pooled
}

type pooled struct {
	*badgerstore.Store
	users int
}

// A user is one of those who opened a pooled store.
type user struct {
	*pooled
	pool *pool
	dir  string
}

func (p *pool) open(dir string) (deviceauth.Storage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[dir] == nil {
		s, err := badgerstore.Open(badgerstore.Options{Dir: dir})
		if err != nil {
			return nil, err
		}
		p.used[dir] = &pooled{Store: s}
	}
	p.used[dir].users++
	return user{pooled: p.used[dir], pool: p, dir: dir}, nil
}

func (u user) Close() error {
	u.pool.mu.Lock()
	defer u.pool.mu.Unlock()
	if u.users--; u.users > 0 {
		return nil
	}
	delete(u.pool.used, u.dir)
	return u.Store.Close()
}

func newPool() *pool { return &pool{used: map[string]*pooled{}} }

func TestPendingGrantsSurviveCloseAndReload(t *testing.T) {
	t.Parallel()
	storetest.RunDurable(t, newPool().open)
}

func TestBugsOfWritingBehindAreCaught(t *testing.T) {
	t.Parallel()
	storetest.RunDurableBugs(t, newPool().open)
}
