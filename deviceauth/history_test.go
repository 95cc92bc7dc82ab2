package deviceauth

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// A history is a random life of one grant, with what must always be true of it.
type history struct {
	*testing.T
	rand *rand.Rand
	g    *Grant
	now  time.Time
	log  []string

	approved, denied, redeemed int
	tokens                     []Digest // refresh tokens as they were handed out, the newest last
	rotated                    time.Time
	ended                      bool
}

// protocol 14, 15, 17, 20, 21, 23
func TestRandomHistoriesKeepTheInvariants(t *testing.T) {
	histories := uint64(20_000)
	if testing.Short() {
		histories = 4_000
	}
	for seed := range histories {
		h := &history{T: t, rand: rand.New(rand.NewPCG(seed, 8628)), now: noon}
		h.g = &Grant{State: Pending, ClientID: "tv", Device: deviceCode, Scope: "openid offline_access read",
			Created: noon, Expires: noon.Add(10 * time.Minute)}
		for range 5 + h.rand.IntN(30) {
			if h.step(); t.Failed() {
				t.Fatalf("in history %d: %q", seed, h.log)
			}
		}
	}
}

// arrows are the states that follow each.
var arrows = map[State][]State{
	Pending:  {Pending, Denied, Approved},
	Denied:   {Denied},
	Approved: {Approved, Active, Denied, Revoked},
	Active:   {Active, Revoked},
	Revoked:  {Revoked},
}

// step lets some time pass and something happen, and looks at what became of it.
func (h *history) step() {
	h.now = h.now.Add(h.pause())
	before := *h.g
	happenings := []func() (string, error){h.approve, h.deny, h.crowdOut, h.redeem, h.redeem, h.rotate, h.rotate,
		h.rotate, h.revoke, h.stranger}
	name, err := happenings[h.rand.IntN(len(happenings))]()
	h.log = append(h.log, h.now.Sub(noon).String()+" "+name+": "+string(h.g.State)+", "+verdict(err))
	h.check(&before)
}

// pause is mostly short, and sometimes a month.
func (h *history) pause() time.Duration {
	longest := []time.Duration{time.Second, 40 * time.Second, 5 * time.Minute, 12 * time.Minute, 40 * day}
	return time.Duration(h.rand.Int64N(int64(longest[h.rand.IntN(len(longest))])))
}

func (h *history) check(before *Grant) {
	g := h.g
	changed := *g
	changed.Revision = before.Revision
	switch {
	case !slices.Contains(arrows[before.State], g.State):
		h.Errorf("%s became %s", before.State, g.State)
	case g.Revision != before.Revision && g.Revision != before.Revision+1:
		h.Errorf("one step is %d revisions", g.Revision-before.Revision)
	case g.Revision == before.Revision && !reflect.DeepEqual(&changed, before):
		h.Error("a change without a revision is never stored")
	case g.KeepUntil().Before(before.KeepUntil()), g.AccessUntil.Before(before.AccessUntil):
		h.Error("a time moved towards the past")
	case h.approved+h.denied > 1, h.redeemed > 1:
		h.Errorf("%d approvals, %d denials, %d redemptions", h.approved, h.denied, h.redeemed)
	case (h.approved == 1) != (g.Person != nil), h.redeemed > h.approved, g.IsActive() && h.redeemed == 0:
		h.Error("the grant has what nobody gave")
	case h.ended && g.IsActive():
		h.Error("the grant came back to life")
	case (g.State == Denied || g.State == Revoked) != !g.Ended.IsZero():
		h.Errorf("%s, and ended at %v", g.State, g.Ended)
	case g.Refresh != nil && (g.Refresh.Idle.After(g.Refresh.Until) || g.Refresh.Current != h.tokens[len(h.tokens)-1]):
		h.Error("the refresh token kept is not the one handed out, or outlives its grant")
	}
	h.ended = h.ended || !g.Ended.IsZero()
}

func (h *history) approve() (string, error) {
	err := h.g.Approve(h.now, alice)
	if err == nil {
		h.approved++
		h.inTime("an approval")
	}
	return "approve", err
}

func (h *history) deny() (string, error) {
	err := h.g.Deny(h.now, "")
	if err == nil {
		h.denied++
		h.inTime("a denial")
	}
	return "deny", err
}

func (h *history) crowdOut() (string, error) {
	if h.rand.IntN(4) > 0 {
		return "nothing", nil
	}
	err := h.g.CrowdOut(h.now)
	if err == nil {
		h.denied++
		h.inTime("giving way")
	}
	return "crowd out", err
}

func (h *history) inTime(what string) {
	if !h.now.Before(h.g.Expires) {
		h.Errorf("%s after the code's expiry", what)
	}
}

func (h *history) redeem() (string, error) {
	permitted := h.rand.IntN(8) > 0
	first, until := h.digest(), h.now.Add(35*day)
	replayed := h.g.State == Active && h.now.Sub(h.g.Redeemed) > replayGrace
	err := h.g.Redeem(h.now, Redemption{
		ClientID: "tv", Device: deviceCode, Permitted: func(*Person) bool { return permitted },
		AccessUntil: h.now.Add(15 * time.Minute),
		Refresh:     &Refresh{Current: first, Rotated: h.now, Idle: h.now.Add(30 * day), Until: until},
	})
	if err == nil {
		h.redeemed++
		h.tokens, h.rotated = append(h.tokens, first), h.now
		if !permitted || h.denied > 0 || !h.now.Before(h.g.Expires.Add(lateGrace)) {
			h.Error("tokens for a code that was denied, barred or late")
		}
	}
	if replayed && h.g.State != Revoked {
		h.Error("a late repeat did not end the grant")
	}
	return "redeem", err
}

func (h *history) digest() Digest {
	return digest([]byte{byte(h.rand.Uint32()), byte(len(h.log)), byte(len(h.log) >> 8), 1})
}

// rotate presents the newest token, mostly; or the one before, or any other.
func (h *history) rotate() (string, error) {
	presented, age := h.digest(), len(h.tokens)
	if age > 0 {
		age = min(h.rand.IntN(4), len(h.tokens)) // this many newer ones have been handed out
		if age < len(h.tokens) {
			presented = h.tokens[len(h.tokens)-1-age]
		}
	}
	successor, grace := h.digest(), 30*time.Second
	if age == 1 {
		successor = h.tokens[len(h.tokens)-1] // derived from the presented token, so it is the same again
	}
	wasActive, idle := h.g.State == Active, h.g.Refresh != nil && !h.now.Before(h.g.Refresh.Idle)
	scope, permitted := []Scope{"", "read", "admin"}[h.rand.IntN(3)], h.rand.IntN(20) > 0
	err := h.g.Rotate(h.now, Rotation{
		ClientID: "tv", Person: h.g.Person, Permitted: func(*Person) bool { return permitted }, Presented: presented,
		Successor: successor, Scope: scope, Idle: 30 * day, Grace: grace, AccessUntil: h.now.Add(15 * time.Minute),
	})
	retry := age == 1 && h.now.Sub(h.rotated) < grace
	switch {
	case err == nil && (!wasActive || idle || !permitted || scope == "admin" || age > 0 && !retry):
		h.Error("tokens for a refresh token that is spent, over or asks for more")
	case err == nil && age == 0:
		h.tokens, h.rotated = append(h.tokens, successor), h.now
	case wasActive && !idle && (!permitted || age > 0 && !retry) && h.g.State != Revoked:
		h.Error("a replay did not end the grant")
	case errors.Is(err, errWider) && h.g.State != Active:
		h.Error("asking for more ended the grant")
	}
	return "rotate", err
}

func (h *history) revoke() (string, error) {
	err := h.g.Revoke(h.now, ReasonRevoked)
	if h.g.IsActive() {
		h.Error("alive after its revocation")
	}
	return "revoke", err
}

// stranger uses the wrong client or the wrong secret.
func (h *history) stranger() (string, error) {
	before := *h.g
	err := errors.Join(
		h.g.Redeem(h.now, Redemption{ClientID: "printer", Device: deviceCode}),
		h.g.Redeem(h.now, Redemption{ClientID: "tv", Device: h.digest()}),
		h.g.Rotate(h.now, Rotation{ClientID: "printer", Presented: h.digest()}),
	)
	if !reflect.DeepEqual(&before, h.g) {
		h.Error("a stranger changed the grant")
	}
	return "stranger", err
}
