package caddymodule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// The readers of single values, of which a block's table is made. Each reads the
// arguments of one line and refuses further ones, with an error that names the
// word.

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

// secretText reads a secret. An empty text is an error: it comes from an
// environment variable that is not set, and would silently make a client public,
// or leave a store without encryption.
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

// list appends one or more arguments to a list. A word that may be repeated
// continues the list of the line before.
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

// set reads a word that takes no argument: its presence switches something on.
func set(to *bool) lineReader {
	return func(d *caddyfile.Dispenser) error {
		*to = true
		return noMore(d.Val(), d)
	}
}

// word reads a word that has exactly one possible argument, such as `prefilled
// off`.
func word(only string, to *bool) lineReader {
	return func(d *caddyfile.Dispenser) error {
		var value string
		*to = true
		return oneOf(&value, only)(d)
	}
}

// number reads a whole number above 0. In the fields 0 means the default.
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

// duration reads a length of time above 0, such as 2.5s, 10m or 90d. In the
// fields 0 means the default, which is not what a 0 in a Caddyfile means.
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

// readDuration reads a length of time that is not negative.
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

// durationOrOff reads a length of time, 0 or off. Since 0 has a meaning here,
// the field is a pointer: nil is the default.
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

// oneOf reads one argument, which must be among the words.
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
