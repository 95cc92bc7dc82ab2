package deviceclient

import (
	"bufio"
	"fmt"
	"io"

	"rsc.io/qr"
)

// quiet is the width of the quiet zone, which phones need. The standard requires four
// modules, but two are enough and leave more room on a terminal.
const quiet = 2

// QR prints text as a QR code for a terminal. A character has two modules, one above
// the other. Colours are set explicitly to black on white, because phones do not read
// inverted codes and most terminals are dark. Without colours the code is for a dark
// terminal. The error correction level is the lowest (L), for the smallest code. An
// error means that the text is too long, or that writing to w failed.
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

// halves are the characters, by whether the upper and the lower half are black.
var halves = map[bool]map[bool]rune{
	false: {false: ' ', true: '▄'},
	true:  {false: '▀', true: '█'},
}
