package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// caddyModules is the package with the modules that a Caddy without plugins has.
const caddyModules = "github.com/caddyserver/caddy/v2/modules/standard"

// buildWith builds a Caddy with these modules. It builds the command ./caddy with
// another main.go, by an overlay of the go command, so that the versions are those of
// this module and nothing is downloaded.
func (b *bench) buildWith(ctx context.Context, binary string, modules ...string) error {
	// The overlay needs the directory of the command.
	listed, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", modulePath+"/caddy").Output()
	if err != nil {
		return err
	}
	// Both files lie in the temporary directory, beside the binary.
	source, overlay := binary+".go", binary+".json"
	text := "package main\n\nimport (\n\tcaddycmd \"github.com/caddyserver/caddy/v2/cmd\"\n"
	for _, module := range modules {
		text += "\t_ \"" + module + "\"\n"
	}
	text += ")\n\nfunc main() { caddycmd.Main() }\n"
	// The format is described by go help build, -overlay.
	replaced, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(strings.TrimSpace(string(listed)), "main.go"): source,
	}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(overlay, replaced, 0o600); err != nil {
		return err
	}
	return build(ctx, binary, "-overlay", overlay, "-ldflags", "-s -w")
}

// measureSize compares the files of the two production binaries.
func measureSize(ctx context.Context, b *bench) ([]row, error) {
	bare, module, err := b.production(ctx)
	if err != nil {
		return nil, err
	}
	// The size does not depend on the machine: there are no rounds.
	const mib = 1 << 20
	// Each is one file, so what it takes on the disk is its size.
	without, with := float64(loadtest.DiskUsage(bare)), float64(loadtest.DiskUsage(module))
	more := (with - without) / mib
	return []row{{
		what: "size of the binary, more by", against: "plain Caddy", unit: "MiB", target: 15, atMost: true,
		value: loadtest.Spread{Median: more, Min: more, Max: more},
		note:  "plain Caddy has " + short(without/mib) + " MiB",
	}}, nil
}
