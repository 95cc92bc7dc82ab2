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

// What the commands take from a configuration: where the admin endpoint is, and
// where the store is and by which key. It is found as Caddy's own commands find
// it: --config and --adapter, or else a Caddyfile in the current directory.

// A commandConfig is the part of a configuration that commands look at.
type commandConfig struct {
	file  string // empty: there is none
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

// load reads the configuration, if there is one.
func (c *adminClient) load() (found commandConfig, err error) {
	found.file = c.config
	if found.file == "" {
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
	if name := adapterFor(found.file, c.adapter); name != "" {
		adapter := caddyconfig.GetAdapter(name)
		if adapter == nil {
			return found, fmt.Errorf("--adapter %q: there is none of that name", name)
		}
		if text, _, err = adapter.Adapt(text, map[string]any{"filename": found.file}); err != nil {
			return found, fmt.Errorf("adapting the configuration: %w", err)
		}
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return found, fmt.Errorf("the configuration %s: %w", found.file, err)
	}
	return found, nil
}

// readInput reads a file; - is standard input.
func readInput(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(file)
}

// adapterFor is the adapter of a file, as Caddy chooses it; empty: it is JSON.
func adapterFor(file, named string) string {
	base := strings.ToLower(filepath.Base(file))
	isCaddyfile := strings.HasPrefix(base, "caddyfile") || strings.HasSuffix(base, ".caddyfile")
	if named == "" && isCaddyfile && filepath.Ext(base) != ".json" {
		return "caddyfile"
	}
	return named
}

// endpoint is the address of the admin endpoint: the one that --address or the
// configuration names. Any other would be another Caddy's.
func (c *adminClient) endpoint() (string, error) {
	if c.address != "" {
		return c.address, nil
	}
	found, err := c.load()
	switch {
	case err != nil:
		return "", fmt.Errorf("%w; --address names the admin endpoint without a configuration", err)
	case found.Admin.Disabled:
		return "", fmt.Errorf("the configuration %s says admin off, so there is no admin endpoint to ask", found.file)
	case found.Admin.Listen == "":
		return caddy.DefaultAdminListen, nil
	}
	return caddy.NewReplacer().ReplaceOrErr(found.Admin.Listen, true, true)
}

// errOtherStore says that the configuration has another store, or none.
var errOtherStore = errors.New("no badger store")

// badgerStoreID is the module that the configuration's store must be.
const badgerStoreID = "device_login.stores.badger"

// store returns where the badger store of the configuration is, and its key; those
// of the default one where there is no configuration.
func (c *adminClient) store() (badgerstore.Options, error) {
	found, err := c.load()
	if err != nil {
		return badgerstore.Options{}, err
	}
	text, app := json.RawMessage("{}"), found.Apps.DeviceLogin
	switch {
	case found.file == "":
	case app == nil:
		return badgerstore.Options{}, fmt.Errorf("the configuration %s has %w, since it has no device_login; "+
			"--dir names a store without it", found.file, errOtherStore)
	case app.Store != nil:
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

// badgerOptions has the module read its own configuration, as a server would.
func badgerOptions(text json.RawMessage) (badgerstore.Options, error) {
	info, err := caddy.GetModule(badgerStoreID)
	if err != nil {
		return badgerstore.Options{}, err
	}
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
	if err := store.Provision(caddy.Context{}); err != nil {
		return badgerstore.Options{}, err
	}
	return store.Options(), nil
}
