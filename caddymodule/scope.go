package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/pages"
)

// Scope is a scope with explanations for the pages.
type Scope struct {
	// The scope, as clients request it.
	Name string `json:"name"`
	// The explanation for people whose language is not in `texts`. Default: the
	// English text of `texts`, or else the first; without those, the scope's name.
	Text string `json:"text,omitempty"`
	// The explanation in several languages.
	Texts []deviceauth.LocalizedText `json:"texts,omitempty"`
}

// config returns the scope in the form of the engine.
func (s *Scope) config() deviceauth.ScopeText {
	return deviceauth.ScopeText{Scope: s.Name, Text: s.Text, Texts: s.Texts}
}

// check checks the name of the scope.
func (s *Scope) check() error {
	if s.Name == "" || strings.ContainsAny(s.Name, " \t") {
		return fmt.Errorf("scope %q: want one scope, without spaces", s.Name)
	}
	return checkScopeNames([]string{s.Name})
}

// checkScopeNames checks scopes by the grammar of RFC 6749 §3.3. That grammar permits
// commas, which are refused all the same: a comma is always meant as a separator.
func checkScopeNames(scopes []string) error {
	for _, scope := range scopes {
		if strings.Contains(scope, ",") {
			return fmt.Errorf("scope %q: want scopes separated by spaces, without commas", scope)
		}
		if _, err := deviceauth.ParseScope(scope); err != nil {
			return fmt.Errorf("scope %q: want printable ASCII without quotes and backslashes (RFC 6749 §3.3)", scope)
		}
	}
	return nil
}

// parseScope parses `scope <name> [<text>] [{ <language> <text> … }]`.
func (a *App) parseScope(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 0:
		return d.Err(`scope: want a scope and what it allows in words, ` +
			`such as: scope products:read "See the products"; ` +
			`or a block with a text for each language, such as: de "Die Produkte sehen"`)
	case len(args) > 2:
		return d.Errf("scope %s: unexpected argument %q: want one text, in quotes", args[0], args[2])
	}
	s := Scope{Name: args[0]}
	// An invalid name is reported here, and a repeated one below.
	if err := s.check(); err != nil {
		return d.WrapErr(err)
	}
	for _, other := range a.Scopes {
		if other.Name == s.Name {
			return d.Errf("duplicate scope %s", s.Name)
		}
	}
	if len(args) == 2 {
		if s.Text = args[1]; s.Text == "" {
			return d.Errf("scope %s: the text is empty: want what the scope allows, in words", s.Name)
		}
	}
	if err := s.parseTexts(d); err != nil {
		return err
	}
	a.Scopes = append(a.Scopes, s)
	return nil
}

// parseTexts parses the block of a scope, if there is one, with `<language> <text>`
// on each line. Language tags are those of RFC 5646, such as de or pt-BR.
func (s *Scope) parseTexts(d *caddyfile.Dispenser) error {
	// The position of the first line, for an error about the whole block.
	line := *d
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		language := d.Val()
		args := d.RemainingArgs()
		switch {
		case len(args) == 0:
			return d.Errf(`scope %s: %s: want a language tag and a text, such as: en "See the products"`,
				s.Name, language)
		case len(args) > 1:
			return d.Errf("scope %s: %s: unexpected argument %q: want one text, in quotes", s.Name, language, args[1])
		}
		s.Texts = append(s.Texts, deviceauth.LocalizedText{Language: language, Text: args[0]})
		// Each text is checked at its line: the language tag, its repetition, and the
		// length.
		if err := pages.CheckScopeTexts(s.config()); err != nil {
			return d.WrapErr(err)
		}
	}
	brace := line // a copy: NextBlock does not distinguish an empty block from none
	opened := brace.Next() && brace.Val() == "{"
	if len(s.Texts) == 0 && (opened || s.Text == "") {
		return line.Errf(`scope %s: want a text, or a block with a text for each language, `+
			`such as: de "Die Produkte sehen"`, s.Name)
	}
	return nil
}
