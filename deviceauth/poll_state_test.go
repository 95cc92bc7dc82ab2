package deviceauth

import "testing"

// protocol 16: beyond a bound polls are answered at once, and a client that
// hangs up makes room.
func TestHeldPollsAreBounded(t *testing.T) {
	l := NewPollState()
	g := &Grant{ID: ID{1}, Expires: noon.Add(day)}
	var last chan struct{}
	for range maxHeld {
		wake, ok := l.hold(g, noon, defaultInterval)
		if !ok {
			t.Fatal("no room below the bound")
		}
		last = wake
	}
	if _, ok := l.hold(&Grant{ID: ID{2}, Expires: noon.Add(day)}, noon, defaultInterval); ok {
		t.Error("room above the bound")
	}
	l.release(g.ID, last)
	if _, ok := l.hold(g, noon, defaultInterval); !ok {
		t.Error("no room for the place that was freed")
	}
	l.wake(g.ID)
	if n := len(l.codes[g.ID].waiting); n != maxHeld {
		t.Errorf("%d polls wait, want %d", n, maxHeld)
	}
}

// Expired codes are removed from memory even if no device polls for them.
func TestPaceOfExpiredCodesIsForgotten(t *testing.T) {
	l := NewPollState()
	for i := range 1000 {
		l.checkPollHere(&Grant{ID: ID{1, byte(i), byte(i >> 8)}, Expires: noon}, AuthNone, noon.Add(-day),
			defaultInterval)
	}
	for i := range 1000 {
		l.checkPollHere(&Grant{ID: ID{2, byte(i), byte(i >> 8)}, Expires: noon.Add(day)}, AuthNone, noon,
			defaultInterval)
	}
	if n := len(l.codes); n > 1050 {
		t.Errorf("%d codes are remembered, of which 1000 have not expired", n)
	}
}
