// Package cli implements the commands that this module adds to Caddy's command
// line: device-auth for operators, and device-login for a person at a
// terminal.
//
// The commands of device-auth use the admin endpoint of a running Caddy, or
// the directory of a store that no Caddy is using, or check a deployment from
// outside. The Caddy configuration determines the admin endpoint and the
// store. device-login is itself a device (RFC 8628): it prints a code, waits
// for the person, and prints a token for an API.
//
// The package makes no decisions: the engine behind the admin endpoint does,
// and packages deviceclient and devicecheck implement login and check. Package
// caddymodule imports this package only for its commands; so this package must
// not import caddymodule, and finds the store's module by its id.
package cli
