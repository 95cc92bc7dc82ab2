// Package text decides what of a text that a stranger chose can be shown, or can
// stand for a person as it is. It knows nothing of what the texts mean; all packages
// may call it.
package text

import (
	"regexp"
	"strings"
	"unicode"
)

// Plain makes text of names, makers and scope texts: control characters and
// those that turn the direction of writing are taken out, so that no name can
// pretend to be another.
func Plain(s string) string {
	if IsPrintable(s) {
		return s // nearly always; guards say several names on every request
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

// credential is a token, a code or a secret that the server gave, or a JWT, of which the first
// bytes are a brace and a quote, maybe with a space or a new line in between: behind anything
// but a letter, or behind a character that is percent-encoded, as in a URL within a URL.
var credential = regexp.MustCompile(`(^|[^A-Za-z]|%(?:25)*[0-9A-Fa-f]{2})` +
	`((?:dc|ac|rt|rg|cs)(?:_|%(?:25)*5[Ff])|ey[JA]|ew[o0])(?:[A-Za-z0-9_.-]|%(?:25)*(?:2[DdEe]|5[Ff])){25,}`)

// WithoutCredentials hides the credentials in a text from outside that is going to be logged
// or quoted: programs send them in the place of another parameter.
func WithoutCredentials(s string) string { return credential.ReplaceAllString(s, "$1$2[hidden]") }

// IsClean reports whether a text can stand for a person exactly as it is: it is
// not empty, begins and ends with no space, and has no character that is not
// seen. [Plain], which takes such characters out, is for what is only shown.
func IsClean(s string) bool {
	return s != "" && strings.TrimSpace(s) == s && (IsPrintable(s) || !strings.ContainsFunc(s, IsInvisible))
}

// IsInvisible reports whether a character is a control or format character, one that
// is ignored where it is shown (Unicode's Default_Ignorable_Code_Point), one that
// looks like a space and is another (the ideographic one is wider), or the one that
// stands for whatever was no UTF-8.
func IsInvisible(r rune) bool {
	const braille, ideographic = '\u2800', '\u3000'
	if r == braille || unicode.Is(unicode.Zs, r) && r != ' ' && r != ideographic {
		return true
	}
	return r == unicode.ReplacementChar || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// IsPrintable reports whether a text is printable ASCII, spaces among it.
func IsPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// MaxName is how many characters a device's name has at most.
const MaxName = 60

// CleanName makes a device's name of what a person typed: characters that cannot
// be seen are taken out, what separates words becomes one space, and what is
// beyond [MaxName] characters is cut off.
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
