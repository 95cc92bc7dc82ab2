package deviceauth

import (
	"strings"
	"testing"
	"time"
)

// Many spellings of one token would be many names for one grant.
func FuzzParseDeviceCode(f *testing.F) {
	f.Add(string(splitToken{}.deviceCode()))
	f.Add(string(splitToken{id: ID{1, 2, 3}, secret: [32]byte{255, 254}}.deviceCode()))
	f.Add("dc_")
	f.Add("rt_" + strings.Repeat("A", 64))
	f.Add("dc_" + strings.Repeat("A", 63) + "=")
	f.Add("dc_" + strings.Repeat("A", 63) + "B\n")
	f.Fuzz(func(t *testing.T, text string) {
		if code, ok := parseDeviceCode(text); ok && code.deviceCode().Reveal() != text {
			t.Errorf("%q is read as %q", text, code.deviceCode().Reveal())
		}
	})
}

// protocol 20: a token that we did not issue is not a replay of one that we did.
func FuzzParseRefreshToken(f *testing.F) {
	key, id := refreshKey{1}, ID{2}
	genuine := map[string]bool{}
	for token, n := (splitToken{id: id}), 0; n < 8; token, n = key.successor(token), n+1 {
		text := key.refreshToken(token).Reveal()
		genuine[text] = true
		f.Add(text)
		f.Add(text[:len(text)-1])
		f.Add(strings.ToUpper(text))
	}
	f.Add(refreshKey{2}.refreshToken(splitToken{id: id}).Reveal())
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := key.parse(text); ok != genuine[text] {
			t.Errorf("%q: accepted %v", text, ok)
		}
	})
}

func FuzzMatches(f *testing.F) {
	f.Add("*@example.com", "a@example.com")
	f.Add("a*b*c", "abbc")
	f.Add("**", "")
	f.Add("*ab", "aab")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern)*len(text) > 4096 {
			return
		}
		if got, want := matches(pattern, text), plainly(pattern, text); got != want {
			t.Errorf("%q against %q: %v, want %v", text, pattern, got, want)
		}
	})
}

// plainly is what a pattern means, letter by letter.
func plainly(pattern, text string) bool {
	reached := make([]bool, len(text)+1) // the pattern so far can end here
	reached[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(text)+1)
		for j, yes := range reached {
			switch {
			case !yes:
			case pattern[i] == '*':
				for k := j; k <= len(text); k++ {
					next[k] = true
				}
			case j < len(text) && text[j] == pattern[i]:
				next[j+1] = true
			}
		}
		reached = next
	}
	return reached[len(text)]
}

// protocol 10
func FuzzMask(f *testing.F) {
	f.Add("****-****", "base20")
	f.Add("*** *** ***", "base10")
	f.Add("********", "abcdEFGH23")
	f.Add("*-", "AB")
	f.Add("****-****", "ABCÄ")
	f.Fuzz(func(t *testing.T, pattern, set string) {
		mask, err := NewMask(pattern, set)
		if err != nil {
			return
		}
		code := mask.draw()
		shown := mask.Format(code)
		if read, ok := ParseUserCode(shown); !ok || read != code {
			t.Errorf("%q is shown as %q, and read as %q", code, shown, read)
		}
		if lower, _ := ParseUserCode(strings.ToLower(shown)); lower != code {
			t.Errorf("%q in small letters is %q", code, lower)
		}
	})
}

// A spent refresh token is a retry for its grace, also where another gateway's clock
// is a little ahead, and not until the day that a wrong clock once showed.
//
// protocol 20
func TestGraceDoesNotLastUntilAWrongClocksDay(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for elapsed, want := range map[time.Duration]bool{
		0: true, 29 * time.Second: true, 30 * time.Second: false, time.Hour: false,
		-time.Second: true, -time.Minute: true, -2 * time.Minute: false, -100 * 24 * time.Hour: false,
	} {
		if got := withinGrace(now, now.Add(-elapsed), 30*time.Second); got != want {
			t.Errorf("%v after: %v", elapsed, got)
		}
	}
	spent, current := splitToken{secret: [32]byte{1}}, splitToken{secret: [32]byte{2}}
	g := &Grant{ClientID: "tv", State: Active, Refresh: &Refresh{
		Previous: spent.digest(), Current: current.digest(), Rotated: now.Add(100 * 24 * time.Hour),
		Idle: now.Add(time.Hour), Until: now.Add(time.Hour),
	}}
	err := g.Rotate(now, Rotation{
		ClientID: "tv", Person: &Person{}, Presented: spent.digest(), Permitted: func(*Person) bool { return true },
		Grace: 30 * time.Second,
	})
	if err == nil || g.State != Revoked || g.Reason != ReasonReplay {
		t.Errorf("got %v, %s %s", err, g.State, g.Reason)
	}
}
