package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Options are the addresses and credentials of the servers. The zero value lacks an
// address, which Check reports.
type Options struct {
	// URLs such as redis://host:6379/0, or rediss://host for TLS. Several URLs are
	// the nodes of a Cluster, or the Sentinels.
	URLs             []string
	Cluster          bool              // the URLs are nodes of a Cluster, even if there is only one
	Sentinel         string            // the name of the master that the Sentinels monitor; empty: no Sentinels
	Username         string            // takes precedence over the URL's
	Password         deviceauth.Secret // takes precedence over the URL's
	SentinelUsername string            // of the Sentinels
	SentinelPassword deviceauth.Secret // of the Sentinels
	CA               string            // a PEM file with certificates that are trusted besides the system's
	Prefix           string            // of all keys; default device_login:
}

// prefix returns the prefix of all keys. Several issuers may share a server if each
// has its own prefix. In a Cluster the prefix should have no hash tag ({…}), which
// would put all keys into one slot.
func (o *Options) prefix() string {
	if o.Prefix == "" {
		return "device_login:"
	}
	return o.Prefix
}

// Check validates the options without connecting to a server. It reads the file of
// the CA. No error contains a password.
func (o Options) Check() error {
	_, err := o.universal()
	return err
}

// The timeouts are short: a healthy server answers in milliseconds, and a device or a
// person is waiting.
const (
	dialTimeout = 2 * time.Second
	ioTimeout   = 2 * time.Second
)

func (o *Options) universal() (*redis.UniversalOptions, error) {
	u := &redis.UniversalOptions{
		MasterName: o.Sentinel, IsClusterMode: o.Cluster, DialTimeout: dialTimeout, ReadTimeout: ioTimeout,
		WriteTimeout: ioTimeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, // a command that failed may have been executed; only retry can find out
	}
	var err error
	if len(o.URLs) == 0 {
		return nil, errors.New("redis store: want an address such as redis://localhost:6379")
	}
	for _, text := range o.URLs {
		one, err := redis.ParseURL(text)
		if err != nil {
			return nil,
				fmt.Errorf("redis store: address %q: want something like redis://host:6379/0, or rediss:// for TLS",
					hidePassword(text))
		}
		// User, password, database and TLS of the last URL apply to all: the nodes of
		// a Cluster, and Sentinels, are configured alike.
		u.Addrs = append(u.Addrs, one.Addr)
		u.Username, u.Password, u.DB, u.TLSConfig = one.Username, one.Password, one.DB, one.TLSConfig
	}
	if len(o.URLs) > 1 && !o.Cluster && o.Sentinel == "" {
		return nil, errors.New("redis store: several addresses: want cluster or sentinel <master> with them")
	}
	if o.Cluster && o.Sentinel != "" {
		return nil, errors.New("redis store: want cluster or sentinel, not both")
	}
	if o.Sentinel == "" && (o.SentinelUsername != "" || o.SentinelPassword != "") {
		return nil, errors.New("redis store: a user or password of Sentinels: want sentinel <master> with it")
	}
	u.SentinelUsername, u.SentinelPassword = o.SentinelUsername, o.SentinelPassword.Reveal()
	if o.Username != "" {
		u.Username = o.Username
	}
	if o.Password != "" {
		u.Password = o.Password.Reveal()
	}
	if o.CA != "" && u.TLSConfig == nil {
		return nil, errors.New("redis store: a CA is of use with addresses that begin with rediss://")
	}
	if o.CA != "" {
		u.TLSConfig, err = withRootCAs(u.TLSConfig, o.CA)
	}
	u.Dialer = dial(u.TLSConfig)
	return u, err
}

// withRootCAs returns a copy of the configuration that also trusts the certificates
// of a file, besides the system's. The file may contain several.
func withRootCAs(c *tls.Config, file string) (*tls.Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("redis store: reading the CA: %w", err)
	}
	c = c.Clone()
	if c.RootCAs, err = x509.SystemCertPool(); err != nil {
		c.RootCAs = x509.NewCertPool()
	}
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("redis store: %s has no certificate in PEM", file)
	}
	return c, nil
}

// hidePassword removes the user info of an address. It needs no valid URL: an address
// that cannot be parsed may still contain a password before its last @.
func hidePassword(url string) string {
	if at := strings.LastIndexByte(url, '@'); at >= 0 {
		return "…" + url[at:]
	}
	return url
}

func (o *Options) client() (redis.UniversalClient, error) {
	u, err := o.universal()
	if err != nil {
		return nil, err
	}
	if o.Sentinel != "" {
		return newFailoverClient(u), nil
	}
	return redis.NewUniversalClient(u), nil
}

// olderThan reports whether a version is older than another. A version that cannot be
// parsed counts as new enough: compatible servers have their own version numbers.
func olderThan(version string, major, minor int) bool {
	var a, b int
	n, _ := fmt.Sscanf(version, "%d.%d", &a, &b)
	return n == 2 && (a < major || a == major && b < minor)
}

// startTimeout is how long Open waits for a server that is being started at the same
// time. It may take commandTimeout longer where a server does not respond at all.
const startTimeout = time.Second

// ErrAway is wrapped by the error of Open where no server responds, or none that has
// loaded its data: it may be available later.
var ErrAway = errors.New("redis store: the server does not answer")

// isUnavailable reports whether an error means that the server cannot be used now but
// may be later. Any error that is not a response of the server counts, such as a
// broken connection or a timeout, and so do the responses of a server that is
// starting or failing over.
func isUnavailable(err error) bool {
	answer, ok := errors.AsType[redis.Error](err)
	if !ok {
		return true
	}
	for _, later := range []string{"LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN ", "READONLY "} {
		if strings.HasPrefix(answer.Error(), later) {
			return true
		}
	}
	return false
}

// checkServer waits for the server, refuses settings that lose grants, and warns of
// those that may. It asks every 200 ms until startTimeout is over, because the
// containers of a deployment start in any order.
func (s *Store) checkServer(ctx context.Context, log *slog.Logger) error {
	settings, err := s.info(ctx)
	for deadline := time.Now().Add(startTimeout); err != nil; settings, err = s.info(ctx) {
		switch {
		case redis.HasErrorPrefix(err, "NOPERM"):
			log.Warn("redis does not show its settings; it must be 6.2 or later, with maxmemory-policy noeviction and "+
				"appendonly yes", "error", err)
			return nil
		case !isUnavailable(err):
			return fmt.Errorf("redis store: %w", err)
		case time.Now().After(deadline), ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrAway, err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return checkSettings(settings, log)
}

// checkSettings refuses a server, or warns of it, by its INFO. A server that does not
// report its eviction policy, as some managed services do not, is accepted with a
// warning. So is one without appendonly: if it crashes it loses the changes of the
// last seconds, and with them tokens that devices already hold.
func checkSettings(info map[string]string, log *slog.Logger) error {
	if version := info["redis_version"]; olderThan(version, 6, 2) {
		return fmt.Errorf("redis store: this is version %s: want 6.2 or later", version)
	}
	switch policy := info["maxmemory_policy"]; policy {
	case "noeviction":
	case "":
		log.Warn("redis does not tell its maxmemory-policy: with another one than noeviction, signing keys " +
			"and grants are evicted when the memory is full")
	default:
		return fmt.Errorf("redis store: maxmemory-policy is %s, so that signing keys and grants are evicted when the "+
			"memory is full: want noeviction", policy)
	}
	if info["aof_enabled"] == "0" {
		log.Warn("redis may forget what devices were handed when it is restarted: set appendonly yes",
			"aof_enabled", "0")
	}
	return nil
}

// forbidden reports whether the server does not permit a command. Its ACL may deny
// INFO, which is in the category @dangerous, and some managed services do not have
// it.
func forbidden(err error) bool {
	answer, ok := errors.AsType[redis.Error](err)
	return ok && (strings.HasPrefix(answer.Error(), "NOPERM ") ||
		strings.HasPrefix(answer.Error(), "ERR unknown command"))
}

var errLoading = errors.New("it is still loading its data")

// info returns the fields of INFO. Where INFO is not permitted there are none, and
// PING shows whether the server responds. A server that is still loading its data
// responds to INFO, but to no other command yet.
func (s *Store) info(ctx context.Context) (map[string]string, error) {
	info, err := s.redis.Info(ctx).Result()
	if forbidden(err) {
		err = s.redis.Ping(ctx).Err()
	}
	if err != nil {
		return nil, err
	}
	settings := map[string]string{}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		settings[name] = value
	}
	if settings["loading"] == "1" {
		return nil, errLoading
	}
	return settings, nil
}
