package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/block"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// JoinedNetwork is a network of one or more prefixes, within which any two
// addresses count as the same network: an office with IPv4 and IPv6, or sites
// joined by a VPN. In JSON it is an object, or a single prefix as a string.
type JoinedNetwork struct {
	// What it is called in the configuration.
	Name string `json:"name,omitempty"`
	// Networks (CIDR) or addresses, of IPv4 and IPv6.
	Prefixes []string `json:"prefixes,omitempty"`
}

// joinedJSON is a JoinedNetwork without methods, so that encoding it does not
// recurse.
type joinedJSON JoinedNetwork

// MarshalJSON encodes a network of a single prefix without a name as a string.
func (n JoinedNetwork) MarshalJSON() ([]byte, error) {
	if n.Name == "" && len(n.Prefixes) == 1 {
		return json.Marshal(n.Prefixes[0])
	}
	return json.Marshal(joinedJSON(n))
}

// UnmarshalJSON decodes the result of MarshalJSON, and refuses unknown members.
func (n *JoinedNetwork) UnmarshalJSON(text []byte) error {
	var prefix string
	if json.Unmarshal(text, &prefix) == nil {
		*n = JoinedNetwork{Prefixes: []string{prefix}}
		return nil
	}
	strict := json.NewDecoder(bytes.NewReader(text)) // strict, like Caddy with modules
	strict.DisallowUnknownFields()
	return strict.Decode((*joinedJSON)(n))
}

// networkName matches names of networks; an address or prefix never matches,
// because it has a dot or a colon.
var networkName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// parseNetworkLine parses `networks <name> <cidr>…`, whose prefixes are one network,
// or `networks <cidr>…`, each of which is a separate network. Lines with the same
// name are one network.
func (a *App) parseNetworkLine(d *caddyfile.Dispenser) error {
	var words []string
	if err := block.Field(d, &words); err != nil {
		return err
	}
	if !networkName.MatchString(words[0]) {
		for _, prefix := range words {
			a.Networks = append(a.Networks, JoinedNetwork{Prefixes: []string{prefix}})
		}
		return nil
	}
	name, prefixes := words[0], words[1:]
	for i := range a.Networks {
		if n := &a.Networks[i]; n.Name == name {
			n.Prefixes = append(n.Prefixes, prefixes...)
			return nil
		}
	}
	a.Networks = append(a.Networks, JoinedNetwork{Name: name, Prefixes: prefixes})
	return nil
}

// joinedNetworks parses the networks for the engine, each as a list of prefixes.
func joinedNetworks(networks []JoinedNetwork) (lists [][]netip.Prefix, err error) {
	var names []string
	for _, n := range networks {
		what := strings.TrimSpace("networks " + n.Name)
		prefixes, err := parseNetworks(what, n.Prefixes)
		switch {
		case err != nil:
			return nil, err
		case len(prefixes) == 0:
			return nil, fmt.Errorf("%s: want one or more networks such as 203.0.113.7 2001:db8:1::/56", what)
		case n.Name != "" && slices.Contains(names, n.Name):
			return nil, fmt.Errorf("duplicate %s", what)
		}
		names, lists = append(names, n.Name), append(lists, prefixes)
	}
	return lists, nil
}

// checkNAT64 checks the prefixes for lengths that RFC 6052 §2.2 allows.
func (a *App) checkNAT64() error {
	prefixes, err := parseNetworks("nat64", a.NAT64)
	if err != nil {
		return err
	}
	return deviceauth.CheckNAT64(prefixes)
}

// checkPlace checks that the option place has placeholders: otherwise people would
// see the same location for every device.
func (a *App) checkPlace() error {
	if a.Place != "" && !strings.Contains(a.Place, "{") {
		return errors.New("place: want a text with placeholders, such as {geoip.city}")
	}
	return nil
}

// clientPlace replaces the placeholders of the option place for a request, for the
// consent page. If all of them are empty, punctuation may remain; then the location
// is unknown.
func (a *App) clientPlace(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok || a.Place == "" {
		return ""
	}
	place := repl.ReplaceAll(a.Place, "")
	if !strings.ContainsFunc(place, unicode.IsLetter) {
		return ""
	}
	return strings.Trim(place, " ,;/-–")
}
