package caddymodule

import (
	"context"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// measuredStorage observes the duration of each operation of a store in the
// metric caddy_device_login_store_duration_seconds.
type measuredStorage struct{ deviceauth.Storage }

// storeOperations are the values of the metric's label operation, which are part of
// the public interface.
var storeOperations = []string{"create", "get", "by_user_code", "by_owner", "list", "update", "load", "keep", "change"}

// These two are created once: a guard gets a grant on every request, a device creates
// one, and looking up the label costs more than the observation.
var getSeconds, createSeconds = storeSeconds.WithLabelValues("get"), storeSeconds.WithLabelValues("create")

// observeDuration observes the duration of an operation that began at a certain time.
func observeDuration(operation string, since time.Time) {
	storeSeconds.WithLabelValues(operation).Observe(time.Since(since).Seconds())
}

// Create implements [deviceauth.Store].
func (t measuredStorage) Create(ctx context.Context, g *deviceauth.Grant) error {
	since := time.Now()
	defer func() { createSeconds.Observe(time.Since(since).Seconds()) }() // after a panic, too
	return t.Storage.Create(ctx, g)
}

// Get implements [deviceauth.Store].
func (t measuredStorage) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	since := time.Now()
	defer func() { getSeconds.Observe(time.Since(since).Seconds()) }()
	return t.Storage.Get(ctx, id)
}

// ByUserCode implements [deviceauth.Store].
func (t measuredStorage) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	defer observeDuration("by_user_code", time.Now())
	return t.Storage.ByUserCode(ctx, code)
}

// ByOwner implements [deviceauth.Store].
func (t measuredStorage) ByOwner(ctx context.Context, owner string) ([]*deviceauth.Grant, error) {
	defer observeDuration("by_owner", time.Now())
	return t.Storage.ByOwner(ctx, owner)
}

// List implements [deviceauth.Store].
func (t measuredStorage) List(ctx context.Context, after string, limit int) ([]*deviceauth.Grant, string, error) {
	defer observeDuration("list", time.Now())
	return t.Storage.List(ctx, after, limit)
}

// Update implements [deviceauth.Store].
func (t measuredStorage) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	defer observeDuration("update", time.Now())
	return t.Storage.Update(ctx, id, change)
}

// LoadDocument implements [deviceauth.Documents].
func (t measuredStorage) LoadDocument(ctx context.Context, name string) ([]byte, error) {
	defer observeDuration("load", time.Now())
	return t.Storage.LoadDocument(ctx, name)
}

// PutDocument implements [deviceauth.Documents].
func (t measuredStorage) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	defer observeDuration("keep", time.Now())
	return t.Storage.PutDocument(ctx, name, document, until)
}

// UpdateDocument implements [deviceauth.Documents].
func (t measuredStorage) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	defer observeDuration("change", time.Now())
	return t.Storage.UpdateDocument(ctx, name, change)
}
