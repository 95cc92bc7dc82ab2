package pages

import (
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// Brand is the appearance of the pages.
type Brand struct {
	Name  string `json:"name,omitempty"`  // of the gateway's operator; default: the issuer's host
	Logo  string `json:"logo,omitempty"`  // URL of a picture: a path from the site's root, or https
	Color string `json:"color,omitempty"` // #rrggbb of buttons and links
	// Contact is for people who report that someone sent them a code, or need help:
	// an e-mail address, a name, a telephone number.
	Contact string `json:"contact,omitempty"`
	// Templates is the folder of the operator's templates, styles and languages,
	// which override ours.
	Templates string `json:"templates,omitempty"`
}

// hexColor is the only accepted spelling of colours, because they are inserted in the
// style sheet.
var hexColor = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// Check validates a brand, including its templates.
func (b Brand) Check() error {
	if b.Color != "" && !hexColor.MatchString(b.Color) {
		return fmt.Errorf("brand color %q: want #rrggbb", b.Color)
	}
	elsewhere := strings.HasPrefix(b.Logo, "//") // a host, with the scheme of the page
	if b.Logo != "" && (elsewhere || !strings.HasPrefix(b.Logo, "/") && !strings.HasPrefix(b.Logo, "https://")) {
		return fmt.Errorf("brand logo %q: want a path from the site's root, or an https address", b.Logo)
	}
	_, err := newRenderer(b, "", "")
	return err
}

// Advice returns a hint about a colour that is not readable on a light page, or "".
// On a dark page all colours that are readable on a light one must be shaded.
func (b Brand) Advice() string {
	if !hexColor.MatchString(b.Color) {
		return ""
	}
	c := parseColor(b.Color)
	if contrast(c, lightCard) >= textContrast {
		return ""
	}
	return fmt.Sprintf("the brand color %s has a contrast of %.1f on the light page, "+
		"and text needs %.1f (WCAG 2.2 §1.4.3): links are %s there, buttons stay as they are",
		b.Color, contrast(c, lightCard), textContrast, readable(c, lightCard))
}

// style returns the brand's part of the style sheet.
func (b Brand) style() string {
	if b.Color == "" {
		return ""
	}
	c := parseColor(b.Color)
	on := color{0, 0, 0}
	if white := (color{255, 255, 255}); contrast(c, white) > contrast(c, on) {
		on = white // one of the two always has a contrast above 4.5
	}
	// As custom properties, so that the style sheet defines the colours in one place.
	rule := func(card color) string {
		return fmt.Sprintf(":root{--accent:%s;--on-accent:%s;--link:%s}", c, on, readable(c, card))
	}
	return "\n" + rule(lightCard) + "\n@media (prefers-color-scheme:dark){" + rule(darkCard) + "}\n"
}

// The background colours of the pages, as in style.css: those with less contrast
// among the ones that have text.
var (
	lightCard = color{0xf3, 0xf4, 0xf6}
	darkCard  = color{0x26, 0x2b, 0x31}
)

// textContrast is the minimum contrast of text (WCAG 2.2 §1.4.3).
const textContrast = 4.5

// A color is red, green and blue.
type color [3]uint8

// parseColor parses #rrggbb.
func parseColor(text string) (c color) {
	hex.Decode(c[:], []byte(text[1:])) // checked by Brand.Check
	return c
}

func (c color) String() string { return "#" + hex.EncodeToString(c[:]) }

// readable returns a colour, or the nearest shade of it that is readable on a
// background.
func readable(c, on color) color {
	// Towards white on a dark page, and towards black on a light one.
	to := color{0, 0, 0}
	if luminance(on) < 0.18 {
		to = color{255, 255, 255}
	}
	// A hundred steps are finer than the eye can distinguish.
	for step := range 101 {
		if shade := mix(c, to, float64(step)/100); contrast(shade, on) >= textContrast {
			return shade
		}
	}
	return to
}

// mix returns a colour between a and b; with a share of 1 it is b.
func mix(a, b color, share float64) (c color) {
	for i := range c {
		c[i] = uint8(math.Round(float64(a[i])*(1-share) + float64(b[i])*share))
	}
	return c
}

// contrast returns the contrast ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b color) float64 {
	x, y := luminance(a)+0.05, luminance(b)+0.05
	return max(x, y) / min(x, y)
}

// luminance returns the relative luminance of WCAG 2.2, from 0 to 1.
func luminance(c color) float64 {
	l := 0.0
	// The weights and the curve of sRGB, as in WCAG 2.2.
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v := float64(c[i]) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		l += weight * v
	}
	return l
}
