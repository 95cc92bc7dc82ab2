package caddymodule

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// Legacy lets old API keys through beside tokens, until the operator takes the
// line away. Each use is counted by client, and the answer says that it is
// deprecated (RFC 9745).
type Legacy struct {
	// The header that holds the key.
	Header string `json:"header"`
	// The file with a client and its key on each line; the key may be written
	// as sha256: and its digest in hexadecimal. Lines that begin with # are
	// comments. It is read when the configuration is loaded.
	File string `json:"file"`
	// Since when keys are deprecated, as 2026-01-31. Default: the file's own time.
	Since string `json:"since,omitempty"`

	clients map[[sha256.Size]byte]string // by the key's digest
	since   time.Time
}

// read reads the file. A key is a credential: one that is short or there twice
// is a mistake.
func (l *Legacy) read() error {
	file, err := os.Open(l.File)
	if err != nil {
		return fmt.Errorf("legacy: %w", err)
	}
	defer file.Close()
	l.clients = map[[sha256.Size]byte]string{}
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		if err := l.line(lines.Text()); err != nil {
			return fmt.Errorf("legacy: %s:%d: %w", l.File, number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("legacy: %w", err)
	}
	return l.date(file)
}

const minLegacyKey = 8 // characters; what is shorter is found by trying

func (l *Legacy) line(text string) error {
	words := strings.Fields(text)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	if len(words) != 2 {
		return fmt.Errorf("want a client and its key")
	}
	digest := sha256.Sum256([]byte(words[1]))
	if hexed, hashed := strings.CutPrefix(words[1], "sha256:"); hashed {
		raw, err := hex.DecodeString(hexed)
		if err != nil || len(raw) != len(digest) {
			return fmt.Errorf("want sha256: and 64 hexadecimal digits")
		}
		copy(digest[:], raw)
	} else if len(words[1]) < minLegacyKey {
		return fmt.Errorf("the key of %s is shorter than %d characters", words[0], minLegacyKey)
	}
	if other, taken := l.clients[digest]; taken {
		return fmt.Errorf("%s and %s have the same key", other, words[0])
	}
	l.clients[digest] = words[0]
	return nil
}

func (l *Legacy) date(file *os.File) (err error) {
	if l.Since != "" {
		if l.since, err = time.Parse(time.DateOnly, l.Since); err != nil {
			return fmt.Errorf("legacy: %q: want a date such as 2026-01-31", l.Since)
		}
		return nil
	}
	about, err := file.Stat()
	if err != nil {
		return fmt.Errorf("legacy: %w", err)
	}
	l.since = about.ModTime()
	return nil
}

// admit reports whether a request without a token has a known key. The backend,
// which has known the key all along, still gets it.
func (l *Legacy) admit(sentry *httpapi.Sentry, who *visitor, w http.ResponseWriter, r *http.Request) bool {
	keys := r.Header.Values(l.Header)
	if len(keys) != 1 || len(r.Header.Values("Authorization")) > 0 && !strings.EqualFold(l.Header, "Authorization") {
		return false
	}
	client, known := l.clients[sha256.Sum256([]byte(keys[0]))]
	if !known {
		return false
	}
	decided(decisionLegacy)
	legacyUses.WithLabelValues(client).Inc()
	w.Header().Set("Deprecation", "@"+strconv.FormatInt(l.since.Unix(), 10))
	who.id = deviceauth.NewIdentity(&deviceauth.Person{}, &deviceauth.AccessClaims{ClientID: client})
	sentry.Identify(r, who.id)
	return true
}
