package storetest

import (
	"context"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A broken store is a correct store with one bug. Where a function is nil, the method
// of the correct store is used. Storage is embedded for the methods that have no bug,
// such as Close and LoadDocument.
type broken struct {
	deviceauth.Storage
	create  func(context.Context, deviceauth.Storage, *deviceauth.Grant) error
	update  func(context.Context, deviceauth.Storage, deviceauth.ID, step) error
	get     func(context.Context, deviceauth.Storage, deviceauth.ID) (*deviceauth.Grant, error)
	byCode  func(context.Context, deviceauth.Storage, deviceauth.UserCode) (*deviceauth.Grant, error)
	byOwner func(context.Context, deviceauth.Storage, string) ([]*deviceauth.Grant, error)
	list    func(context.Context, deviceauth.Storage, string, int) ([]*deviceauth.Grant, string, error)
	change  func(context.Context, deviceauth.Storage, string, func([]byte) ([]byte, error)) error
}

// step is the type of the function that [deviceauth.Store.Update] takes.
type step = func(*deviceauth.Grant) error

// Create calls the function with the bug, if there is one. This and the methods below
// pass the correct store to that function, so that it can call the store with altered
// arguments.
func (b *broken) Create(ctx context.Context, g *deviceauth.Grant) error {
	if b.create != nil {
		return b.create(ctx, b.Storage, g)
	}
	return b.Storage.Create(ctx, g)
}

// Update works like Create. A function with a bug also gets the change function, and
// may call it any number of times.
func (b *broken) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if b.update != nil {
		return b.update(ctx, b.Storage, id, change)
	}
	return b.Storage.Update(ctx, id, change)
}

func (b *broken) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if b.get != nil {
		return b.get(ctx, b.Storage, id)
	}
	return b.Storage.Get(ctx, id)
}

func (b *broken) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	if b.byCode != nil {
		return b.byCode(ctx, b.Storage, code)
	}
	return b.Storage.ByUserCode(ctx, code)
}

func (b *broken) ByOwner(ctx context.Context, subject string) ([]*deviceauth.Grant, error) {
	if b.byOwner != nil {
		return b.byOwner(ctx, b.Storage, subject)
	}
	return b.Storage.ByOwner(ctx, subject)
}

func (b *broken) List(ctx context.Context, after string, limit int) ([]*deviceauth.Grant, string, error) {
	if b.list != nil {
		return b.list(ctx, b.Storage, after, limit)
	}
	return b.Storage.List(ctx, after, limit)
}

func (b *broken) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	if b.change != nil {
		return b.change(ctx, b.Storage, name, change)
	}
	return b.Storage.UpdateDocument(ctx, name, change)
}
