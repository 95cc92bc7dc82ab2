package caddymodule

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// The start line names the store without its user and password.
func TestStoreIsNamedWithoutItsPassword(t *testing.T) {
	store := &RedisStore{Addresses: []string{"redis://gateway:only-for-this-test@a.example:6379/1"}}
	if err := store.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if got := (&App{store: store}).describeStore(); got != "redis a.example:6379" {
		t.Errorf("got %s", got)
	}
}
