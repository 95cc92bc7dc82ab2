package deviceauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/limit"
	"github.com/deviceauth/caddy-deviceauth/internal/seal"
)

// An Engine runs the protocol: it reads the clock once per operation, applies the
// rules and stores the result. Its operations are Authorize, Inspect, Answer, Redeem,
// Refresh, Revoke and ValidateToken; those for operators are Grants, End, Pause and
// Resume.
type Engine struct {
	cfg        Config
	clients    map[string]*Client
	tokenCache *tokenCache
	pause      pauseCache
	networks   [][]netip.Prefix // within one of these, two addresses are in the same network

	embeddings  embeddings
	origins     map[string]bool // of pages that act as a configured client
	registered  originCache     // of pages that act as a registered client
	introduced  clientCache     // clients that introduced themselves
	registering limit.PerMinute // limits registrations

	closing chan struct{}
	close   sync.Once
}

// New checks the configuration and returns an engine over its store.
func New(c Config) (*Engine, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Store == nil || c.Signer == nil {
		return nil, errors.New("an engine needs a Store and a Signer")
	}
	if err := seal.CheckSource(c.RefreshKey); err != nil {
		return nil, fmt.Errorf("RefreshKey: %w", err)
	}
	c.fill()
	if documents, ok := c.Store.(Documents); ok && c.Documents == nil {
		c.Documents = documents
	}
	e := &Engine{
		cfg: c, clients: map[string]*Client{}, origins: map[string]bool{},
		tokenCache: newTokenCache(), closing: make(chan struct{}), embeddings: newEmbeddings(c.NAT64),
		registering: limit.PerMinute{PerAddress: 10, PerNetwork: 20, Total: 300},
	}
	for _, p := range c.Networks {
		e.networks = append(e.networks, e.embeddings.networks([]netip.Prefix{p}))
	}
	for _, list := range c.JoinedNetworks {
		e.networks = append(e.networks, e.embeddings.networks(list))
	}
	longest := c.Lifetime.DeviceCode
	for i := range c.Clients {
		client := c.Clients[i]
		orDefault(&client.Name, client.ID)
		client.From = e.embeddings.networks(client.From)
		e.clients[client.ID] = &client
		for _, origin := range client.Origins {
			e.origins[origin] = true
		}
		longest = max(longest, client.Code)
	}
	c.PollState.masks.use(c.UserCode, longest, e.now())
	return e, nil
}

// Close answers all held polls immediately. It does not close the store, which
// belongs to the caller.
func (e *Engine) Close() { e.close.Do(func() { close(e.closing) }) }

// Closed reports whether Close was called.
func (e *Engine) Closed() bool {
	select {
	case <-e.closing:
		return true
	default:
		return false
	}
}

// now returns the current wall time in UTC without a monotonic reading, as it is
// stored. All operations use it as their only clock.
func (e *Engine) now() time.Time { return time.Now().UTC().Round(0) }

// errUnchanged makes a store skip the write if a step changed nothing.
var errUnchanged = errors.New("unchanged")

// apply runs one step of the protocol atomically. A refusal is a result and no
// failure: the changes of the step are stored, and then the refusal is returned.
// apply also returns the grant as it is after the step.
func (e *Engine) apply(ctx context.Context, id ID, step func(*Grant) error) (*Grant, error) {
	var after Grant
	var verdict error
	err := e.cfg.Store.Update(ctx, id, func(g *Grant) error {
		before := g.Revision
		verdict = step(g)
		after = *g
		if verdict != nil && AsError(verdict) == nil {
			return verdict
		}
		if g.Revision == before {
			return errUnchanged
		}
		return nil
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return nil, err
	}
	return &after, verdict
}

// latest returns the current grant, never an older state as the store's Get may; it
// is more expensive than Get.
func (e *Engine) latest(ctx context.Context, id ID) (*Grant, error) {
	return e.apply(ctx, id, func(*Grant) error { return nil })
}
