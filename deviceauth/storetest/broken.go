package storetest

import (
	"context"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A broken store is a good one with one mistake. A nil function leaves the
// method of the good store as it is. Storage is embedded, so that methods
// without a bug, such as Close and LoadDocument, are the good store's own.
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

// step has the type of [deviceauth.Store.Update]'s argument.
type step = func(*deviceauth.Grant) error

// Create calls the broken function, if there is one. The methods below hand
// the good store to the function that is broken, so that a bug can call it
// with altered arguments.
func (b *broken) Create(ctx context.Context, g *deviceauth.Grant) error {
	if b.create != nil {
		return b.create(ctx, b.Storage, g)
	}
	return b.Storage.Create(ctx, g)
}

// Update does the same as Create. A bug of Update gets the change function as
// well, and may call it as often as it likes.
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
