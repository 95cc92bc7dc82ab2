package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/keyfile"
)

// Legacy accepts old API keys besides tokens, during a migration. Each use is counted
// by client; with a date the response says that the key is deprecated (RFC 9745).
type Legacy struct {
	// The header that holds the key.
	Header string `json:"header"`
	// The file with a client and its key on each line; the key may be written as
	// sha256: and its digest in hexadecimal. If scopes follow, the key is only valid
	// for guards that require no others. Lines that begin with # are comments. A
	// change of the file takes effect within two seconds; if the file is missing or
	// cannot be read, the previous keys stay valid.
	File string `json:"file"`
	// The date since when keys are deprecated, as 2026-01-31, for the response
	// header. Default: they are not, as for machines that have no alternative yet.
	Since string `json:"since,omitempty"`

	keys  *keyfile.File
	since time.Time // as a time; zero: keys are not deprecated
}

// check validates the options without reading the file, because the Caddyfile may be
// validated on another machine.
func (l *Legacy) check() error {
	if l.Header == "" || l.File == "" {
		return errors.New("legacy: want the name of a header and a file")
	}
	if !identityHeader.MatchString(l.Header) {
		return fmt.Errorf("legacy %q: want the name of a header, such as X-Api-Key", l.Header)
	}
	if l.Since == "" {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, l.Since); err != nil {
		return fmt.Errorf("legacy: %q: want a date such as 2026-01-31", l.Since)
	}
	return nil
}

// open reads the file for the first time, and creates each client's counter at 0. An
// error here fails the configuration; after later errors the previous keys stay valid: a
// typing error in one line must not lock out all machines.
func (l *Legacy) open(log *zap.Logger) error {
	err := l.check()
	if err != nil {
		return err
	}
	if l.Since != "" {
		l.since, _ = time.Parse(time.DateOnly, l.Since) // check has parsed it
	}
	l.keys, err = keyfile.Open(keyfile.Options{
		Path: l.File, CheckScopes: checkScopes,
		Client: func(name string) { legacyUses.WithLabelValues(name) },
		Hexadecimal: func(clients []string) {
			log.Warn("old API keys: a key of 64 hexadecimal digits is taken as the key itself; "+
				"if it is a digest, write sha256: before it",
				zap.String("file", l.File), zap.Strings("clients", clients))
		},
		Failed: func(err error) {
			log.Error("old API keys: the file cannot be read, and those of before go on", zap.Error(err))
		},
	})
	if err != nil {
		return fmt.Errorf("legacy: %w", err)
	}
	return nil
}

// admit returns the identity of the client whose key a request has, or nil. tokens is
// the name of the header that has tokens: a request that also has that header is
// decided by its token alone. The key stays on the request, since the backend has
// always received it.
func (l *Legacy) admit(w http.ResponseWriter, r *http.Request, tokens string) *deviceauth.Identity {
	values := r.Header.Values(l.Header)
	if len(values) != 1 || len(r.Header.Values(tokens)) > 0 && !strings.EqualFold(l.Header, tokens) {
		return nil
	}
	client := l.keys.Client(values[0])
	if client == nil {
		if !strings.EqualFold(l.Header, tokens) { // else it may be a token
			countDecision(decisionBadKey)
		}
		return nil
	}
	if !l.since.IsZero() {
		w.Header().Set("Deprecation", "@"+strconv.FormatInt(l.since.Unix(), 10))
	}
	return client
}
