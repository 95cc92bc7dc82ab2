package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/block"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/internal/bounded"
)

// A Store is a module in the namespace device_login.stores, which opens the storage
// of grants and keys.
type Store interface {
	// Key identifies the database. It may contain passwords, and must not be shown: see
	// [NamedStore]. Configurations with the same key share the open store, so that a reload
	// neither closes it nor loses pending grants.
	Key() string
	// Open opens the database. It is closed when the last configuration that uses it
	// is cleaned up.
	Open(*slog.Logger) (deviceauth.Storage, error)
}

// A NamedStore is a [Store] that has a name for messages. A Store need not implement it:
// the default is the name of its module, such as memory.
type NamedStore interface {
	Store
	// Name returns the name after Provision, such as the directory of a Badger database
	// or the hosts of a Redis. It is shown in logs and errors, so it must not contain
	// users and passwords, as a URL may.
	Name() string
}

// storeName returns the name of a store for messages.
func storeName(s Store) string {
	if named, ok := s.(NamedStore); ok {
		return named.Name()
	}
	if module, ok := s.(caddy.Module); ok {
		return module.CaddyModule().ID.Name()
	}
	return "of an unknown kind"
}

// storePool has the open stores of the process, by key.
var storePool = caddy.NewUsagePool()

// pooledStore is an open store that successive configurations share, with the
// transient state of its pending grants. It is closed after the last request that
// uses it: Caddy cleans up a configuration while its last requests are still in
// progress.
type pooledStore struct {
	*bounded.Store
	key       string // in storePool
	name      string // for messages
	pollState *deviceauth.PollState
	keys      atomic.Pointer[keyring.Keyring] // of the latest configuration
}

// acquireStore returns the open store of a key. It opens the store for the first
// configuration.
func acquireStore(s Store, log *slog.Logger) (*pooledStore, error) {
	key := s.Key()
	value, _, err := storePool.LoadOrNew(key, func() (caddy.Destructor, error) {
		opened, err := bounded.Open(caddy.Exiting, func() (deviceauth.Storage, error) { return s.Open(log) })
		if err != nil {
			return nil, err
		}
		p := &pooledStore{Store: opened, key: key, name: storeName(s), pollState: deviceauth.NewPollState()}
		if shared := opened.Cluster(); shared != nil {
			p.pollState.Share(shared)
		}
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*pooledStore), nil
}

// release undoes one acquireStore. The last release closes the store.
func (p *pooledStore) release() error {
	_, err := storePool.Delete(p.key)
	return err
}

// Destruct implements caddy.Destructor.
func (p *pooledStore) Destruct() error {
	err := p.Close()
	if errors.Is(err, bounded.ErrInUse) {
		return fmt.Errorf("store %s: %w", p.name, err)
	}
	return err
}

// BadgerStore keeps grants and keys in an embedded Badger database: one process, one
// directory.
type BadgerStore struct {
	// The directory. Default: device_login in Caddy's data directory.
	Path string `json:"path,omitempty"`
	// Encrypts the data on disk: 32 bytes in base64 or hexadecimal digits, which may
	// be a placeholder such as `{file./etc/caddy/grants.key}`. Only for a new
	// directory. Default: none.
	EncryptionKey *string `json:"encryption_key,omitempty"`

	key deviceauth.Secret // resolved
}

// CaddyModule returns the module's registration.
func (BadgerStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "device_login.stores.badger", New: func() caddy.Module { return new(BadgerStore) }}
}

// Provision sets the default and resolves placeholders. It neither creates nor opens
// the directory.
func (s *BadgerStore) Provision(caddy.Context) (err error) {
	repl := caddy.NewReplacer()
	// With an empty variable it would be another directory.
	if s.Path, err = repl.ReplaceOrErr(cmp.Or(s.Path, defaultStore()), true, true); err != nil {
		return fmt.Errorf("store badger: path: %w", err)
	}
	if err := s.checkPath(); err != nil {
		return err
	}
	if s.Path, err = filepath.Abs(s.Path); err != nil {
		return err
	}
	s.Path = resolveLinks(s.Path)
	key, err := secret(repl, s.EncryptionKey)
	if err != nil {
		return fmt.Errorf("store badger: encryption_key: %w", err)
	}
	s.key = deviceauth.Secret(key)
	return badgerstore.Options{EncryptionKey: s.key}.Check()
}

// checkPath refuses a path that only a shell or a browser could resolve.
func (s *BadgerStore) checkPath() error {
	if strings.HasPrefix(s.Path, "~") || strings.Contains(s.Path, "://") {
		return fmt.Errorf("store badger %q: want the path of a directory as it is, such as /var/lib/caddy/device_login",
			s.Path)
	}
	return nil
}

// resolveLinks resolves the symbolic links of a path. Two names of one directory must
// give the same key, even at a reload. If the directory does not exist yet, its
// parent is resolved.
func resolveLinks(path string) string {
	if found, err := filepath.EvalSymlinks(path); err == nil {
		return found
	}
	if folder, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(folder, filepath.Base(path))
	}
	return path
}

// checkRoot refuses to create a directory at the root of the file system, which is
// the result of an unset variable: {$DATA}/grants becomes /grants. A directory that
// exists there, such as a volume of a container, is accepted.
func checkRoot(path string) error {
	_, err := os.Stat(path)
	folder := filepath.Dir(path)
	if folder == path || folder == filepath.Dir(folder) && errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store badger: %s is at the root of the file system: is a variable in its path unset? "+
			"Want a directory such as /var/lib/caddy/device_login, or make this one yourself", path)
	}
	return nil
}

// defaultStore returns the default directory of grants and keys, next to Caddy's
// certificates.
func defaultStore() string { return filepath.Join(caddy.AppDataDir(), "device_login") }

// Key implements Store. It contains only the directory, not the encryption key: a
// process can open a Badger directory only once.
func (s *BadgerStore) Key() string { return "badger " + s.Path }

// Name implements NamedStore.
func (s *BadgerStore) Name() string { return s.Key() }

// Open implements Store. It creates a missing directory.
func (s *BadgerStore) Open(log *slog.Logger) (deviceauth.Storage, error) {
	if err := checkRoot(s.Path); err != nil {
		return nil, err
	}
	options := s.Options()
	options.Log = log
	return badgerstore.Open(options)
}

// Options returns the options of the store after Provision: its directory and
// encryption key. The restore command opens the store with them.
func (s *BadgerStore) Options() badgerstore.Options {
	return badgerstore.Options{Dir: s.Path, EncryptionKey: s.key}
}

// UnmarshalCaddyfile parses `store badger [<path>] { encryption_key <key> }`.
func (s *BadgerStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		if s.Path = d.Val(); s.Path == "" || s.checkPath() != nil {
			return d.WrapErr(cmp.Or(s.checkPath(), errors.New("store badger: the directory has no name")))
		}
	}
	table := block.Block{What: "store badger", Check: s.checkSoFar, Words: block.Words{
		"encryption_key": block.Secret(&s.EncryptionKey, errEmptySecret),
	}}
	return table.Read(d)
}

// checkSoFar checks an encryption key that is literally in the Caddyfile.
func (s *BadgerStore) checkSoFar() error {
	if s.EncryptionKey == nil || strings.Contains(*s.EncryptionKey, "{") {
		return nil
	}
	if err := (badgerstore.Options{EncryptionKey: deviceauth.Secret(*s.EncryptionKey)}).Check(); err != nil {
		return fmt.Errorf("encryption_key: %w", err)
	}
	return nil
}

// MemoryStore keeps grants and keys in memory, for trying things out. All devices
// must be connected anew after a restart, but not after a reload.
type MemoryStore struct{}

// CaddyModule returns the module's registration.
func (MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "device_login.stores.memory", New: func() caddy.Module { return new(MemoryStore) }}
}

// Key implements Store.
func (*MemoryStore) Key() string { return "memory" }

// Open implements Store.
func (*MemoryStore) Open(*slog.Logger) (deviceauth.Storage, error) { return memstore.New(), nil }

// UnmarshalCaddyfile parses `store memory`.
func (*MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return block.End("store memory", d)
}

var (
	_ NamedStore        = (*BadgerStore)(nil)
	_ Store             = (*MemoryStore)(nil)
	_ caddy.Provisioner = (*BadgerStore)(nil)
)
