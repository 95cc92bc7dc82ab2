package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/pages"
)

// Scope is a scope in words, for the pages that people see.
type Scope struct {
	// The scope, as clients ask for it.
	Name string `json:"name"`
	// What it allows, for everybody, or beside `texts` for those in whose
	// language there is none. Default: the English one of `texts`, or else the
	// first; without those, the scope's name.
	Text string `json:"text,omitempty"`
	// What it allows, in several languages.
	Texts []deviceauth.LocalizedText `json:"texts,omitempty"`
}

// config is the scope as the engine wants it.
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

// checkScopeNames wants scopes by the grammar of RFC 6749 §3.3. That grammar
// allows commas, which are refused all the same: a comma is always meant to
// separate scopes.
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

// parseScope reads `scope <name> [<text>] [{ <language> <text> … }]`.
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
	// A scope with a faulty name is reported here, and one that is described
	// twice below.
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

// parseTexts reads the block of a scope, where there is one, with `<language>
// <text>` on each line. Language tags are those of RFC 5646, such as de or
// pt-BR.
func (s *Scope) parseTexts(d *caddyfile.Dispenser) error {
	// The position of the first line is kept for what is wrong with the block as
	// a whole.
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
		// Each text is checked at its line: the language tag, its repetition,
		// and the length.
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
