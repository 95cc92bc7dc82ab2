package deviceclient

import (
	"bufio"
	"fmt"
	"io"

	"rsc.io/qr"
)

// quiet is the margin that phones need; four modules by the book, but two do
// and leave more room on a terminal.
const quiet = 2

// QR prints text as a QR code for a terminal. Two modules, one above the
// other, make a character; black on white is set by hand, because phones read
// no inverted codes and terminals are mostly dark. Without colours it is for a
// dark terminal. The error correction is the lowest (L), which makes the
// smallest picture. An error means that the text is too long, or that w
// failed.
func QR(w io.Writer, text string, colours bool) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return fmt.Errorf("drawing a QR code: %w", err)
	}
	out := bufio.NewWriter(w)
	for y := -quiet; y < code.Size+quiet; y += 2 {
		if colours {
			out.WriteString("\x1b[30;107m")
		}
		for x := -quiet; x < code.Size+quiet; x++ {
			out.WriteRune(halves[code.Black(x, y) == colours][code.Black(x, y+1) == colours])
		}
		if colours {
			out.WriteString("\x1b[0m")
		}
		out.WriteString("\n")
	}
	return out.Flush()
}

// halves are the characters by whether the upper and the lower half are black.
var halves = map[bool]map[bool]rune{
	false: {false: ' ', true: '▄'},
	true:  {false: '▀', true: '█'},
}
