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

// Client is the public client as which [Prepare] acts, and Scope is the scope that it
// requests. The gateway needs a client line with both, and the upstream demo.
const (
	Client = "cool-gadget"
	Scope  = "openid profile email offline_access products:read"
)

// A Stage is a step of a device's login.
type Stage int

// These are the stages: the code was issued; a person approved it; the tokens were
// issued.
const (
	Pending Stage = iota
	Approved
	Connected
)

// A Prepared is a device that is in a store.
type Prepared struct {
	DeviceCode string
	Access     string // if connected
	Refresh    string // if connected
}

// preparers is how many devices are prepared at a time: the store writes concurrent
// changes to its disk together.
const preparers = 64

// Rules is a gateway's engine on a store, without HTTP.
type Rules struct {
	engine *deviceauth.Engine
}

var (
	client = deviceauth.Credentials{ClientID: Client}
	home   = netip.MustParseAddr("127.0.0.1") // address of all devices and people
)

// NewRules returns the rules for an issuer. Tokens are valid for twelve hours, codes
// for one, and the number of pending codes is not limited. The caller closes the
// rules, and after them the store.
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
	// There are no held polls and no events, so only the engine's own work is
	// measured.
	return &Rules{engine: e}, err
}

// Close closes the engine.
func (r *Rules) Close() { r.engine.Close() }

// Prepare puts n devices into the store, each of another person. It takes seconds for
// tens of thousands.
func (r *Rules) Prepare(ctx context.Context, n int, to Stage) ([]Prepared, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	devices := make([]Prepared, n)
	var wg sync.WaitGroup
	for w := range preparers {
		wg.Go(func() {
			// Each goroutine takes every 64th number, so that no number is taken
			// twice.
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

// device takes one device to the stage.
func (r *Rules) device(ctx context.Context, number int, to Stage) (p Prepared, err error) {
	a, err := r.engine.Authorize(ctx, deviceauth.AuthorizeRequest{Client: client, From: home})
	if err != nil {
		return p, err
	}
	if p.DeviceCode = a.DeviceCode.Reveal(); to == Pending {
		return p, nil
	}
	// These are typical claims of a company's identity provider.
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

// Redeem exchanges an approved code for tokens, and stores them in p.
func (r *Rules) Redeem(ctx context.Context, p *Prepared) error {
	tokens, err := r.engine.Redeem(ctx, deviceauth.RedeemRequest{Client: client, DeviceCode: p.DeviceCode})
	if err == nil {
		p.Access, p.Refresh = tokens.AccessToken.Reveal(), tokens.RefreshToken.Reveal()
	}
	return err
}

// Refresh refreshes the tokens, and stores the new ones in p.
func (r *Rules) Refresh(ctx context.Context, p *Prepared) error {
	tokens, err := r.engine.Refresh(ctx, deviceauth.RefreshRequest{Client: client, RefreshToken: p.Refresh})
	if err == nil {
		p.Access, p.Refresh = tokens.AccessToken.Reveal(), tokens.RefreshToken.Reveal()
	}
	return err
}

// Prepare puts devices into a store, for a gateway of this issuer that is started
// with the store afterwards.
func Prepare(ctx context.Context, store deviceauth.Storage, issuer string, n int, to Stage) ([]Prepared, error) {
	rules, err := NewRules(ctx, store, issuer)
	if err != nil {
		return nil, err
	}
	defer rules.Close()
	return rules.Prepare(ctx, n, to)
}

// PrepareBadger prepares devices in a Badger directory, and closes it again.
func PrepareBadger(ctx context.Context, dir, issuer string, n int, to Stage) ([]Prepared, error) {
	store, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	devices, err := Prepare(ctx, store, issuer, n, to)
	// Close writes what is only in memory, so that a gateway finds it.
	if closed := store.Close(); err == nil {
		err = closed
	}
	return devices, err
}
