// Package cli has the commands that this module adds to Caddy's command line:
// device-auth for operators, and device-login for a person at a terminal.
//
// The commands of device-auth ask the admin endpoint of a running Caddy, or work
// on the directory of a store that no Caddy uses, or check a deployment from
// outside. Which admin endpoint and which store it is follows from the Caddy
// configuration. device-login is a device of its own (RFC 8628): it prints a code,
// waits for the person, and prints a token for an API.
//
// The package decides nothing: the engine behind the admin endpoint does, and
// packages deviceclient and devicecheck do the work of login and check. Package
// caddymodule imports it for its commands alone; so it must not import that
// package, and finds the store's module by its id.
package cli
