package block

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// The arguments of one line. Further ones are an error that names the word.

// Field parses the arguments of the word that is the current token into a field:
//
//	*string          one argument
//	*[]string        one or more arguments, which are appended
//	*bool            no argument: the word switches an option on
//	*int             a whole number above 0; without the word the field stays 0
//	*caddy.Duration  a length of time above 0; without the word the field stays 0
//	**caddy.Duration a length of time, 0 or off; without the word the field stays nil
//	Reader           what the function parses
//
// It panics if the field has another type.
func Field(d *caddyfile.Dispenser, to any) error { return readerOf(to)(d) }

// readerOf returns the Reader of a field. It panics if Field does not know the type.
func readerOf(to any) Reader {
	switch to := to.(type) {
	case Reader:
		return to
	case *string:
		return func(d *caddyfile.Dispenser) (err error) { *to, err = oneArg(d); return err }
	case *[]string:
		return func(d *caddyfile.Dispenser) error { return readList(to, d) }
	case *bool:
		return func(d *caddyfile.Dispenser) error { *to = true; return noMore(d.Val(), d) }
	case *int:
		return func(d *caddyfile.Dispenser) error { return readNumber(to, d) }
	case *caddy.Duration:
		return func(d *caddyfile.Dispenser) error { return readDuration(to, d) }
	case **caddy.Duration:
		return func(d *caddyfile.Dispenser) error { *to = new(caddy.Duration); return readDurationOrOff(*to, d) }
	}
	panic(fmt.Sprintf("a line of a Caddyfile cannot be parsed into a %T", to))
}

// readList appends one or more arguments.
func readList(to *[]string, d *caddyfile.Dispenser) error {
	word := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s: want one or more arguments", word)
	}
	*to = append(*to, args...)
	return nil
}

// oneArg parses exactly one argument.
func oneArg(d *caddyfile.Dispenser) (string, error) {
	word := d.Val()
	if !d.NextArg() {
		return "", d.Errf("%s: want one argument", word)
	}
	return d.Val(), noMore(word, d)
}

// Secret returns a Reader of one argument that must not be blank, such as a password; nil
// means that there is no such line. empty is the error of a blank one.
func Secret(to **string, empty error) Reader {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		value, err := oneArg(d)
		if err == nil && strings.TrimSpace(value) == "" {
			err = d.Errf("%s: %w", word, empty)
		}
		*to = &value
		return err
	}
}

// readNumber parses a positive integer.
func readNumber(to *int, d *caddyfile.Dispenser) error {
	word := d.Val()
	value, err := oneArg(d)
	if err != nil {
		return err
	}
	if *to, err = strconv.Atoi(value); err != nil || *to < 1 {
		return d.Errf("%s %q: want a whole number above 0", word, value)
	}
	return nil
}

// readDuration parses a positive duration, such as 2.5s, 10m or 90d.
func readDuration(to *caddy.Duration, d *caddyfile.Dispenser) error {
	word := d.Val()
	if err := readDurationOrZero(to, d); err != nil {
		return err
	}
	if *to == 0 {
		return d.Errf("%s %q: want a length of time above 0, such as 2.5s, 10m or 90d", word, d.Val())
	}
	return nil
}

// readDurationOrZero parses a duration that is not negative.
func readDurationOrZero(to *caddy.Duration, d *caddyfile.Dispenser) error {
	word := d.Val()
	value, err := oneArg(d)
	if err != nil {
		return err
	}
	length, err := caddy.ParseDuration(value)
	if err != nil || length < 0 {
		return d.Errf("%s %q: want a length of time, such as 2.5s, 10m or 90d", word, value)
	}
	*to = caddy.Duration(length)
	return nil
}

// readDurationOrOff parses a duration, 0 or off, which is 0.
func readDurationOrOff(to *caddy.Duration, d *caddyfile.Dispenser) error {
	next := *d
	if next.NextArg() && next.Val() == "off" {
		_, err := oneArg(d)
		return err
	}
	return readDurationOrZero(to, d)
}

// OneOf returns a Reader of one argument, which must be one of words.
func OneOf[T ~string](to *T, words ...T) Reader {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		value, err := oneArg(d)
		if err != nil {
			return err
		}
		if !slices.Contains(words, T(value)) {
			return d.Errf("%s %q: want one of: %s", word, value, strings.Trim(fmt.Sprint(words), "[]"))
		}
		*to = T(value)
		return nil
	}
}

// Word returns a Reader of exactly one possible argument, such as `prefilled off`.
func Word(only string, to *bool) Reader {
	return func(d *caddyfile.Dispenser) error {
		var value string
		*to = true
		return OneOf(&value, only)(d)
	}
}
