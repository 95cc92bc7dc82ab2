// Package text decides which text of people and clients can be displayed, or can
// identify a person unchanged. It does not know what a text means; every package may
// use it.
package text

import (
	"regexp"
	"strings"
	"unicode"
)

// Plain returns a text for display. It removes control characters and those that
// change the direction of writing, so that no name can look like another.
func Plain(s string) string {
	if IsPrintable(s) {
		return s // the usual case; guards call this several times on every request
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0xfeff,
			r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

// credential matches a token, code or secret of this server, and a JWT, whose text
// begins with a brace and a quote, perhaps with a space or a newline between them. A
// match begins after a character that is not a letter, or after a percent-encoded
// character, as in a URL within a URL.
var credential = regexp.MustCompile(`(^|[^A-Za-z]|%(?:25)*[0-9A-Fa-f]{2})` +
	`((?:dc|ac|rt|rg|cs)(?:_|%(?:25)*5[Ff])|ey[JA]|ew[o0])(?:[A-Za-z0-9_.-]|%(?:25)*(?:2[DdEe]|5[Ff])){25,}`)

// WithoutCredentials hides the credentials in a text from outside that is going to be
// logged or quoted: programs send credentials in the place of other parameters by
// mistake.
func WithoutCredentials(s string) string { return credential.ReplaceAllString(s, "$1$2[hidden]") }

// IsClean reports whether a text can identify a person exactly as it is: it is not
// empty, does not begin or end with a space, and has no invisible character. For text
// that is only displayed, [Plain] removes such characters.
func IsClean(s string) bool {
	return s != "" && strings.TrimSpace(s) == s && (IsPrintable(s) || !strings.ContainsFunc(s, IsInvisible))
}

// IsInvisible reports whether a character is a control or format character, is
// ignored when displayed (Unicode's Default_Ignorable_Code_Point), looks like a space
// but is another character (except the ideographic space, which is wider), or is the
// replacement character for invalid UTF-8.
func IsInvisible(r rune) bool {
	const braille, ideographic = '\u2800', '\u3000'
	if r == braille || unicode.Is(unicode.Zs, r) && r != ' ' && r != ideographic {
		return true
	}
	return r == unicode.ReplacementChar || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// IsPrintable reports whether a text has only printable ASCII characters, including
// spaces.
func IsPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// MaxName is the maximum number of characters of a device's name.
const MaxName = 60

// CleanName returns a device's name from what a person typed or a device sent. It
// removes invisible characters, turns white space into single spaces, and cuts off
// what is beyond [MaxName] characters.
func CleanName(typed string) string {
	seen := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case IsInvisible(r) || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(typed, ""))
	name := []rune(strings.Join(strings.Fields(seen), " "))
	return strings.TrimSpace(string(name[:min(len(name), MaxName)]))
}
