// Package arch holds no code: its test keeps the arrows between the packages
// pointing one way.
package arch

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/deviceauth/caddy-deviceauth/"

// layers says of each package which others of this module it may depend on,
// directly or not, and what it must not know of. Only the wiring knows Caddy.
var layers = []struct {
	pkg    string
	may    []string
	mayNot []string
}{
	{"internal/generations", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/sampling", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/reqbody", nil, []string{"github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/seal", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"deviceauth", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"deviceauth/httpapi", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/", "github.com/golang-jwt/", "github.com/coreos/"}},
	{"deviceauth/badgerstore", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/golang-jwt/"}},
	{"deviceauth/redisstore", []string{"deviceauth"}, []string{"net/http", "github.com/caddyserver/", "github.com/dgraph-io/", "github.com/golang-jwt/"}},
	{"deviceauth/edge", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/memstore", []string{"deviceauth"}, []string{"net/http", "github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/keyring", []string{"deviceauth"}, []string{"net/http", "github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/storetest", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/deviceclient", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/blackbox", []string{"deviceauth", "deviceauth/deviceclient"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"upstreamidp", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"caddymodule", []string{"deviceauth", "deviceauth/httpapi", "deviceauth/badgerstore", "deviceauth/redisstore", "deviceauth/memstore", "deviceauth/keyring", "deviceauth/edge", "deviceauth/deviceclient", "deviceauth/blackbox", "upstreamidp"}, []string{"github.com/zitadel/"}},
}

// below are packages that know of none of ours, so that all may know them.
var below = []string{"internal/generations", "internal/reqbody", "internal/sampling", "internal/seal"}

func TestArrowsPointDown(t *testing.T) {
	for _, layer := range layers {
		t.Run(layer.pkg, func(t *testing.T) {
			out, err := exec.Command("go", "list", "-deps", "./"+layer.pkg).Output()
			if err != nil {
				t.Fatal(err)
			}
			for dep := range strings.Lines(string(out)) {
				dep = strings.TrimSpace(dep)
				own, ours := strings.CutPrefix(dep, module)
				switch {
				case ours && own != layer.pkg && !slices.Contains(layer.may, own) && !slices.Contains(below, own):
					t.Errorf("%s depends on %s", layer.pkg, own)
				case !ours && slices.ContainsFunc(layer.mayNot, func(prefix string) bool { return strings.HasPrefix(dep, prefix) }):
					t.Errorf("%s depends on %s", layer.pkg, dep)
				}
			}
		})
	}
}
