package loadtest

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
)

// Client and Scope are the public client that [Prepare] plays, and what it asks for.
// The gateway needs a client line with them, and the upstream demo.
const (
	Client = "cool-gadget"
	Scope  = "openid profile email offline_access products:read"
)

// A Stage is how far a device has come.
type Stage int

// The stages: a code was given; a person said yes; the tokens were given.
const (
	Pending Stage = iota
	Approved
	Connected
)

// A Prepared device is one that a store knows.
type Prepared struct {
	DeviceCode string
	Access     string // of a connected one
	Refresh    string // of a connected one
}

// preparers is how many devices are prepared at a time: the store writes those that
// wait at the same moment to its disk together.
const preparers = 64

// Rules are the rules of a gateway on a store, without HTTP.
type Rules struct {
	engine *deviceauth.Engine
}

var (
	client = deviceauth.Credentials{ClientID: Client}
	home   = netip.MustParseAddr("127.0.0.1") // where devices and people are
)

// NewRules makes the rules of an issuer. Tokens last for twelve hours, codes for one,
// and as many codes may wait as are asked for. The caller closes the rules, and the
// store after them.
func NewRules(ctx context.Context, store deviceauth.Storage, issuer string) (*Rules, error) {
	keys, err := keyring.Open(ctx, store, "")
	if err != nil {
		return nil, err
	}
	e, err := deviceauth.New(deviceauth.Config{
		Issuer: issuer, Wait: -1, Store: store, Documents: store, Signer: keys,
		RefreshKey: keys.Source(keyring.PurposeRefresh),
		Clients:    []deviceauth.Client{{ID: Client, Public: true, Scope: Scope}},
		Allow:      map[string][]deviceauth.Allow{"demo": nil},
		Pending:    deviceauth.PendingLimits{PerAddress: 1 << 30, PerClient: 1 << 30, Total: 1 << 30},
		Lifetime:   deviceauth.Lifetime{DeviceCode: time.Hour, AccessToken: 12 * time.Hour},
	})
	// Neither held polls nor events: nothing that a gateway does beside the rules.
	return &Rules{engine: e}, err
}

// Close ends the rules.
func (r *Rules) Close() { r.engine.Close() }

// Prepare puts so many devices into the store, each of a person of its own. It takes
// seconds for tens of thousands.
func (r *Rules) Prepare(ctx context.Context, n int, to Stage) ([]Prepared, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	devices := make([]Prepared, n)
	var wg sync.WaitGroup
	for w := range preparers {
		wg.Go(func() {
			// Each takes every 64th, so that no number is taken twice.
			for i := w; i < n && ctx.Err() == nil; i += preparers {
				var err error
				if devices[i], err = r.device(ctx, i, to); err != nil {
					cancel(fmt.Errorf("preparing device %d: %w", i, err))
				}
			}
		})
	}
	wg.Wait()
	return devices, context.Cause(ctx)
}

// device takes one as far as the stage.
func (r *Rules) device(ctx context.Context, number int, to Stage) (p Prepared, err error) {
	a, err := r.engine.Authorize(ctx, deviceauth.AuthorizeRequest{Client: client, From: home})
	if err != nil {
		return p, err
	}
	if p.DeviceCode = a.DeviceCode.Reveal(); to == Pending {
		return p, nil
	}
	// A person as a company's provider describes them.
	name := fmt.Sprintf("person-%d", number)
	person := &deviceauth.Person{
		Subject: "demo|" + name, Upstream: "demo", User: name, SignedIn: time.Now(),
		Claims: deviceauth.Claims{
			"name": "Person " + name, "email": name + "@example.com", "email_verified": true,
			"preferred_username": name, "groups": []any{"device-owners", "staff"},
		},
	}
	g, err := r.engine.Inspect(ctx, deviceauth.InspectRequest{Person: person, From: home, Code: a.UserCode})
	if err != nil {
		return p, err
	}
	answer := deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: person, From: home}
	if _, err = r.engine.Answer(ctx, answer); err != nil || to == Approved {
		return p, err
	}
	err = r.Redeem(ctx, &p)
	return p, err
}

// Redeem asks for the tokens of a code that was allowed, and keeps them in p.
func (r *Rules) Redeem(ctx context.Context, p *Prepared) error {
	tokens, err := r.engine.Redeem(ctx, deviceauth.RedeemRequest{Client: client, DeviceCode: p.DeviceCode})
	if err == nil {
		p.Access, p.Refresh = tokens.AccessToken.Reveal(), tokens.RefreshToken.Reveal()
	}
	return err
}

// Refresh asks for the next tokens, and keeps them in p.
func (r *Rules) Refresh(ctx context.Context, p *Prepared) error {
	tokens, err := r.engine.Refresh(ctx, deviceauth.RefreshRequest{Client: client, RefreshToken: p.Refresh})
	if err == nil {
		p.Access, p.Refresh = tokens.AccessToken.Reveal(), tokens.RefreshToken.Reveal()
	}
	return err
}

// Prepare puts devices into a store for a gateway of this issuer that is started on it
// afterwards.
func Prepare(ctx context.Context, store deviceauth.Storage, issuer string, n int, to Stage) ([]Prepared, error) {
	rules, err := NewRules(ctx, store, issuer)
	if err != nil {
		return nil, err
	}
	defer rules.Close()
	return rules.Prepare(ctx, n, to)
}

// PrepareBadger prepares devices in a directory of Badger's, and closes it again.
func PrepareBadger(ctx context.Context, dir, issuer string, n int, to Stage) ([]Prepared, error) {
	store, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	devices, err := Prepare(ctx, store, issuer, n, to)
	// Closing writes what was only in memory; a gateway then finds it.
	if closed := store.Close(); err == nil {
		err = closed
	}
	return devices, err
}
