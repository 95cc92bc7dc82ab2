#!/bin/sh
# Builds a Caddy with the device login from this working tree, and none of the
# demo's parts: ./xcaddy.sh [output file, default: ./caddy-deviceauth]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
module=github.com/deviceauth/caddy-deviceauth
output=${1:-$here/caddy-deviceauth}
case $output in /*) ;; *) output=$PWD/$output ;; esac

# The Caddy that this tree is tested with, not whatever is the newest today.
caddy=$(cd "$here" && go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)

if command -v xcaddy >/dev/null 2>&1; then
	xcaddy=xcaddy
else
	# go.mod names xcaddy as a tool. Building it here keeps "go tool", which
	# works only inside this module, out of xcaddy's own folders.
	tools=$(mktemp -d)
	trap 'rm -rf "$tools"' EXIT INT TERM
	(cd "$here" && go build -o "$tools/xcaddy" github.com/caddyserver/xcaddy/cmd/xcaddy)
	xcaddy=$tools/xcaddy
fi

"$xcaddy" build "$caddy" --output "$output" --with "$module/caddymodule" --replace "$module=$here"
"$output" list-modules | grep -E 'device_(login|auth)'
