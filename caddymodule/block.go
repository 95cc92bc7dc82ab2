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

// A block is a table of subdirectives: each word with what reads the rest of
// its line. Whatever is not in the table is refused, and so is a word that
// stands there twice, unless it is one of many.
type block struct {
	what  string // for messages: whose block it is
	words map[string]func(*caddyfile.Dispenser) error
	many  []string // words that may be repeated
}

func (b block) read(d *caddyfile.Dispenser) error {
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if seen[word] && !slices.Contains(b.many, word) {
			return d.Errf("%s: %s is there twice", b.what, word)
		}
		seen[word] = true
		if err := b.one(d); err != nil {
			return err
		}
	}
	return nil
}

// one reads the line that begins with the current word.
func (b block) one(d *caddyfile.Dispenser) error {
	read, known := b.words[d.Val()]
	if !known {
		return d.Errf("%s has no subdirective %q; want one of: %s", b.what, d.Val(), strings.Join(slices.Sorted(maps.Keys(b.words)), ", "))
	}
	return read(d)
}

// lineOrBlock reads a single subdirective from the rest of the line, or a
// whole block of them.
func (b block) lineOrBlock(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return b.one(d)
	}
	if ahead := *d; !ahead.NextBlock(d.Nesting()) {
		return d.Errf("%s: want one of these and its value, or a block of them: %s", b.what, strings.Join(slices.Sorted(maps.Keys(b.words)), ", "))
	}
	return b.read(d)
}

// noMore refuses arguments that nobody asked for.
func noMore(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q", d.Val())
	}
	return nil
}

// checked looks at what was read while file and line are still known. The
// check is the one that JSON users meet when the configuration is loaded.
func checked(read func(*caddyfile.Dispenser) error, check func() error) func(*caddyfile.Dispenser) error {
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
func noting(first **caddyfile.Dispenser, read func(*caddyfile.Dispenser) error) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		if *first == nil {
			line := *d
			*first = &line
		}
		return read(d)
	}
}

// text reads exactly one argument into a string.
func text(to *string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		if !d.NextArg() {
			return d.Errf("%s: want one argument", word)
		}
		*to = d.Val()
		return noMore(d)
	}
}

// optionalText reads one argument that may be meant to be empty.
func optionalText(to **string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		*to = new(string)
		return text(*to)(d)
	}
}

// list appends one or more arguments.
func list(to *[]string) func(*caddyfile.Dispenser) error {
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
func set(to *bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		*to = true
		return noMore(d)
	}
}

// word reads the one argument that there is.
func word(only string, to *bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		var value string
		*to = true
		return oneOf(&value, only)(d)
	}
}

// number reads a whole number above 0.
func number(to *int) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		var value string
		if err := text(&value)(d); err != nil {
			return err
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return d.Errf("%q: want a whole number above 0", value)
		}
		*to = n
		return nil
	}
}

// duration reads a length of time, such as 2.5s, 10m or 90d.
func duration(to *caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		var value string
		if err := text(&value)(d); err != nil {
			return err
		}
		length, err := caddy.ParseDuration(value)
		if err != nil || length < 0 {
			return d.Errf("%q is not a length of time: want something like 2.5s, 10m or 90d", value)
		}
		*to = caddy.Duration(length)
		return nil
	}
}

// durationOrOff reads a length of time, 0 or off.
func durationOrOff(to **caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		*to = new(caddy.Duration)
		next := *d
		if next.NextArg() && next.Val() == "off" {
			d.NextArg()
			return noMore(d)
		}
		return duration(*to)(d)
	}
}

// oneOf reads one of some words.
func oneOf[T ~string](to *T, words ...T) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		var value string
		if err := text(&value)(d); err != nil {
			return err
		}
		if !slices.Contains(words, T(value)) {
			return d.Errf("%q: want one of: %s", value, strings.Trim(fmt.Sprint(words), "[]"))
		}
		*to = T(value)
		return nil
	}
}
