package deviceclient

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/oauth2"
)

// A Folder keeps tokens between runs, a file for each thing that was asked
// for. A reader of a file has the token, so they are the user's alone.
// It is a path, made with mode 0700 where it does not exist. Each file has mode
// 0600; on Windows the directory of the user's configuration protects it.
type Folder string

// UserFolder is the folder in the user's configuration directory.
func UserFolder() (Folder, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("there is no folder to keep the token in: %w", err)
	}
	return Folder(filepath.Join(config, "caddy-device-login")), nil
}

// A purpose is what a token was asked for. The API's origin belongs to it: an
// API names its server itself, and one that names another one must not be
// handed the token that is kept for that one without asking the person.
type purpose struct {
	API      string `json:"api"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	Asked    string `json:"asked_scope,omitempty"` // in an order that means nothing (RFC 6749 §3.3), so sorted
	Audience string `json:"audience,omitempty"`
	Resource string `json:"resource,omitempty"` // of the API, where no audience was named
}

// purposeOf is what a token for these options is for. The scopes are sorted,
// and repeated ones dropped: their order has no meaning (RFC 6749 §3.3), and
// must not make a second token of the same access.
func purposeOf(s Server, o Options) purpose {
	scopes := slices.Compact(slices.Sorted(slices.Values(o.Scopes)))
	p := purpose{API: s.API, Issuer: s.Issuer, ClientID: o.ClientID, Asked: strings.Join(scopes, " "),
		Audience: o.Audience}
	if p.Audience == "" {
		p.Resource = s.Resource
	}
	return p
}

// name is a digest, since URLs make no file names.
func (p purpose) name() string {
	text, _ := json.Marshal(p) // of strings, so it cannot fail
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// A entry is one token's file, and held by one process at a time: two that
// refresh at once would present one refresh token twice, which looks like
// theft, and the later one to write would win over the good one.
type entry struct {
	purpose
	path string // for a person to read
	dir  *directory
	lock *os.File
	note func(format string, args ...any)
}

// open waits until no other process has the entry open, or ctx ends.
func (f Folder) open(ctx context.Context, s Server, o Options) (*entry, error) {
	p := &entry{purpose: purposeOf(s, o), note: o.note}
	p.path = filepath.Join(string(f), p.name())
	var err error
	if p.dir, err = openDirectory(string(f), p.note); err != nil {
		return nil, fmt.Errorf("the folder for tokens: %w", err)
	}
	if p.lock, err = lockFile(ctx, p.dir.Root, p.name()+".lock", p.note); err != nil {
		p.dir.close()
		return nil, fmt.Errorf("the lock of the folder for tokens: %w", err)
	}
	return p, nil
}

// close lets the next process in. The lock's file stays: deleting it would
// give two processes a lock each.
func (p *entry) close() {
	p.lock.Close()
	p.dir.close()
}

// A kept token, as it is written. The file is JSON, and says in itself what it
// is for: a file that was renamed or copied holds no token for another
// purpose.
type kept struct {
	purpose
	Token   *oauth2.Token `json:"token"`
	Scope   string        `json:"scope,omitempty"` // what was granted, where the server said so
	IDToken string        `json:"id_token,omitempty"`
}

// load returns nil where nothing is kept, or nothing that can be read, and
// refuses a file that is open to more than it may be. may has the permission
// bits that others may have on the file. A file that cannot be decoded counts
// as absent, and the next login overwrites it.
func (p *entry) load(may fs.FileMode) (*oauth2.Token, error) {
	text, err := p.dir.read(p.name(), may)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil || k.purpose != p.purpose || k.Token == nil ||
		k.Token.AccessToken == "" {
		p.note("%s holds no token that can be read, and counts as absent.", p.path)
		return nil, nil
	}
	return k.Token.WithExtra(map[string]any{"scope": k.Scope, "id_token": k.IDToken}), nil
}

// save writes the token to its file. The token is on the disk before save
// returns, see directory.write.
func (p *entry) save(t *oauth2.Token) error {
	text, err := json.MarshalIndent(kept{purpose: p.purpose, Token: t, Scope: extra(t, "scope"),
		IDToken: extra(t, "id_token")}, "", "  ")
	if err != nil {
		return err
	}
	if err := p.dir.write(p.name(), text); err != nil {
		return fmt.Errorf("keeping the token: %w", err)
	}
	return nil
}

// remove deletes the token's file. The new file of an interrupted write goes
// first, as it may hold a token as well.
func (p *entry) remove() error {
	return errors.Join(p.dir.delete(p.name()+".new", p.name()), p.dir.sync())
}

// extra is a member of the answer that the library has no field for.
func extra(t *oauth2.Token, name string) string {
	text, _ := t.Extra(name).(string)
	return text
}
