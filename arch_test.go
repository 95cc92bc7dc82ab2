// Package arch holds no code: its test keeps the arrows between the packages
// pointing one way.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"iter"
	"os/exec"
	"path/filepath"
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
	{"internal/sweep", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/httpclient", nil, []string{"github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/limit", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/sampling", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/probe", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/reqbody", nil, []string{"github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/text", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/discovery", nil, []string{"github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/response", nil, []string{"github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/clientdocument", nil, []string{"github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/seal", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"deviceauth", nil, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"deviceauth/guard", []string{"deviceauth"}, []string{"github.com/", "go.uber.org/"}},
	{"internal/endpoint", []string{"deviceauth"}, []string{"github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/bounded", []string{"deviceauth"}, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"internal/keyfile", []string{"deviceauth"}, []string{"net/http", "github.com/", "go.uber.org/", "golang.org/"}},
	{"deviceauth/oauthapi", []string{"deviceauth", "internal/endpoint", "deviceauth/guard"},
		[]string{"github.com/", "go.uber.org/"}},
	{"deviceauth/pages", []string{"deviceauth", "internal/endpoint"}, []string{"github.com/", "go.uber.org/"}},
	{"internal/badgerdb", nil, []string{"github.com/caddyserver/", "github.com/golang-jwt/", "go.uber.org/"}},
	{"deviceauth/badgerstore", []string{"deviceauth", "internal/badgerdb"},
		[]string{"github.com/caddyserver/", "github.com/golang-jwt/"}},
	{"deviceauth/redisstore", []string{"deviceauth"},
		[]string{"net/http", "github.com/caddyserver/", "github.com/dgraph-io/", "github.com/golang-jwt/"}},
	{"deviceauth/guard/remote", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/memstore", []string{"deviceauth"},
		[]string{"net/http", "github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/keyring", []string{"deviceauth"},
		[]string{"net/http", "github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/storetest", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/deviceclient", nil, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/devicecheck", []string{"deviceauth/deviceclient"},
		[]string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"upstreamidp", []string{"deviceauth"}, []string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"deviceauth/adminapi", []string{"deviceauth"}, []string{"net/http", "github.com/", "go.uber.org/"}},
	{"caddymodule/cli", []string{"deviceauth", "deviceauth/adminapi", "deviceauth/badgerstore",
		"internal/badgerdb", "deviceauth/devicecheck", "deviceauth/deviceclient", "deviceauth/keyring"},
		[]string{"github.com/zitadel/"}},
	{"deviceauth/gateway", []string{"deviceauth", "deviceauth/guard", "deviceauth/oauthapi", "deviceauth/pages",
		"deviceauth/keyring", "upstreamidp", "internal/endpoint"},
		[]string{"github.com/caddyserver/", "github.com/dgraph-io/"}},
	{"caddymodule/block", nil, []string{"github.com/zitadel/"}},
	{"caddymodule/dispatch", nil, []string{"github.com/zitadel/"}},
	{"caddymodule/matcher", []string{"deviceauth", "deviceauth/guard"}, []string{"github.com/zitadel/"}},
	{"caddymodule/operator", []string{"deviceauth", "deviceauth/adminapi", "deviceauth/keyring"},
		[]string{"github.com/zitadel/"}},
	{"caddymodule/routes", nil, []string{"github.com/zitadel/"}},
	{"caddymodule/writers", []string{"deviceauth"}, []string{"github.com/zitadel/"}},
	{"caddymodule", []string{"caddymodule/block", "caddymodule/cli", "caddymodule/dispatch", "caddymodule/matcher",
		"caddymodule/operator", "caddymodule/routes", "caddymodule/writers", "deviceauth/gateway",
		"deviceauth/adminapi", "deviceauth", "deviceauth/oauthapi", "deviceauth/pages", "deviceauth/badgerstore",
		"deviceauth/redisstore", "deviceauth/memstore", "deviceauth/keyring", "deviceauth/guard",
		"deviceauth/guard/remote", "deviceauth/deviceclient", "deviceauth/devicecheck", "upstreamidp",
		"internal/badgerdb", "internal/bounded", "internal/endpoint", "internal/keyfile"},
		[]string{"github.com/zitadel/"}},
}

// below are packages that know of none of ours, so that all may know them.
var below = []string{"internal/clientdocument", "internal/discovery", "internal/generations",
	"internal/httpclient", "internal/limit", "internal/probe", "internal/reqbody", "internal/response",
	"internal/sampling", "internal/seal", "internal/sweep", "internal/text"}

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
				case !ours && slices.ContainsFunc(layer.mayNot,
					func(prefix string) bool { return strings.HasPrefix(dep, prefix) }):
					t.Errorf("%s depends on %s", layer.pkg, dep)
				}
			}
		})
	}
}

// free are packages that may depend on any other: programs, and what only tests use.
var free = []string{"", "caddy", "examples/bench", "examples/demoidp", "examples/gadget", "internal/gatewaytest",
	"internal/loadtest", "internal/needs", "internal/redistest", "internal/testlog", "upstreamidp/idptest"}

func TestEveryPackageHasALayer(t *testing.T) {
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimPrefix(strings.TrimSpace(pkg)+"/", module)
		pkg = strings.TrimSuffix(pkg, "/")
		known := slices.Contains(free, pkg)
		for _, layer := range layers {
			known = known || layer.pkg == pkg
		}
		if !known {
			t.Errorf("%s is in no layer", pkg)
		}
	}
}

// What a grant's life can be is read in one file: nothing else changes its state, or
// says that it was changed.
func TestGrantsChangeInOneFile(t *testing.T) {
	for path := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "deviceauth/grant.go") ||
			strings.Contains(path, "storetest/") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			var changed []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				changed = n.Lhs
			case *ast.IncDecStmt:
				changed = []ast.Expr{n.X}
			}
			for _, to := range changed {
				s, ok := to.(*ast.SelectorExpr)
				// in pages, State is OAuth's parameter
				if ok && (s.Sel.Name == "Revision" ||
					s.Sel.Name == "State" && !strings.Contains(path, "deviceauth/pages/")) {
					t.Errorf("%s: %s is assigned; want a method of deviceauth/grant.go",
						fset.Position(s.Pos()), s.Sel.Name)
				}
			}
			return true
		})
	}
}

// goFiles are the Go files of this module.
func goFiles(t *testing.T) iter.Seq[string] {
	t.Helper()
	return func(yield func(string) bool) {
		err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if strings.HasSuffix(path, ".go") && !yield(path) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
