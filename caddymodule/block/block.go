// Package block reads blocks of a Caddyfile by a table of their words. It decides what is
// an error in any block, such as an unknown or a repeated word, an argument or a brace too
// many, and says where it is. What the words mean, and which values go together, is in the
// tables of package caddymodule, which calls it.
//
// A line of a table names the field that a word sets: the type of the field says which
// arguments the word takes (see [Field]).
package block

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A Reader parses the arguments of the word that is the current token, and the block that
// follows them.
type Reader = func(*caddyfile.Dispenser) error

// Words are the words of a block, each with the pointer to its field or with a Reader. A
// value that [Field] does not know makes every line of the block panic, whichever word it
// has, so that a test of any line finds the mistake.
type Words map[string]any

// A Block is a table of words. A word that is not in the table is an error, and so is a
// repeated word that is not in Many. The repetition of a word is an error in all lines of
// one Block together, if there are several.
type Block struct {
	What  string   // the name of the block, for messages
	Words Words    // by name
	Many  []string // words that may be repeated
	// Check, if set, checks what has been parsed so far, after each line, so that its
	// error has the position of the faulty line instead of the end of the block.
	Check func() error

	seen map[string]bool // the words that were parsed
}

// Read parses the lines of the block up to its closing brace; an argument before it is
// an error. A brace instead of a word is an error, because it would open a block of the
// previous word, which takes none.
func (b *Block) Read(d *caddyfile.Dispenser) error {
	if err := noMore(b.What, d); err != nil {
		return err
	}
	last := b.What
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
// block's Check.
func (b *Block) readLine(d *caddyfile.Dispenser) error {
	line, word := *d, d.Val() // a copy, because parsing moves d on
	for _, to := range b.Words {
		readerOf(to) // panics for a mistake in the table, see Words
	}
	to, known := b.Words[word]
	// The message lists the table, because a misspelled word is the most frequent
	// mistake.
	switch {
	case !known:
		return d.Errf("%s has no subdirective %q; want one of: %s",
			b.What, word, b.list())
	case b.seen[word] && !slices.Contains(b.Many, word):
		return d.Errf("%s: duplicate %s", b.What, word)
	}
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	b.seen[word] = true
	if err := Field(d, to); err != nil {
		return err
	}
	if b.Check == nil {
		return nil
	}
	if err := b.Check(); err != nil {
		return line.WrapErr(err)
	}
	return nil
}

// list returns the words of the table for a message.
func (b *Block) list() string { return strings.Join(slices.Sorted(maps.Keys(b.Words)), ", ") }

// opensBlock reports whether the current token opens a block. A quoted brace is an
// argument.
func opensBlock(d *caddyfile.Dispenser) bool { return d.Val() == "{" && !d.Token().Quoted() }

// LineOrBlock parses a single subdirective on the rest of the line, as in `lifetime
// session 8h`, or a whole block of them.
func (b *Block) LineOrBlock(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		word := d.Val()
		if err := b.readLine(d); err != nil {
			return err
		}
		return End(word, d)
	}
	// Without an argument and a block the line is incomplete. The message lists what
	// may follow.
	if ahead := *d; !ahead.NextBlock(d.Nesting()) {
		return d.Errf("%s: want one of these and its value, or a block of them: %s",
			b.What, b.list())
	}
	return b.Read(d)
}

// noMore returns an error if a word has further arguments.
func noMore(word string, d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("%s: unexpected argument %q", word, d.Val())
	}
	return nil
}

// End returns an error if a word has further arguments or a block.
func End(word string, d *caddyfile.Dispenser) error {
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

// Arguments returns the arguments of a word, at least least and at most most; wanted
// describes them in error messages.
func Arguments(d *caddyfile.Dispenser, least, most int, wanted string) ([]string, error) {
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

// Checked returns a Reader of a field that checks the result while file and line number
// are known. The same check runs for JSON users when the configuration is loaded.
func Checked(to any, check func() error) Reader {
	read := readerOf(to) // panics when the table is made
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

// FirstOf returns a Reader of a field that stores the position of the first of several
// words, for an error about all of them.
func FirstOf(first **caddyfile.Dispenser, to any) Reader {
	read := readerOf(to) // panics when the table is made
	return func(d *caddyfile.Dispenser) error {
		if *first == nil {
			line := *d
			*first = &line
		}
		return read(d)
	}
}
