package caddymodule

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// No message about a store has its user or password.
func TestStoreIsNamedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	store := &RedisStore{Addresses: []string{"redis://gateway:only-for-this-test@a.example:6379/1"}}
	if err := store.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if got := storeName(store); got != "redis a.example:6379" {
		t.Errorf("got %s", got)
	}
	if got := storeName(new(MemoryStore)); got != "memory" { // it has no name of its own
		t.Errorf("got %s", got)
	}
	pooled, err := acquireStore(inMemory{RedisStore: store}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !pooled.BeginUse() { // a request that does not end
		t.Fatal("the store is closed")
	}
	err = pooled.release()
	if err == nil || strings.Contains(err.Error(), "only-for-this-test") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}

// inMemory has the key of a Redis store, and keeps its grants in memory.
type inMemory struct{ *RedisStore }

func (inMemory) Open(*slog.Logger) (deviceauth.Storage, error) { return memstore.New(), nil }
