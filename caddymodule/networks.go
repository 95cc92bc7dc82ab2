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

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// JoinedNetwork is a network of one or more prefixes, within which any two
// addresses are in the same network. In JSON it is an object, or a single prefix
// as a string.
type JoinedNetwork struct {
	// What it is called in the configuration.
	Name string `json:"name,omitempty"`
	// Networks (CIDR) or addresses, of IPv4 and IPv6.
	Prefixes []string `json:"prefixes,omitempty"`
}

// joinedJSON is a JoinedNetwork without its methods.
type joinedJSON JoinedNetwork

// MarshalJSON writes a network without a name as its prefix.
func (n JoinedNetwork) MarshalJSON() ([]byte, error) {
	if n.Name == "" && len(n.Prefixes) == 1 {
		return json.Marshal(n.Prefixes[0])
	}
	return json.Marshal(joinedJSON(n))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (n *JoinedNetwork) UnmarshalJSON(text []byte) error {
	var prefix string
	if json.Unmarshal(text, &prefix) == nil {
		*n = JoinedNetwork{Prefixes: []string{prefix}}
		return nil
	}
	strict := json.NewDecoder(bytes.NewReader(text)) // as Caddy reads modules
	strict.DisallowUnknownFields()
	return strict.Decode((*joinedJSON)(n))
}

// networkName tells a name from an address: it has neither dots nor colons.
var networkName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// parseNetworkLine reads `networks <name> <cidr>…`, or `networks <cidr>…`, where
// each is a network of its own.
func (a *App) parseNetworkLine(d *caddyfile.Dispenser) error {
	var words []string
	if err := list(&words)(d); err != nil {
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
	a.Networks = append(a.Networks, JoinedNetwork{name, prefixes})
	return nil
}

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

func (a *App) checkNAT64() error {
	prefixes, err := parseNetworks("nat64", a.NAT64)
	if err != nil {
		return err
	}
	return deviceauth.CheckNAT64(prefixes)
}

// checkPlace wants placeholders: a text without any would be the same for every
// device, and believed.
func (a *App) checkPlace() error {
	if a.Place != "" && !strings.Contains(a.Place, "{") {
		return errors.New("place: want a text with placeholders, such as {geoip.city}")
	}
	return nil
}

// clientPlace says where a request comes from, in the words of whatever module fills
// the placeholders. What is left of the text where they are empty, say a comma,
// says nothing.
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
