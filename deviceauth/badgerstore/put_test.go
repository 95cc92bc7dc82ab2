package badgerstore

import (
	"context"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// put has a grant on the disk.
func (s *Store) put(ctx context.Context, g *deviceauth.Grant) error {
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	return s.Update(ctx, g.ID, func(*deviceauth.Grant) error { return nil })
}
