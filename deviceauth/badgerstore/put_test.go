package badgerstore

import (
	"context"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// put creates a grant and waits until it is on the disk.
func (s *Store) put(ctx context.Context, g *deviceauth.Grant) error {
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	return s.Update(ctx, g.ID, func(*deviceauth.Grant) error { return nil })
}
