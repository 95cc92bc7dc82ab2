package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// A lineReader reads the rest of a line of which the word is the current token,
// and the block behind it.
type lineReader = func(*caddyfile.Dispenser) error

// A block is a table of subdirectives: each word with what reads the rest of
// its line. Whatever is not in the table is refused, and so is a word that is
// repeated, unless it is one of many.
type block struct {
	what  string // for messages: whose block it is
	words map[string]lineReader
	many  []string // words that may be repeated
	// check, if there is one, looks at what was read so far after each line, so
	// that its error has the line of the mistake.
	check func() error
	seen  map[string]bool // words that were read; nil: none. Blocks that are one share it
}

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

// one reads the line that begins with the current word.
func (b block) one(d *caddyfile.Dispenser) error {
	line, word := *d, d.Val() // a block moves on
	read, known := b.words[word]
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

// opens reports whether the current token opens a block.
func opens(d *caddyfile.Dispenser) bool { return d.Val() == "{" && !d.Token().Quoted() }

// lineOrBlock reads a single subdirective from the rest of the line, or a
// whole block of them.
func (b block) lineOrBlock(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		word := d.Val()
		if err := b.one(d); err != nil {
			return err
		}
		return end(word, d)
	}
	if ahead := *d; !ahead.NextBlock(d.Nesting()) {
		return d.Errf("%s: want one of these and its value, or a block of them: %s", b.what, strings.Join(slices.Sorted(maps.Keys(b.words)), ", "))
	}
	return b.read(d)
}

// noMore refuses arguments of a word that nobody asked for.
func noMore(word string, d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("%s: unexpected argument %q", word, d.Val())
	}
	return nil
}

// end refuses arguments and blocks behind what takes no more of either.
func end(word string, d *caddyfile.Dispenser) error {
	if err := noMore(word, d); err != nil {
		return err
	}
	if next := *d; next.Next() && opens(&next) {
		return next.Errf("%s takes no block", word)
	}
	return nil
}

// arguments reads from least to most arguments of a word. What is wanted is for
// the message.
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

// checked looks at what was read while file and line are still known. The
// check is the one that JSON users meet when the configuration is loaded.
func checked(read lineReader, check func() error) lineReader {
	return func(d *caddyfile.Dispenser) error {
		line := *d // a block moves on
		if err := read(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return line.WrapErr(err)
		}
		return nil
	}
}

// noting remembers where the first of some words is, for what is wrong with all
// of them together.
func noting(first **caddyfile.Dispenser, read lineReader) lineReader {
	return func(d *caddyfile.Dispenser) error {
		if *first == nil {
			line := *d
			*first = &line
		}
		return read(d)
	}
}

// oneArg reads exactly one argument into a string.
func oneArg(to *string) lineReader {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if !d.NextArg() {
			return d.Errf("%s: want one argument", word)
		}
		*to = d.Val()
		return noMore(word, d)
	}
}

// secretText reads a secret. One that is there and empty is a mistake: nobody
// wanted a public client, or a store without encryption, by an empty text.
func secretText(to **string) lineReader {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		*to = new(string)
		if err := oneArg(*to)(d); err != nil {
			return err
		}
		if **to == "" {
			return d.Errf("%s: %w", word, errEmpty)
		}
		return nil
	}
}

// list appends one or more arguments.
func list(to *[]string) lineReader {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("%s: want one or more arguments", word)
		}
		*to = append(*to, args...)
		return nil
	}
}

// set reads a word that stands for itself.
func set(to *bool) lineReader {
	return func(d *caddyfile.Dispenser) error {
		*to = true
		return noMore(d.Val(), d)
	}
}

// word reads the one argument that there is.
func word(only string, to *bool) lineReader {
	return func(d *caddyfile.Dispenser) error {
		var value string
		*to = true
		return oneOf(&value, only)(d)
	}
}

// number reads a whole number above 0.
func number(to *int) lineReader {
	return func(d *caddyfile.Dispenser) error {
		var value string
		word := d.Val()
		if err := oneArg(&value)(d); err != nil {
			return err
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return d.Errf("%s %q: want a whole number above 0", word, value)
		}
		*to = n
		return nil
	}
}

// duration reads a length of time above 0, such as 2.5s, 10m or 90d. In a field 0
// means its default, which nobody wants who writes 0.
func duration(to *caddy.Duration) lineReader {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if err := readDuration(to, d); err != nil {
			return err
		}
		if *to == 0 {
			return d.Errf("%s %q: want a length of time above 0, such as 2.5s, 10m or 90d", word, d.Val())
		}
		return nil
	}
}

func readDuration(to *caddy.Duration, d *caddyfile.Dispenser) error {
	var value string
	word := d.Val()
	if err := oneArg(&value)(d); err != nil {
		return err
	}
	length, err := caddy.ParseDuration(value)
	if err != nil || length < 0 {
		return d.Errf("%s %q: want a length of time, such as 2.5s, 10m or 90d", word, value)
	}
	*to = caddy.Duration(length)
	return nil
}

// durationOrOff reads a length of time, 0 or off.
func durationOrOff(to **caddy.Duration) lineReader {
	return func(d *caddyfile.Dispenser) error {
		*to = new(caddy.Duration)
		next := *d
		if next.NextArg() && next.Val() == "off" {
			word := d.Val()
			d.NextArg()
			return noMore(word, d)
		}
		return readDuration(*to, d)
	}
}

// oneOf reads one of some words.
func oneOf[T ~string](to *T, words ...T) lineReader {
	return func(d *caddyfile.Dispenser) error {
		var value string
		word := d.Val()
		if err := oneArg(&value)(d); err != nil {
			return err
		}
		if !slices.Contains(words, T(value)) {
			return d.Errf("%s %q: want one of: %s", word, value, strings.Trim(fmt.Sprint(words), "[]"))
		}
		*to = T(value)
		return nil
	}
}
