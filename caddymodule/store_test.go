package caddymodule

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// closes is a store that reports when it was closed.
type closes struct {
	*memstore.Store
	closed chan struct{}
}

func (c closes) Close() error {
	close(c.closed)
	return c.Store.Close()
}

func TestEndlessRequestDoesNotDelayAStop(t *testing.T) {
	t.Parallel()
	store := closes{Store: memstore.New(), closed: make(chan struct{})}
	p := &pooledStore{key: "memory", opened: store, unwatch: func() {}, hung: new(atomic.Bool)}
	if !p.beginUse() {
		t.Fatal("it is closed")
	}
	since := time.Now()
	if err := p.Destruct(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(since); took > closeWait+time.Second {
		t.Errorf("it took %v", took)
	}
	if p.beginUse() {
		t.Error("another request uses the closing store")
	}
	select {
	case <-store.closed:
		t.Error("the store was closed under the request")
	default:
	}
	p.endUse()
	<-store.closed // when the request has ended after all
}
