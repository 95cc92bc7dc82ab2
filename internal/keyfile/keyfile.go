// Package keyfile reads a file of API keys that were issued before there were tokens, and
// reads it again when it changes. It decides which lines are valid, and from when on a
// change is in effect; what a request with a key may do is decided by its caller, the
// guard of caddymodule.
package keyfile

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A File has the clients of a file by their keys. It is safe for concurrent use.
type File struct {
	options Options
	keys    atomic.Pointer[keys]
	checked atomic.Int64 // when the file was last checked, in nanoseconds
}

// Options are what Open needs. All but Failed are required.
type Options struct {
	// The file with a client and its key on each line; the key may be written as
	// sha256: and its digest in hexadecimal. Scopes may follow. Lines that begin with #
	// are comments.
	Path string
	// Checks the scopes of a line.
	CheckScopes func([]string) error
	// Is called with the name of each client, whenever the file was read.
	Client func(name string)
	// Is called with the clients whose key is 64 hexadecimal digits, when there are
	// others than before. A key may be; but so is a digest that sha256: is missing
	// before, and that would then be the key itself.
	Hexadecimal func(clients []string)
	// Is called when the file cannot be read after Open. Default: nothing is called, and
	// the previous keys stay valid in any case.
	Failed func(error)
}

// keys are the keys of one version of the file.
type keys struct {
	clients     map[[sha256.Size]byte]*deviceauth.Identity // by the key's digest
	file        os.FileInfo
	read        time.Time
	hexadecimal []string // see Options
}

// matches reports whether the file is unchanged: same file, time and size. After a
// minute it is read again in any case, because a tool that writes the file may set
// its time back.
func (k *keys) matches(file os.FileInfo) bool {
	unchanged := os.SameFile(k.file, file) && file.ModTime().Equal(k.file.ModTime()) && file.Size() == k.file.Size()
	return unchanged && time.Since(k.read) < time.Minute
}

// Open reads the file for the first time.
func Open(options Options) (*File, error) {
	f := &File{options: options}
	keys, err := f.read()
	if err != nil {
		return nil, err
	}
	f.use(keys)
	return f, nil
}

// Clients returns the clients of the file, as it was last read.
func (f *File) Clients() (clients []*deviceauth.Identity) {
	for _, client := range f.keys.Load().clients {
		clients = append(clients, client)
	}
	return clients
}

// Client returns the client of a key, or nil if the file does not have the key.
func (f *File) Client(key string) *deviceauth.Identity {
	return f.current().clients[sha256.Sum256([]byte(key))]
}

// reloadInterval is how often the file is checked for a change, and the age of a change
// before it is read, because it may still be being written. So a key that was removed is
// accepted for at most twice that time.
const reloadInterval = time.Second

// current returns the current keys. If the file cannot be read the previous keys stay
// valid: a typing error in one line must not lock out all machines. Of simultaneous
// requests only one reads the file.
func (f *File) current() *keys {
	known, now, checked := f.keys.Load(), time.Now().UnixNano(), f.checked.Load()
	if now-checked < int64(reloadInterval) || !f.checked.CompareAndSwap(checked, now) {
		return known
	}
	info, err := os.Stat(f.options.Path)
	if err == nil && (known.matches(info) || time.Since(info.ModTime()) < reloadInterval) {
		return known
	}
	keys, err := f.read()
	if err != nil {
		if f.options.Failed != nil {
			f.options.Failed(err)
		}
		return known
	}
	f.use(keys)
	return keys
}

// use makes the keys the current ones. The file is read again every minute, also if
// nothing has changed.
func (f *File) use(keys *keys) {
	for _, client := range keys.clients {
		f.options.Client(client.ClientID)
	}
	before := f.keys.Load()
	if len(keys.hexadecimal) > 0 && (before == nil || !slices.Equal(before.hexadecimal, keys.hexadecimal)) {
		f.options.Hexadecimal(keys.hexadecimal)
	}
	f.keys.Store(keys)
}

// read reads the file. A key is a credential, so a line with a short key or with
// another client's key makes the whole file invalid.
func (f *File) read() (*keys, error) {
	path := f.options.Path
	// Only a regular file: opening a named pipe would block until it has a writer.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: want a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	keys := &keys{clients: map[[sha256.Size]byte]*deviceauth.Identity{}, file: info, read: time.Now()}
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		if number == 1 {
			line = strings.TrimPrefix(line, byteOrderMark) // written by some editors
		}
		if err := keys.addLine(line, f.options.CheckScopes); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
	}
	return keys, lines.Err()
}

// minKey is the minimum length of a key in characters. It only excludes what
// cannot be a key: existing keys cannot be changed, and whether one can be guessed
// depends on its length. The metric's decision unknown_key shows attempts.
const minKey = 8

// addLine adds the client of a line of the file: its name, its key or the key's
// digest, and scopes. Empty lines and comments add nothing.
func (k *keys) addLine(line string, checkScopes func([]string) error) error {
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
	if isDigest(words[0]) && len(words[1]) < minKey { // the whole output of sha256sum
		return fmt.Errorf("it begins with a digest: want <client> sha256:<digest>, and maybe scopes")
	}
	digest := sha256.Sum256([]byte(words[1]))
	if hexed, hashed := strings.CutPrefix(words[1], "sha256:"); hashed {
		raw, err := hex.DecodeString(hexed)
		if err != nil || len(raw) != len(digest) {
			return fmt.Errorf("want sha256: and 64 hexadecimal digits")
		}
		copy(digest[:], raw)
	} else if len(words[1]) < minKey {
		return fmt.Errorf("the key of %s is shorter than %d characters", words[0], minKey)
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
