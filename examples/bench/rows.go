package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// A row is one line of the table: one figure, with its target and what it is
// compared with.
type row struct {
	what    string          // what was measured, in words
	against string          // what the figure is compared with
	conns   int             // connections; 0: does not apply
	unit    string          // ×, ms, KiB, MiB or trips
	value   loadtest.Spread // the figure that the target is for
	target  float64         // 0: there is none
	atMost  bool            // the target is an upper bound

	rate loadtest.Spread // requests a second; zero: not measured
	base loadtest.Spread // the same of what it is compared with
	p99  loadtest.Spread // of a request, in milliseconds
	cpu  float64         // CPU seconds of the server for 1,000 requests; 0: unknown
	note string          // what a reader should know about this run
}

// ratio returns a row that compares the rates of two sides, round by round. A target of 0
// means that there is none; any other one is a lower bound.
func ratio(what, against string, conns int, side, base results, target float64) row {
	return row{
		what: what, against: against, conns: conns, unit: "×", target: target,
		value: loadtest.SpreadOf(loadtest.Ratios(side.rates(), base.rates())),
		rate:  loadtest.SpreadOf(side.rates()), base: loadtest.SpreadOf(base.rates()),
		p99: loadtest.SpreadOf(side.p99s()), cpu: side.cpu(),
	}
}

// cpu returns the median of the CPU time for 1,000 requests; 0 if the system does
// not report it.
func (r results) cpu() float64 {
	return loadtest.SpreadOf(r.each(loadtest.Result.CPUPerThousand)).Median
}

// met reports whether a row reaches its target; one without a target does. It compares
// the median as the table shows it, with three digits.
func (r row) met() bool {
	shown, _ := strconv.ParseFloat(short(r.value.Median), 64) // short writes nothing else
	switch {
	case r.target == 0:
		return true
	case r.atMost:
		return shown <= r.target
	}
	return shown >= r.target
}

// verdict returns met or missed, or "" without a target. It is a word, for people who
// cannot distinguish the colors.
func (r row) verdict() string {
	switch {
	case r.target == 0:
		return ""
	case r.met():
		return "met"
	}
	return "missed"
}

// short formats a figure with three significant digits.
func short(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return fmt.Sprint(v)
	}
	// The number of digits after the point; negative if the third digit is before
	// it.
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', min(max(digits, 0), 4), 64)
}

// measured returns the value with its unit, and the range of the rounds if they
// differ.
func (r row) measured() string {
	text := short(r.value.Median) + " " + r.unit
	if r.value.Min != r.value.Max {
		text += fmt.Sprintf(" (%s–%s)", short(r.value.Min), short(r.value.Max))
	}
	return text
}

// wanted returns the target as the table shows it.
func (r row) wanted() string {
	switch {
	case r.target == 0:
		return ""
	case r.atMost:
		return "≤ " + short(r.target)
	}
	return "≥ " + short(r.target)
}

// columns returns the cells of the row, in the order of columnNames. A figure that was
// not measured is an empty cell and not 0, which could be a measurement.
func (r row) columns() []string {
	cells := []string{r.what, r.against, "", "", r.measured(), "", "", r.wanted(), r.verdict()}
	if r.conns > 0 {
		cells[2] = strconv.Itoa(r.conns)
	}
	if r.rate.Median > 0 {
		cells[3] = fmt.Sprintf("%.0f", r.rate.Median)
	}
	// The rate, and that of what it is compared with.
	if r.base.Median > 0 {
		cells[3] += fmt.Sprintf(" : %.0f", r.base.Median)
	}
	if r.p99.Median > 0 {
		cells[5] = short(r.p99.Median)
	}
	if r.cpu > 0 {
		cells[6] = short(r.cpu)
	}
	return cells
}

// columnNames are the headings of the table. The last column is the verdict.
var columnNames = []string{
	"what", "against", "C", "requests/s", "measured (min–max)", "p99 ms", "CPU s/1,000", "target", "",
}
