package sweep_test

import (
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

func TestWhatIsOverShrinksWhileOthersCome(t *testing.T) {
	t.Parallel()
	const stale, fresh = 1000, 1000
	m := map[int]bool{} // true: over
	for i := range stale {
		m[i] = true
	}
	for i := range fresh {
		before := len(m)
		sweep.AFew(m, func(_ int, over bool) bool { return over })
		if gone := before - len(m); gone > 4 {
			t.Fatalf("%d were looked at in one go", gone)
		}
		m[stale+i] = false
	}
	left := 0
	for key, over := range m {
		switch {
		case over:
			left++
		case key < stale:
			t.Errorf("%d is another entry now", key)
		}
	}
	if left > 50 || len(m)-left != fresh {
		t.Errorf("%d are left that are over, and %d that are not, want few and %d", left, len(m)-left, fresh)
	}
}
