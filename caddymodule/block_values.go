package caddymodule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Parsers of single values, for the table of a block. Each parses the arguments of
// one line and refuses further ones, with an error that names the word.

// oneArg parses exactly one argument.
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

// secretText parses a secret. An empty secret is an error: it comes from an
// environment variable that is not set, and would silently make a client public or
// leave a store unencrypted.
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

// list appends one or more arguments to a list. Repeated words continue the list.
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

// set parses a word without arguments, which switches an option on.
func set(to *bool) lineReader {
	return func(d *caddyfile.Dispenser) error {
		*to = true
		return noMore(d.Val(), d)
	}
}

// word parses a word with exactly one possible argument, such as `prefilled off`.
func word(only string, to *bool) lineReader {
	return func(d *caddyfile.Dispenser) error {
		var value string
		*to = true
		return oneOf(&value, only)(d)
	}
}

// number parses a positive integer. In the fields 0 means the default.
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

// duration parses a positive duration, such as 2.5s, 10m or 90d. 0 is refused,
// because in the fields it means the default.
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

// readDuration parses a duration that is not negative.
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

// durationOrOff parses a duration, 0 or off. The field is a pointer because 0 has a
// meaning here: nil is the default.
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

// oneOf parses one argument, which must be one of words.
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
