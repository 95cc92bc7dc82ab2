package caddymodule

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A lineReader parses the arguments of the directive that is the current token, and
// the block that follows them.
type lineReader = func(*caddyfile.Dispenser) error

// A block is a table of subdirectives, each with the function that parses its
// arguments. A word that is not in the table is an error, and so is a repeated word
// that is not in many.
type block struct {
	what  string // the name of the block, for messages
	words map[string]lineReader
	many  []string // words that may be repeated
	// check, if set, checks what has been parsed so far, after each line, so that its
	// error has the position of the faulty line instead of the end of the block.
	check func() error
	// seen are the words that were parsed. read creates it unless several blocks of a
	// word share one; a block that is a single line has none.
	seen map[string]bool
}

// read parses the lines of the block up to its closing brace. A brace instead of a
// word is an error, because it would open a block of the previous word, which takes
// none.
func (b block) read(d *caddyfile.Dispenser) error {
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	last := b.what
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if opensBlock(d) {
			return d.Errf("%s takes no block", last)
		}
		last = d.Val()
		if err := b.readLine(d); err != nil {
			return err
		}
	}
	return nil
}

// readLine parses the line that begins with the current word, and then calls the
// block's check.
func (b block) readLine(d *caddyfile.Dispenser) error {
	line, word := *d, d.Val() // a copy, because parsing moves d on
	read, known := b.words[word]
	// The message lists the table, because a misspelled word is the most frequent
	// mistake.
	switch {
	case !known:
		return d.Errf("%s has no subdirective %q; want one of: %s",
			b.what, word, strings.Join(slices.Sorted(maps.Keys(b.words)), ", "))
	case b.seen[word] && !slices.Contains(b.many, word):
		return d.Errf("%s: duplicate %s", b.what, word)
	}
	if b.seen != nil {
		b.seen[word] = true
	}
	if err := read(d); err != nil {
		return err
	}
	if b.check == nil {
		return nil
	}
	if err := b.check(); err != nil {
		return line.WrapErr(err)
	}
	return nil
}

// opensBlock reports whether the current token opens a block. A quoted brace is an
// argument.
func opensBlock(d *caddyfile.Dispenser) bool { return d.Val() == "{" && !d.Token().Quoted() }

// lineOrBlock parses a single subdirective on the rest of the line, as in `lifetime
// session 8h`, or a whole block of them.
func (b block) lineOrBlock(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		word := d.Val()
		if err := b.readLine(d); err != nil {
			return err
		}
		return end(word, d)
	}
	// Without an argument and a block the line is incomplete. The message lists what
	// may follow.
	if ahead := *d; !ahead.NextBlock(d.Nesting()) {
		return d.Errf("%s: want one of these and its value, or a block of them: %s",
			b.what, strings.Join(slices.Sorted(maps.Keys(b.words)), ", "))
	}
	return b.read(d)
}

// noMore returns an error if a word has further arguments.
func noMore(word string, d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("%s: unexpected argument %q", word, d.Val())
	}
	return nil
}

// end returns an error if a word has further arguments or a block.
func end(word string, d *caddyfile.Dispenser) error {
	if err := noMore(word, d); err != nil {
		return err
	}
	// NextBlock would accept a block here, and then the next word would be reported
	// instead of the brace.
	if next := *d; next.Next() && opensBlock(&next) {
		return next.Errf("%s takes no block", word)
	}
	return nil
}

// arguments returns the arguments of a word, at least least and at most most; wanted
// describes them in error messages.
func arguments(d *caddyfile.Dispenser, least, most int, wanted string) ([]string, error) {
	word := d.Val()
	args := d.RemainingArgs()
	switch {
	case len(args) > most:
		return nil, d.Errf("%s: unexpected argument %q: want %s", word, args[most], wanted)
	case len(args) < least && len(args) > 0:
		return nil, d.Errf("%s %s: want %s", word, strings.Join(args, " "), wanted)
	case len(args) < least:
		return nil, d.Errf("%s: want %s", word, wanted)
	}
	return args, nil
}

// checked returns a lineReader that checks the result while file and line number are
// known. The same check runs for JSON users when the configuration is loaded.
func checked(read lineReader, check func() error) lineReader {
	return func(d *caddyfile.Dispenser) error {
		line := *d // a copy, because parsing moves d on
		if err := read(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return line.WrapErr(err)
		}
		return nil
	}
}

// rememberFirst stores the position of the first of several words, for an error about
// all of them.
func rememberFirst(first **caddyfile.Dispenser, read lineReader) lineReader {
	return func(d *caddyfile.Dispenser) error {
		if *first == nil {
			line := *d
			*first = &line
		}
		return read(d)
	}
}
