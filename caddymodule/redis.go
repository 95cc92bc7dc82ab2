package caddymodule

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/block"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/redisstore"
)

// RedisStore keeps grants and keys in Redis or Valkey, which several gateways may
// share: all with the same issuer, clients and upstreams. While it is unavailable,
// requests that need it are answered with 503, including guarded ones.
type RedisStore struct {
	// URLs such as redis://host:6379/0, or rediss:// for TLS, which may have
	// placeholders. Several are the nodes of a Cluster, or Sentinels.
	Addresses []string `json:"addresses"`
	// Whether the addresses are nodes of a Cluster.
	Cluster bool `json:"cluster,omitempty"`
	// The name of the master that the Sentinels at the addresses monitor.
	Sentinel string `json:"sentinel,omitempty"`
	// The ACL user and password, unless they are in the address; they may have
	// placeholders.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	// User and password of the Sentinels, which may differ from the server's.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	SentinelPassword string `json:"sentinel_password,omitempty"`
	// A PEM file with certificates to trust for rediss:// besides the system's.
	CA string `json:"ca,omitempty"`
	// The prefix of all keys. Default: `device_login:`.
	Prefix string `json:"prefix,omitempty"`

	options redisstore.Options // resolved
}

// CaddyModule returns the module's registration.
func (RedisStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "device_login.stores.redis", New: func() caddy.Module { return new(RedisStore) }}
}

// Provision resolves placeholders and checks the options. It opens no connections.
func (s *RedisStore) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	s.options = redisstore.Options{Cluster: s.Cluster, Sentinel: s.Sentinel, CA: s.CA, Prefix: s.Prefix}
	for _, address := range s.Addresses {
		url, err := repl.ReplaceOrErr(address, true, true)
		if err != nil {
			return fmt.Errorf("store redis: %w", err)
		}
		s.options.URLs = append(s.options.URLs, url)
	}
	for _, one := range []struct {
		word, text string
		to         *string
	}{
		{"username", s.Username, &s.options.Username},
		{"password", s.Password, (*string)(&s.options.Password)},
		{"sentinel_username", s.SentinelUsername, &s.options.SentinelUsername},
		{"sentinel_password", s.SentinelPassword, (*string)(&s.options.SentinelPassword)},
	} {
		var err error
		if *one.to, err = repl.ReplaceOrErr(one.text, true, true); err != nil {
			return fmt.Errorf("store redis: %s: %w", one.word, err)
		}
	}
	return s.options.Check()
}

// Key implements Store. It contains all options, including credentials: a reload with
// a new password must open new connections. The key must not be logged.
func (s *RedisStore) Key() string {
	o := s.options
	parts := append([]string{
		"redis", fmt.Sprint(o.Cluster), o.Sentinel, o.Username, o.Password.Reveal(),
		o.SentinelUsername, o.SentinelPassword.Reveal(), o.CA, o.Prefix,
	}, o.URLs...)
	return strings.Join(parts, "\x00")
}

// Name implements NamedStore.
func (s *RedisStore) Name() string {
	var hosts []string
	for _, address := range s.options.URLs {
		if u, err := url.Parse(address); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return "redis " + strings.Join(hosts, " ")
}

// Open implements Store. It returns redisstore.ErrAway if no server responds.
func (s *RedisStore) Open(log *slog.Logger) (deviceauth.Storage, error) {
	return redisstore.Open(context.Background(), s.options, log)
}

// UnmarshalCaddyfile parses `store redis <url>... { … }`. Addresses and options are
// checked together at the end of the block.
func (s *RedisStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if s.Addresses = d.RemainingArgs(); len(s.Addresses) == 0 {
		return d.Err("store redis: want an address such as redis://localhost:6379")
	}
	line := *d
	if err := s.check(true); err != nil {
		return d.WrapErr(err)
	}
	soFar := func() error { return s.check(true) }
	table := block.Block{What: "store redis", Check: soFar, Words: block.Words{
		"cluster":           &s.Cluster,
		"sentinel":          &s.Sentinel,
		"username":          &s.Username,
		"password":          &s.Password,
		"sentinel_username": &s.SentinelUsername,
		"sentinel_password": &s.SentinelPassword,
		"ca":                &s.CA,
		"prefix":            &s.Prefix,
	}}
	err := table.Read(d)
	if err != nil {
		return err
	}
	if err := s.check(false); err != nil {
		return line.WrapErr(err)
	}
	return nil
}

// check checks the options without resolving placeholders or reading files. With more
// set, further lines may follow: several addresses are then treated as a Cluster,
// although a later line may declare them as Sentinels.
func (s *RedisStore) check(more bool) error {
	o := redisstore.Options{Cluster: s.Cluster, Sentinel: s.Sentinel}
	if !more {
		o.SentinelUsername, o.SentinelPassword = s.SentinelUsername, deviceauth.Secret(s.SentinelPassword)
	}
	for _, address := range s.Addresses {
		// Provision knows the values of placeholders, and runs the whole check.
		if strings.Contains(address, "{") {
			return nil
		}
		o.URLs = append(o.URLs, address)
	}
	// A CA without TLS is an error, but only once all addresses are known.
	if !slices.ContainsFunc(s.Addresses, func(a string) bool { return strings.HasPrefix(a, "rediss://") }) {
		o.CA = s.CA
	}
	if more && o.Sentinel == "" {
		o.Cluster = true
	}
	return o.Check()
}

var (
	_ NamedStore        = (*RedisStore)(nil)
	_ caddy.Provisioner = (*RedisStore)(nil)
)
