package deviceauth

import (
	"crypto/rand"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
	"unicode"
)

// A UserCode is a user code in its canonical form: upper-case letters and digits
// without separators. The [Mask] that drew it determines its length and characters.
type UserCode string

// maxTyped bounds the length of typed text; anything longer is not a code.
const maxTyped = 128

// ParseUserCode parses a code as people type or paste it: in any case, with
// full-width letters, and with other characters than letters and digits around and
// between its groups, such as spaces, dashes, quotes, commas and asterisks. It does
// not use a mask, so that codes of an earlier configuration are accepted. Text with a
// letter or a digit of another script is not a code.
func ParseUserCode(typed string) (code UserCode, ok bool) {
	if len(typed) > maxTyped {
		return "", false
	}
	var b strings.Builder
	for _, r := range typed {
		if r >= '！' && r <= '～' { // full-width forms of ASCII
			r -= '！' - '!'
		}
		switch r = unicode.ToUpper(r); {
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			b.WriteByte(byte(r))
		case unicode.IsLetter(r) && !dash(r), unicode.IsNumber(r), r == unicode.ReplacementChar:
			return "", false
		}
	}
	return UserCode(b.String()), b.Len() > 0
}

// dash reports whether a character is the prolonged sound mark, a letter in Unicode,
// which Japanese keyboards offer instead of a dash.
func dash(r rune) bool { return r == '\u30fc' || r == '\uff70' }

// tailLength is the number of letters of a code that are kept. [NewMask] requires
// longer codes.
const tailLength = 4

// tail returns the last letters of the code.
func (c UserCode) tail() UserCode { return c[max(0, len(c)-tailLength):] }

// Character sets of RFC 8628 §6.1.
const (
	Base20 = "BCDFGHJKLMNPQRSTVWXZ" // no vowels, so no words; no look-alikes
	Base10 = "0123456789"           // for keypads
)

// minEntropy is the entropy in bits of nine digits, the shorter example in RFC 8628
// §6.1.
const minEntropy = 29.0

// A Mask is the format of user codes: a pattern in which each * stands for a
// character of a set. The zero Mask is ****-**** with [Base20].
type Mask struct{ pattern, set string }

// NewMask returns a mask of a pattern of *, dashes and spaces and a set: base20,
// base10, or at least two different letters or digits. An empty pattern or set means
// the default.
func NewMask(pattern, set string) (Mask, error) {
	m := Mask{pattern: pattern, set: set}
	switch set {
	case "", "base20":
		m.set = Base20
	case "base10":
		m.set = Base10
	}
	if pattern == "" {
		m.pattern = "****-****"
	}
	return m, m.check()
}

func (m Mask) check() error {
	if strings.Trim(m.pattern, "*- ") != "" || m.length() > 32 {
		return fmt.Errorf("user code mask %q: want at most 32 * with dashes or spaces between", m.pattern)
	}
	for i, r := range m.set {
		if code, ok := ParseUserCode(string(r)); !ok ||
			strings.ContainsAny(m.set[i+1:], string(code)+strings.ToLower(string(code))) {
			return fmt.Errorf("user code set %q: want base20, base10, or letters and digits, each once, "+
				"whatever its case", m.set)
		}
	}
	if bits := float64(m.length()) * math.Log2(float64(len(m.set))); bits < minEntropy {
		return fmt.Errorf("user code mask %q over %d characters has %.1f bits, too easy to guess: want at least %.0f",
			m.pattern, len(m.set), bits, minEntropy)
	}
	return nil
}

func (m Mask) length() int { return strings.Count(m.pattern, "*") }

// draw returns a random code; all codes are equally likely.
func (m Mask) draw() UserCode {
	code := make([]byte, 0, m.length())
	fair := 256 - 256%len(m.set) // bytes from here on would favour the first characters of the set
	for buf := make([]byte, 1); len(code) < cap(code); {
		if rand.Read(buf); int(buf[0]) < fair {
			code = append(code, m.set[int(buf[0])%len(m.set)])
		}
	}
	return UserCode(strings.ToUpper(string(code)))
}

// possible reports whether the mask may have drawn a code.
func (m Mask) possible(code UserCode) bool {
	return len(code) == m.length() && strings.Trim(string(code), strings.ToUpper(m.set)) == ""
}

// Possible reports whether typed text can be a user code at all: it has the length
// and the characters of a mask in use. It does not reveal whether such a code exists,
// so a page may show the result at once.
func (e *Engine) Possible(typed string) bool { return e.possible(typed) != "" }

// possible returns a code in its canonical form, or "" if it cannot be a code. The
// masks in use are the engine's, and those of earlier configurations while their
// codes may be pending; masks from before a restart are not known.
func (e *Engine) possible(typed string) UserCode {
	code, ok := ParseUserCode(typed)
	if ok && (e.cfg.UserCode.possible(code) || e.cfg.PollState.masks.possible(code, e.now())) {
		return code
	}
	return ""
}

// maskHistory keeps the masks of all engines that use the PollState, with the time
// until which their codes may be pending.
type maskHistory struct {
	mu    sync.Mutex
	masks map[Mask]*maskUse
}

type maskUse struct {
	lifetime time.Duration // the longest of its codes
	until    time.Time     // zero: it is in use
}

// use records that codes are drawn with this mask, and no other, from now on.
func (h *maskHistory) use(m Mask, lifetime time.Duration, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for other, use := range h.masks {
		if use.until.IsZero() {
			use.until = now.Add(use.lifetime)
		}
		if !now.Before(use.until) && other != m {
			delete(h.masks, other)
		}
	}
	if use := h.masks[m]; use != nil {
		lifetime = max(lifetime, use.lifetime)
	}
	h.masks[m] = &maskUse{lifetime: lifetime}
}

func (h *maskHistory) possible(code UserCode, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for m, use := range h.masks {
		if (use.until.IsZero() || now.Before(use.until)) && m.possible(code) {
			return true
		}
	}
	return false
}

// Format formats a code for display; a code of another length, from an earlier mask,
// is returned unchanged.
func (m Mask) Format(code UserCode) string {
	if len(code) != m.length() {
		return string(code)
	}
	text := []byte(m.pattern)
	next := 0
	for i, c := range text {
		if c == '*' {
			text[i] = code[next]
			next++
		}
	}
	return string(text)
}

// Example returns the pattern, for pages that show the format of a code.
func (m Mask) Example() string { return m.pattern }
