package caddymodule

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
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

	log     *zap.Logger
	keys    atomic.Pointer[legacyKeys]
	checked atomic.Int64 // when the file was last checked, in nanoseconds
}

// legacyKeys are the keys of one version of the file.
type legacyKeys struct {
	clients map[[sha256.Size]byte]*deviceauth.Identity // by the key's digest
	since   time.Time
	file    os.FileInfo
	read    time.Time

	// Clients whose key is 64 hexadecimal digits. A key may be; but so is a digest
	// that sha256: is missing before, and that would then be the key itself.
	hexadecimal []string
}

// matches reports whether the file is unchanged: same file, time and size. After a
// minute it is read again in any case, because a tool that writes the file may set
// its time back.
func (k *legacyKeys) matches(file os.FileInfo) bool {
	unchanged := os.SameFile(k.file, file) && file.ModTime().Equal(k.file.ModTime()) && file.Size() == k.file.Size()
	return unchanged && time.Since(k.read) < time.Minute
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

// open reads the file for the first time. An error here fails the configuration;
// after later errors the previous keys stay valid.
func (l *Legacy) open(log *zap.Logger) error {
	if err := l.check(); err != nil {
		return err
	}
	keys, err := l.read()
	if err != nil {
		return fmt.Errorf("legacy: %w", err)
	}
	l.log = log
	l.use(keys)
	return nil
}

// legacyReloadInterval is how often the file is checked for a change, and the age of
// a change before it is read, because it may still be being written. So a key that
// was removed is accepted for at most twice that time.
const legacyReloadInterval = time.Second

// current returns the current keys. If the file cannot be read the previous keys stay
// valid: a typing error in one line must not lock out all machines. Of simultaneous
// requests only one reads the file.
func (l *Legacy) current() *legacyKeys {
	known, now, checked := l.keys.Load(), time.Now().UnixNano(), l.checked.Load()
	if now-checked < int64(legacyReloadInterval) || !l.checked.CompareAndSwap(checked, now) {
		return known
	}
	info, err := os.Stat(l.File)
	if err == nil && (known.matches(info) || time.Since(info.ModTime()) < legacyReloadInterval) {
		return known
	}
	keys, err := l.read()
	if err != nil {
		l.log.Error("old API keys: the file cannot be read, and those of before go on", zap.Error(err))
		return known
	}
	l.use(keys)
	return keys
}

// use makes the keys the current ones, and creates each client's counter at 0.
func (l *Legacy) use(keys *legacyKeys) {
	for _, client := range keys.clients {
		legacyUses.WithLabelValues(client.ClientID)
	}
	// The file is read again every minute, also if nothing has changed.
	if before := l.keys.Load(); len(keys.hexadecimal) > 0 &&
		(before == nil || !slices.Equal(before.hexadecimal, keys.hexadecimal)) {
		l.log.Warn("old API keys: a key of 64 hexadecimal digits is taken as the key itself; "+
			"if it is a digest, write sha256: before it",
			zap.String("file", l.File), zap.Strings("clients", keys.hexadecimal))
	}
	l.keys.Store(keys)
}

// read reads the file. A key is a credential, so a line with a short key or with
// another client's key makes the whole file invalid.
func (l *Legacy) read() (*legacyKeys, error) {
	// Only a regular file: opening a named pipe would block until it has a writer.
	if info, err := os.Stat(l.File); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: want a regular file", l.File)
	}
	file, err := os.Open(l.File)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	keys := &legacyKeys{clients: map[[sha256.Size]byte]*deviceauth.Identity{}, file: info, read: time.Now()}
	if l.Since != "" {
		if keys.since, err = time.Parse(time.DateOnly, l.Since); err != nil {
			return nil, fmt.Errorf("%q: want a date such as 2026-01-31", l.Since)
		}
	}
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if number == 1 {
			line = strings.TrimPrefix(line, byteOrderMark) // written by some editors
		}
		if err := keys.addLine(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", l.File, number, err)
		}
	}
	return keys, lines.Err()
}

// minLegacyKey is the minimum length of a key in characters. It only excludes what
// cannot be a key: existing keys cannot be changed, and whether one can be guessed
// depends on its length. The metric's decision unknown_key shows attempts.
const minLegacyKey = 8

// addLine adds the client of a line of the file: its name, its key or the key's
// digest, and scopes. Empty lines and comments add nothing.
func (k *legacyKeys) addLine(line string) error {
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	if len(words) < 2 {
		return fmt.Errorf("want a client and its key, and maybe scopes")
	}
	isComment := func(word string) bool { return strings.HasPrefix(word, "#") }
	if i := slices.IndexFunc(words[2:], isComment); i >= 0 {
		words = words[:2+i]
	}
	if !text.IsPrintable(words[0]) { // it becomes a header
		return fmt.Errorf("client %q: want a name of printable ASCII", words[0])
	}
	if err := checkScopes(words[2:]); err != nil {
		return err
	}
	if isDigest(words[0]) && len(words[1]) < minLegacyKey { // the whole output of sha256sum
		return fmt.Errorf("it begins with a digest: want <client> sha256:<digest>, and maybe scopes")
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
	} else if isDigest(words[1]) {
		k.hexadecimal = append(k.hexadecimal, words[0])
	}
	if other, taken := k.clients[digest]; taken {
		return fmt.Errorf("%s and %s have the same key", other.ClientID, words[0])
	}
	k.clients[digest] = deviceauth.NewIdentity(&deviceauth.Person{}, &deviceauth.AccessClaims{
		ClientID: words[0], Scope: deviceauth.NewScope(words[2:]...),
	})
	return nil
}

// isDigest reports whether a word is written as sha256sum writes a digest: 64 hexadecimal
// digits and nothing before them.
func isDigest(word string) bool {
	raw, err := hex.DecodeString(word)
	return err == nil && len(raw) == sha256.Size
}

// byteOrderMark is U+FEFF in UTF-8.
const byteOrderMark = "\ufeff"

// admit returns the identity of the client whose key a request has, or nil. tokens is
// the name of the header that has tokens: a request that also has that header is
// decided by its token alone. The key stays on the request, since the backend has
// always received it.
func (l *Legacy) admit(w http.ResponseWriter, r *http.Request, tokens string) *deviceauth.Identity {
	values := r.Header.Values(l.Header)
	if len(values) != 1 || len(r.Header.Values(tokens)) > 0 && !strings.EqualFold(l.Header, tokens) {
		return nil
	}
	keys := l.current()
	client := keys.clients[sha256.Sum256([]byte(values[0]))]
	if client == nil {
		if !strings.EqualFold(l.Header, tokens) { // else it may be a token
			countDecision(decisionBadKey)
		}
		return nil
	}
	if !keys.since.IsZero() {
		w.Header().Set("Deprecation", "@"+strconv.FormatInt(keys.since.Unix(), 10))
	}
	return client
}
