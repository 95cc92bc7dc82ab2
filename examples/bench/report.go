package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"
)

// A report is the result of a run: the machine, and the rows.
type report struct {
	options
	machine string    // in words
	began   time.Time // in UTC where it is shown
	rows    []row     // in the order of the sections
}

// thisMachine describes the machine in words, for readers who compare two tables, with
// its load average at the start.
func thisMachine() string {
	text := fmt.Sprintf("%d cores", runtime.NumCPU())
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, after, _ := strings.Cut(string(info), "model name\t: ")
		if model, _, found := strings.Cut(after, "\n"); found {
			text += " (" + model + ")"
		}
	}
	text += ", " + runtime.GOOS + "/" + runtime.GOARCH + ", " + runtime.Version() + caddyVersion() +
		", the client on the same machine"
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		if fields := strings.Fields(string(load)); len(fields) > 2 {
			text += ", load average at the start " + strings.Join(fields[:3], " ")
		}
	}
	return text
}

// caddyVersion returns the version of Caddy with which this program, and so the gateway,
// is built.
func caddyVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/caddyserver/caddy/v2" {
			return ", Caddy " + dep.Version
		}
	}
	return ""
}

// heading returns a line with the time, the machine and the parameters of the run.
func (r *report) heading() string {
	text := fmt.Sprintf("%s: %s; medians of %d rounds of %v", r.began.UTC().Format("2006-01-02 15:04 MST"), r.machine,
		r.rounds, r.duration)
	if r.sizes == quick {
		text += "; small numbers, which say nothing"
	}
	return text
}

// table returns the rows as plain text, in columns, with the notes below. It does not
// wrap lines to the width of the terminal.
func (r *report) table() string {
	// A column is as wide as its longest cell, in characters and not in bytes.
	lines := [][]string{columnNames}
	for _, row := range r.rows {
		lines = append(lines, row.columns())
	}
	widths := make([]int, len(columnNames))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for _, line := range lines {
		var text strings.Builder
		for i, cell := range line {
			text.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		out.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	for _, note := range r.notes() {
		out.WriteString(note + "\n")
	}
	return out.String()
}

// notes returns the notes of the rows, each with the name of its row.
func (r *report) notes() (notes []string) {
	for _, row := range r.rows {
		if row.note != "" {
			where := row.what
			if row.conns > 0 {
				where += fmt.Sprintf(", C=%d", row.conns)
			}
			notes = append(notes, where+": "+row.note)
		}
	}
	return notes
}

// markdown returns the heading, the table and the notes in Markdown.
func (r *report) markdown() string {
	var out strings.Builder
	out.WriteString(r.heading() + ".\n\n| " + strings.Join(columnNames, " | ") + " |\n" +
		strings.Repeat("|---", len(columnNames)) + "|\n")
	for _, row := range r.rows {
		cells := row.columns()
		// A missed target must be visible at a glance.
		if !row.met() {
			cells[8] = "**missed**"
		}
		out.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	out.WriteString("\n")
	for _, note := range r.notes() {
		out.WriteString("- " + note + "\n")
	}
	return out.String()
}

// The lines between which a page has the table of the last run.
const (
	markBegin = "<!-- bench: written by go run ./examples/bench -->"
	markEnd   = "<!-- /bench -->"
)

// between puts a text between the marks of a page, and keeps the rest, which explains the
// table. A page without marks is replaced as a whole.
func between(page, text string) string {
	before, rest, begins := strings.Cut(page, markBegin)
	_, after, ends := strings.Cut(rest, markEnd)
	if !begins || !ends {
		return text
	}
	return before + markBegin + "\n\n" + text + "\n" + markEnd + after
}

// write writes the requested files. It is the last step: a run that fails keeps the files
// of the run before.
func (r *report) write() error {
	if r.md != "" {
		// A missing file counts as one without marks.
		page, err := os.ReadFile(r.md)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.WriteFile(r.md, []byte(between(string(page), r.markdown())), 0o644); err != nil {
			return err
		}
	}
	if r.svg != "" {
		return os.WriteFile(r.svg, []byte(r.picture()), 0o644)
	}
	return nil
}

// thousands writes a number as 10,000.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
