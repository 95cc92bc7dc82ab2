package caddymodule

import (
	"context"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// timed measures a store.
type timed struct{ deviceauth.Backend }

// storeOperations are what is measured.
var storeOperations = []string{"create", "get", "by_user_code", "by_owner", "list", "update", "load", "keep", "change"}

// getSeconds is found once: a guard asks for a grant on every request.
var getSeconds = storeSeconds.WithLabelValues("get")

func took(operation string, since time.Time) {
	storeSeconds.WithLabelValues(operation).Observe(time.Since(since).Seconds())
}

// Create implements [deviceauth.Store].
func (t timed) Create(ctx context.Context, g *deviceauth.Grant) error {
	defer took("create", time.Now())
	return t.Backend.Create(ctx, g)
}

// Get implements [deviceauth.Store].
func (t timed) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	since := time.Now()
	g, err := t.Backend.Get(ctx, id)
	getSeconds.Observe(time.Since(since).Seconds())
	return g, err
}

// ByUserCode implements [deviceauth.Store].
func (t timed) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	defer took("by_user_code", time.Now())
	return t.Backend.ByUserCode(ctx, code)
}

// ByOwner implements [deviceauth.Store].
func (t timed) ByOwner(ctx context.Context, owner string) ([]*deviceauth.Grant, error) {
	defer took("by_owner", time.Now())
	return t.Backend.ByOwner(ctx, owner)
}

// List implements [deviceauth.Store].
func (t timed) List(ctx context.Context, after string, limit int) ([]*deviceauth.Grant, string, error) {
	defer took("list", time.Now())
	return t.Backend.List(ctx, after, limit)
}

// Update implements [deviceauth.Store].
func (t timed) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	defer took("update", time.Now())
	return t.Backend.Update(ctx, id, change)
}

// Load implements [deviceauth.Vault].
func (t timed) Load(ctx context.Context, name string) ([]byte, error) {
	defer took("load", time.Now())
	return t.Backend.Load(ctx, name)
}

// Keep implements [deviceauth.Vault].
func (t timed) Keep(ctx context.Context, name string, document []byte, until time.Time) error {
	defer took("keep", time.Now())
	return t.Backend.Keep(ctx, name, document, until)
}

// Change implements [deviceauth.Vault].
func (t timed) Change(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	defer took("change", time.Now())
	return t.Backend.Change(ctx, name, change)
}
