package pages

import (
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"strings"
)

// Brand is how the pages look.
type Brand struct {
	Name  string `json:"name,omitempty"`  // who runs the gateway; default: the issuer's host
	Logo  string `json:"logo,omitempty"`  // address of a picture, from the site's root or https
	Color string `json:"color,omitempty"` // #rrggbb of buttons and links
	// Contact is whom people tell that someone sent them a code, and ask for help: an
	// address, a name, a telephone number.
	Contact string `json:"contact,omitempty"`
	// Templates is the folder of the operator's own templates, styles and languages, over ours.
	Templates string `json:"templates,omitempty"`
}

// hexColor is the one spelling of colors that is taken: it goes into the style sheet.
var hexColor = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// Check says what is wrong with a brand. It reads the templates.
func (b Brand) Check() error {
	if b.Color != "" && !hexColor.MatchString(b.Color) {
		return fmt.Errorf("brand color %q: want #rrggbb", b.Color)
	}
	elsewhere := strings.HasPrefix(b.Logo, "//") // a host, by whatever scheme the page has
	if b.Logo != "" && (elsewhere || !strings.HasPrefix(b.Logo, "/") && !strings.HasPrefix(b.Logo, "https://")) {
		return fmt.Errorf("brand logo %q: want a path from the site's root, or an https address", b.Logo)
	}
	_, err := newRenderer(b, "", "")
	return err
}

// Advice says what the pages do about a colour that cannot be read on a light
// page, or nothing. On a dark one every colour that can has to be shaded.
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

// style is the part of the style sheet that is a brand's.
func (b Brand) style() string {
	if b.Color == "" {
		return ""
	}
	c := parseColor(b.Color)
	on := color{0, 0, 0}
	if white := (color{255, 255, 255}); contrast(c, white) > contrast(c, on) {
		on = white // one of the two always has more than 4.5
	}
	// Custom properties, so that the style sheet has the colours in one place.
	rule := func(card color) string {
		return fmt.Sprintf(":root{--accent:%s;--on-accent:%s;--link:%s}", c, on, readable(c, card))
	}
	return "\n" + rule(lightCard) + "\n@media (prefers-color-scheme:dark){" + rule(darkCard) + "}\n"
}

// The pages' backgrounds, as in style.css: the ones with less contrast of
// those that text stands on.
var (
	lightCard = color{0xf3, 0xf4, 0xf6}
	darkCard  = color{0x26, 0x2b, 0x31}
)

// textContrast is what text needs (WCAG 2.2 §1.4.3).
const textContrast = 4.5

// A color is red, green and blue.
type color [3]uint8

// parseColor reads #rrggbb.
func parseColor(text string) (c color) {
	hex.Decode(c[:], []byte(text[1:])) // checked by Brand.Check
	return c
}

func (c color) String() string { return "#" + hex.EncodeToString(c[:]) }

// readable is a colour, or the nearest shade of it that can be read on a
// background.
func readable(c, on color) color {
	// Towards white on a dark page, towards black on a light one.
	to := color{0, 0, 0}
	if luminance(on) < 0.18 {
		to = color{255, 255, 255}
	}
	// A hundred shades on the way are closer together than an eye can tell.
	for step := range 101 {
		if shade := mix(c, to, float64(step)/100); contrast(shade, on) >= textContrast {
			return shade
		}
	}
	return to
}

// mix is a color on the way from a to b; a share of 1 is b.
func mix(a, b color, share float64) (c color) {
	for i := range c {
		c[i] = uint8(math.Round(float64(a[i])*(1-share) + float64(b[i])*share))
	}
	return c
}

// contrast is WCAG 2.2's contrast ratio, 1 to 21.
func contrast(a, b color) float64 {
	x, y := luminance(a)+0.05, luminance(b)+0.05
	return max(x, y) / min(x, y)
}

// luminance is WCAG 2.2's relative luminance, 0 to 1.
func luminance(c color) float64 {
	l := 0.0
	// The weights and the curve of sRGB, as WCAG 2.2 has them.
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
