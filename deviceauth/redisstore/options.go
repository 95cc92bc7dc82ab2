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

// Options say where the servers are. The zero value lacks an address, and
// Check says so.
type Options struct {
	// URLs such as redis://host:6379/0 or rediss://host for TLS. Several are
	// the nodes of a Cluster, or the Sentinels.
	URLs             []string
	Cluster          bool              // the nodes are a Cluster, also where one is named
	Sentinel         string            // the name of the master that Sentinels know; empty: there are none
	Username         string            // over the URL's
	Password         deviceauth.Secret // over the URL's
	SentinelUsername string            // of the Sentinels
	SentinelPassword deviceauth.Secret // of the Sentinels
	CA               string            // a file with the certificates to trust beside the system's; PEM
	Prefix           string            // of all keys; default device_login:
}

// prefix is what all keys begin with. Several issuers may share a server, each
// with a prefix of its own. In a Cluster the prefix should not contain {…}, or
// all keys would be in one slot.
func (o *Options) prefix() string {
	if o.Prefix == "" {
		return "device_login:"
	}
	return o.Prefix
}

// Check says what is wrong with the options, without a request. It reads the
// CA's file. No error contains a password.
func (o Options) Check() error {
	_, err := o.universal()
	return err
}

// Time-outs: a server that is alive answers in milliseconds, and a device or a
// person waits.
const (
	dialTimeout = 2 * time.Second
	ioTimeout   = 2 * time.Second
)

func (o *Options) universal() (*redis.UniversalOptions, error) {
	u := &redis.UniversalOptions{
		MasterName: o.Sentinel, IsClusterMode: o.Cluster, DialTimeout: dialTimeout, ReadTimeout: ioTimeout,
		WriteTimeout: ioTimeout,
		MaxRetries:   -1, // what was sent may have been done: only we know how to ask
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
		// User, password, database and TLS of the last URL count for all: a
		// Cluster and its Sentinels have one configuration.
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
		u.TLSConfig, err = trusting(u.TLSConfig, o.CA)
	}
	if u.TLSConfig != nil {
		u.Dialer = dialTLS(u.TLSConfig)
	}
	return u, err
}

// trusting adds certificates to those that are trusted. The system's
// certificates stay trusted. The file may hold several.
func trusting(c *tls.Config, file string) (*tls.Config, error) {
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

// hidePassword takes the user info out of an address. An address that cannot
// be parsed may still contain a password before its last @.
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
	return redis.NewUniversalClient(u), nil
}

// older compares a server's version. A version that cannot be read is not old:
// compatible servers have their own numbers.
func older(version string, major, minor int) bool {
	var a, b int
	n, _ := fmt.Sscanf(version, "%d.%d", &a, &b)
	return n == 2 && (a < major || a == major && b < minor)
}

// startTimeout is how long Open waits for a server that starts beside us. It takes
// a dial's time-out longer where the server does not even refuse.
const startTimeout = time.Second

// ErrAway is in what Open returns where no server answers, or none that has read its
// data: it may be there later.
var ErrAway = errors.New("redis store: the server does not answer")

// isAway reports whether an error means that there was no answer, or one that says to come later.
// Any error that is not the server's own counts, such as a refused connection
// or a time-out; and among the server's, those of a start or a failover.
func isAway(err error) bool {
	answer, ok := errors.AsType[redis.Error](err)
	if !ok {
		return true
	}
	for _, later := range []string{"LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN "} {
		if strings.HasPrefix(answer.Error(), later) {
			return true
		}
	}
	return false
}

// checkServer waits for the server, and refuses settings that lose grants, or warns of them. It
// also warns of a setting that the server does not show, as some managed services do not.
// It asks every 200 ms until startTimeout is over, because the containers of a deployment
// start in any order.
func (s *Store) checkServer(ctx context.Context, log *slog.Logger) error {
	settings, err := s.info(ctx)
	for deadline := time.Now().Add(startTimeout); err != nil; settings, err = s.info(ctx) {
		switch {
		case redis.HasErrorPrefix(err, "NOPERM"):
			log.Warn("redis tells nobody its settings; it must be 6.2 or later, with maxmemory-policy noeviction and "+
				"appendonly yes", "error", err)
			return nil
		case !isAway(err):
			return fmt.Errorf("redis store: %w", err)
		case time.Now().After(deadline), ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrAway, err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return judge(settings, log)
}

// judge refuses a server by its INFO, or warns of it. A server that does not show its eviction
// policy, as some managed services do not, is accepted with a warning. So is one without
// appendonly: a crash of the server then loses the changes of the last seconds, and with them
// tokens that devices already hold.
func judge(info map[string]string, log *slog.Logger) error {
	if version := info["redis_version"]; older(version, 6, 2) {
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

// forbidden reports whether the server does not permit a command: ACLs count INFO among the
// dangerous ones, and some managed services do not have it.
func forbidden(err error) bool {
	answer, ok := errors.AsType[redis.Error](err)
	return ok && (strings.HasPrefix(answer.Error(), "NOPERM ") ||
		strings.HasPrefix(answer.Error(), "ERR unknown command"))
}

var errLoading = errors.New("it reads its data")

// info returns the fields of INFO; none where INFO is not permitted, and then PING shows
// whether the server answers. A server that is still loading its data answers INFO, but no
// other command yet.
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
