package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// The parts of a configuration that commands need: the address of the admin
// endpoint, and the store with its key. The configuration is found like that
// of Caddy's own commands: by --config and --adapter, or else a Caddyfile in
// the current directory.

// A commandConfig is the part of a configuration that commands read. Other
// members are ignored: no module is provisioned, since that could open files
// that a server has locked.
type commandConfig struct {
	file  string // empty: there is no configuration
	Admin struct {
		Disabled bool   `json:"disabled"`
		Listen   string `json:"listen"`
	} `json:"admin"`
	Apps struct {
		DeviceLogin *struct {
			Store json.RawMessage `json:"store"`
		} `json:"device_login"`
	} `json:"apps"`
}

// load reads the configuration, if there is one, and adapts it to JSON.
func (c *adminClient) load() (found commandConfig, err error) {
	found.file = c.config
	if found.file == "" {
		// An adapter without a file would be applied to the Caddyfile in the
		// current directory, which is never intended.
		if c.adapter != "" {
			return found, errors.New("--adapter is of use with --config")
		}
		if _, err := os.Stat("Caddyfile"); errors.Is(err, os.ErrNotExist) {
			return found, nil
		}
		found.file = "Caddyfile"
	}
	text, err := readInput(found.file)
	if err != nil {
		return found, fmt.Errorf("reading the configuration: %w", err)
	}
	// JSON needs no adapter. Warnings of the adapter are not shown here, but
	// by `caddy validate`.
	if name := adapterFor(found.file, c.adapter); name != "" {
		adapter := caddyconfig.GetAdapter(name)
		if adapter == nil {
			return found, fmt.Errorf("--adapter %q: there is none of that name", name)
		}
		if text, _, err = adapter.Adapt(text, map[string]any{"filename": found.file}); err != nil {
			return found, fmt.Errorf("adapting the configuration: %w", err)
		}
	}
	// Missing members leave their fields zero.
	if err := json.Unmarshal(text, &found); err != nil {
		return found, fmt.Errorf("the configuration %s: %w", found.file, err)
	}
	return found, nil
}

// readInput reads a file; `-` is standard input.
func readInput(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(file)
}

// adapterFor returns the name of the adapter for a file, with the rules of
// `caddy run`: a file whose name begins or ends like that of a Caddyfile is
// one. "" means that the file is JSON.
func adapterFor(file, named string) string {
	base := strings.ToLower(filepath.Base(file))
	isCaddyfile := strings.HasPrefix(base, "caddyfile") || strings.HasSuffix(base, ".caddyfile")
	if named == "" && isCaddyfile && filepath.Ext(base) != ".json" {
		return "caddyfile"
	}
	return named
}

// endpoint returns the address of the admin endpoint: that of --address, that
// of the configuration, or Caddy's default if the configuration has none. It
// never guesses: the address could be that of another Caddy on this machine,
// whose grants would be ended.
func (c *adminClient) endpoint() (string, error) {
	if c.address != "" {
		return c.address, nil
	}
	found, err := c.load()
	switch {
	case err != nil:
		return "", fmt.Errorf("%w; --address names the admin endpoint without a configuration", err)
	// This message is clearer than a refused connection.
	case found.Admin.Disabled:
		return "", fmt.Errorf("the configuration %s says admin off, so there is no admin endpoint to ask", found.file)
	case found.Admin.Listen == "":
		return caddy.DefaultAdminListen, nil
	}
	// The address may have a placeholder, such as the port in an environment
	// variable.
	return caddy.NewReplacer().ReplaceOrErr(found.Admin.Listen, true, true)
}

// errOtherStore is the error for a configuration with another kind of store,
// or none. With --dir a store can be used without the configuration.
var errOtherStore = errors.New("no badger store")

// badgerStoreID is the id of the module that the store must be.
const badgerStoreID = "device_login.stores.badger"

// store returns the directory and the encryption key of the configuration's
// badger store. Without a configuration they are the defaults, as for a server
// without the option store.
func (c *adminClient) store() (badgerstore.Options, error) {
	found, err := c.load()
	if err != nil {
		return badgerstore.Options{}, err
	}
	// An empty object is the module with all its defaults.
	text, app := json.RawMessage("{}"), found.Apps.DeviceLogin
	switch {
	case found.file == "":
	case app == nil:
		return badgerstore.Options{}, fmt.Errorf("the configuration %s has %w, since it has no device_login; "+
			"--dir names a store without it", found.file, errOtherStore)
	case app.Store != nil:
		// The name of the module shows whether this is a badger store.
		var kind struct {
			Module string `json:"module"`
		}
		if err := json.Unmarshal(app.Store, &kind); err != nil {
			return badgerstore.Options{}, fmt.Errorf("the store of %s: %w", found.file, err)
		}
		if kind.Module != "badger" {
			return badgerstore.Options{}, fmt.Errorf("%w, but %s: the configuration %s; --dir names a store without it",
				errOtherStore, kind.Module, found.file)
		}
		text = app.Store
	}
	options, err := badgerOptions(text)
	if err != nil {
		return options, fmt.Errorf("the store of %s: %w", found.file, err)
	}
	return options, nil
}

// badgerOptions lets the store's module interpret its configuration, so that
// defaults and placeholders are the same as for a server. It finds the module
// by its id, because package caddymodule imports this one.
func badgerOptions(text json.RawMessage) (badgerstore.Options, error) {
	info, err := caddy.GetModule(badgerStoreID)
	if err != nil {
		return badgerstore.Options{}, err
	}
	// An interface is used because importing the type would be an import
	// cycle.
	store, ok := info.New().(interface {
		caddy.Provisioner
		Options() badgerstore.Options
	})
	if !ok {
		return badgerstore.Options{}, fmt.Errorf("the module %s does not say where it is", badgerStoreID)
	}
	if err := json.Unmarshal(text, store); err != nil {
		return badgerstore.Options{}, err
	}
	// Provision sets defaults and resolves placeholders, and opens nothing.
	if err := store.Provision(caddy.Context{}); err != nil {
		return badgerstore.Options{}, err
	}
	return store.Options(), nil
}
