package redisstore

import (
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// A server over TLS is killed, or stops in order, and starts again: once it answers,
// nothing fails for a connection from before.
//
// protocol 4
func TestNothingFailsOnceAServerIsBackOverTLS(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*redistest.Server){"killed": (*redistest.Server).Kill,
		"stopped": (*redistest.Server).Stop} {
		t.Run(name, func(t *testing.T) {
			server, secure, dir := redistest.StartTLS(t)
			s, err := Open(t.Context(), Options{URLs: []string{secure}, CA: dir + "/cert.pem"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			g := activeGrant()
			if err := s.Create(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			many := func() {
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						if _, _, err := s.read(t.Context(), g.ID); err != nil {
							t.Error(err)
						}
						if _, err := s.CountUp(t.Context(), "key", time.Minute); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			many() // leaves that many connections, or fewer
			stop(server)
			server.Start()
			many()
		})
	}
}
