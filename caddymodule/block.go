package caddymodule

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A lineReader reads the arguments of the directive word that is the current
// token, and the block that follows them.
type lineReader = func(*caddyfile.Dispenser) error

// A block is a table of subdirectives: each word with the function that reads
// its arguments. A word that is not in the table is an error, and so is a word
// that is repeated, unless many has it.
type block struct {
	what  string // whose block it is, for messages
	words map[string]lineReader
	many  []string // words that may be repeated
	// check, if set, checks what has been read so far, after each line. Its error
	// then names the line of the mistake, and not the end of the block.
	check func() error
	// seen are the words that were read. read makes it; a block of one line has none,
	// and several blocks of one word share one.
	seen map[string]bool
}

// read reads the lines of the block to its closing brace. A brace where a word
// is expected would open a block of the word before, which takes none.
func (b block) read(d *caddyfile.Dispenser) error {
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	last := b.what
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if opens(d) {
			return d.Errf("%s takes no block", last)
		}
		last = d.Val()
		if err := b.one(d); err != nil {
			return err
		}
	}
	return nil
}

// one reads the line that begins with the current word, and then runs the
// block's check.
func (b block) one(d *caddyfile.Dispenser) error {
	line, word := *d, d.Val() // a copy: reading moves d on
	read, known := b.words[word]
	// The table is listed in the message: a misspelled word is the most frequent
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

// opens reports whether the current token opens a block; a quoted brace is an
// argument.
func opens(d *caddyfile.Dispenser) bool { return d.Val() == "{" && !d.Token().Quoted() }

// lineOrBlock reads a single subdirective from the rest of the line, as in
// `lifetime session 8h`, or a whole block of them.
func (b block) lineOrBlock(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		word := d.Val()
		if err := b.one(d); err != nil {
			return err
		}
		return end(word, d)
	}
	// Without an argument and without a block the line is incomplete, and the
	// message lists what may follow.
	if ahead := *d; !ahead.NextBlock(d.Nesting()) {
		return d.Errf("%s: want one of these and its value, or a block of them: %s",
			b.what, strings.Join(slices.Sorted(maps.Keys(b.words)), ", "))
	}
	return b.read(d)
}

// noMore refuses further arguments of a word.
func noMore(word string, d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("%s: unexpected argument %q", word, d.Val())
	}
	return nil
}

// end refuses further arguments and a block of a word.
func end(word string, d *caddyfile.Dispenser) error {
	if err := noMore(word, d); err != nil {
		return err
	}
	// NextBlock would accept a block here, and the next word would be reported
	// instead of the brace.
	if next := *d; next.Next() && opens(&next) {
		return next.Errf("%s takes no block", word)
	}
	return nil
}

// arguments reads at least least and at most most arguments of a word; wanted
// describes the arguments in error messages.
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

// checked reads a line and then checks the result, while file and line number
// are still known. The check is the same one that JSON users get when the
// configuration is loaded.
func checked(read lineReader, check func() error) lineReader {
	return func(d *caddyfile.Dispenser) error {
		line := *d // a copy: reading moves d on
		if err := read(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return line.WrapErr(err)
		}
		return nil
	}
}

// rememberFirst remembers the position of the first of several words, for an error that
// is about all of them together.
func rememberFirst(first **caddyfile.Dispenser, read lineReader) lineReader {
	return func(d *caddyfile.Dispenser) error {
		if *first == nil {
			line := *d
			*first = &line
		}
		return read(d)
	}
}
