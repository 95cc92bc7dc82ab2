package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// A row is one line of the table: one figure with what it is held against.
type row struct {
	what    string          // what was measured, as people call it
	against string          // what a ratio or a difference is taken to
	conns   int             // connections; 0: does not apply
	unit    string          // ×, ms, KiB, MiB or trips
	value   loadtest.Spread // the figure that the target is for
	target  float64         // 0: there is none
	atMost  bool            // the target is an upper bound

	rate loadtest.Spread // requests a second; zero: not measured
	base loadtest.Spread // the same of what it is held against
	p99  loadtest.Spread // of a request, in milliseconds
	cpu  float64         // CPU seconds of the server for 1,000 requests; 0: unknown
	note string          // what a reader should know of this run
}

// ratio is a row that compares the rates of two sides, round by round. A target of 0 means
// that there is none, and any other one is a lower bound.
func ratio(what, against string, conns int, side, base results, target float64) row {
	return row{
		what: what, against: against, conns: conns, unit: "×", target: target,
		value: loadtest.SpreadOf(loadtest.Ratios(side.rates(), base.rates())),
		rate:  loadtest.SpreadOf(side.rates()), base: loadtest.SpreadOf(base.rates()),
		p99: loadtest.SpreadOf(side.p99s()), cpu: side.cpu(),
	}
}

// cpu is the median of the rounds; 0 where the system does not tell.
func (r results) cpu() float64 {
	return loadtest.SpreadOf(r.each(loadtest.Result.CPUPerThousand)).Median
}

// met reports whether a row reaches its target; one without a target does. What counts
// is the median as the table shows it: its three digits, and no more.
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

// verdict is met, missed, or nothing where there is no target. It is a word, for people who
// see no colors.
func (r row) verdict() string {
	switch {
	case r.target == 0:
		return ""
	case r.met():
		return "met"
	}
	return "missed"
}

// short writes a figure with three digits that count.
func short(v float64) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return fmt.Sprint(v)
	}
	// The third digit stands so far behind the point, or before it.
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', min(max(digits, 0), 4), 64)
}

// measured is the value with its unit, and where there was more than one round their
// range.
func (r row) measured() string {
	text := short(r.value.Median) + " " + r.unit
	if r.value.Min != r.value.Max {
		text += fmt.Sprintf(" (%s–%s)", short(r.value.Min), short(r.value.Max))
	}
	return text
}

// wanted is the target as the table shows it.
func (r row) wanted() string {
	switch {
	case r.target == 0:
		return ""
	case r.atMost:
		return "≤ " + short(r.target)
	}
	return "≥ " + short(r.target)
}

// columns are the cells of a table, in the order of columnNames. What was not measured is an
// empty cell and no zero, which would be a figure too.
func (r row) columns() []string {
	cells := []string{r.what, r.against, "", "", r.measured(), "", "", r.wanted(), r.verdict()}
	if r.conns > 0 {
		cells[2] = strconv.Itoa(r.conns)
	}
	if r.rate.Median > 0 {
		cells[3] = fmt.Sprintf("%.0f", r.rate.Median)
	}
	// The rate, and that of what it is held against.
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

// columnNames head the table. The last column is the verdict.
var columnNames = []string{
	"what", "against", "C", "requests/s", "measured (min–max)", "p99 ms", "CPU s/1,000", "target", "",
}
