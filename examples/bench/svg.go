package main

import (
	"fmt"
	"html"
	"strings"
)

// The dimensions of the picture, in pixels. The picture has no script, no style sheet and
// no font of its own, so that it can be displayed wherever it is copied.
const (
	barLeft   = 430 // where bars begin
	barWidth  = 300 // of a bar that is exactly at its target times barRoom
	barRoom   = 2.0 // how far beyond its target a bar may go
	rowHeight = 26  // of a bar and the space below it
	top       = 46  // below the title
	width     = 860 // of the whole
)

// picture draws each row that has a target as a bar, with the range of its rounds. All
// bars have the same scale, the ratio of the figure to its target, which is drawn as a
// line.
func (r *report) picture() string {
	var bars strings.Builder
	// A row without a target has no scale.
	count := 0
	for _, row := range r.rows {
		if row.target != 0 {
			bars.WriteString(row.bar(top + count*rowHeight))
			count++
		}
	}
	height := top + count*rowHeight + 16
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" `+
		"font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", width, height)
	fmt.Fprintf(&out, "<text x=\"10\" y=\"18\" fill=\"#444\">%s; each bar against its target, the line; "+
		"thin: from the least to the greatest round</text>\n", r.began.UTC().Format("2006-01-02"))
	out.WriteString(bars.String())
	// The line of the targets is drawn last, over the bars.
	line := barLeft + barWidth/barRoom
	fmt.Fprintf(&out, "<line x1=\"%.0f\" x2=\"%.0f\" y1=\"%d\" y2=\"%d\" stroke=\"#444\"/>\n</svg>\n", line, line,
		top-8, height-12)
	return out.String()
}

// scaled returns the length of the bar for a figure of this row, in pixels.
func (r row) scaled(v float64) float64 { return barWidth * min(max(v/r.target, 0), barRoom) / barRoom }

// bar draws one row at the height y. The bar is blue if the target is met, and orange
// if it is missed; people who cannot distinguish red and green can distinguish these.
// The text has the verdict, too.
func (r row) bar(y int) string {
	color := "#2b6cb0" // blue
	if !r.met() {
		color = "#c05621" // orange
	}
	// Text beside the bar says all that the bar shows.
	label := r.what
	if r.conns > 0 {
		label += fmt.Sprintf(", C=%d", r.conns)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", barLeft-8, y+13,
		html.EscapeString(label))
	fmt.Fprintf(&out, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"16\" fill=\"%s\"/>\n", barLeft, y,
		r.scaled(r.value.Median), color)
	fmt.Fprintf(&out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#000\" stroke-opacity=\"0.5\"/>\n",
		barLeft+r.scaled(r.value.Min), barLeft+r.scaled(r.value.Max), y+8, y+8)
	fmt.Fprintf(&out, "<text x=\"%d\" y=\"%d\">%s</text>\n", barLeft+barWidth+8, y+13,
		html.EscapeString(short(r.value.Median)+" "+r.unit+", "+r.wanted()+" "+r.verdict()))
	return out.String()
}
