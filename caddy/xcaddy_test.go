package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestXcaddyBuildsTheModuleWithoutTheDemo takes the modules from the local
// cache: some module proxies answer 403 where a path was never published, and
// xcaddy's own go get takes that for an error.
func TestXcaddyBuildsTheModuleWithoutTheDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a second Caddy, which takes a minute or two")
	}
	t.Parallel()
	if out, err := exec.Command("go", "mod", "download").CombinedOutput(); err != nil {
		t.Fatalf("go mod download: %v\n%s", err, out)
	}
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(t.TempDir(), "caddy")
	build := exec.Command("../xcaddy.sh", built)
	build.Env = append(os.Environ(), "GOPROXY=file://"+strings.TrimSpace(string(cache))+"/cache/download",
		"GOSUMDB=off", "GOFLAGS=")
	// With xcaddy's own flags, among them -trimpath and no cgo, all packages would be compiled
	// once more. That none needs cgo is found out without that.
	imports := `{{if and .CgoFiles (not .Standard)}}{{.ImportPath}}{{end}}`
	needing, err := exec.Command("go", "list", "-deps", "-f", imports, "../caddymodule").Output()
	if err != nil || len(strings.TrimSpace(string(needing))) > 0 {
		t.Errorf("these packages use cgo: %s, %v", needing, err)
	}
	build.Env = append(build.Env, "CGO_ENABLED=1", "XCADDY_GO_BUILD_FLAGS=-ldflags=-s")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("xcaddy.sh: %v\n%s", err, out)
	}
	modules, err := exec.Command(built, "list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"device_login", "device_login.stores.badger", "device_login.stores.memory",
		"device_login.stores.redis", "http.handlers.device_login", "http.handlers.device_auth",
		"http.handlers.reverse_proxy"} {
		if !strings.Contains(string(modules), want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(string(modules), "demo") {
		t.Errorf("the demo's parts are in it:\n%s", modules)
	}
}
