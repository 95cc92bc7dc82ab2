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

// A Folder stores tokens between runs, one file for each purpose. The files give
// access, so only the user may read them. A Folder is a path, which is created with
// mode 0700. Files have mode 0600; on Windows the directory of the user's
// configuration protects them.
type Folder string

// UserFolder returns the folder in the user's configuration directory.
func UserFolder() (Folder, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("there is no folder to keep the token in: %w", err)
	}
	return Folder(filepath.Join(config, "caddy-device-login")), nil
}

// A purpose identifies a stored token. It includes the API's origin, because an API
// names its server itself: an API that names another API's server must not get the
// token that is stored for that API without the person being asked.
type purpose struct {
	API      string `json:"api"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	Asked    string `json:"asked_scope,omitempty"` // sorted, because the order of scopes has no meaning (RFC 6749 §3.3)
	Audience string `json:"audience,omitempty"`
	Resource string `json:"resource,omitempty"` // of the API, if no audience was given
}

// purposeOf returns the purpose of a token for these options. Scopes are sorted and
// repeated ones removed, because their order has no meaning (RFC 6749 §3.3), and must
// not cause a second token for the same access.
func purposeOf(s Server, o Options) purpose {
	scopes := slices.Compact(slices.Sorted(slices.Values(o.Scopes)))
	p := purpose{API: s.API, Issuer: s.Issuer, ClientID: o.ClientID, Asked: strings.Join(scopes, " "),
		Audience: o.Audience}
	if p.Audience == "" {
		p.Resource = s.Resource
	}
	return p
}

// name returns a digest, since a URL cannot be a file name.
func (p purpose) name() string {
	text, _ := json.Marshal(p) // strings, so it cannot fail
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// An entry is the file of a token, which only one process may have open: two
// processes that refresh simultaneously would use the same refresh token twice, which
// looks like theft, and the later write could replace the valid token.
type entry struct {
	purpose
	path string // for messages
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

// close lets the next process open the entry. It does not delete the lock file,
// because then two processes could hold a lock.
func (p *entry) close() {
	p.lock.Close()
	p.dir.close()
}

// kept is the content of a token's file. It contains the purpose, so that a file that
// was renamed or copied is not used for another purpose.
type kept struct {
	purpose
	Token   *oauth2.Token `json:"token"`
	Scope   string        `json:"scope,omitempty"` // the granted scope, if the server sent it
	IDToken string        `json:"id_token,omitempty"`
}

// load returns the stored token, or nil if there is none or the file cannot be
// decoded; the next login then overwrites it. It refuses a file with more permissions
// than may, which are the bits that others may have.
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

// save writes the token to its file. The token is on disk when save returns, see
// directory.write.
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

// remove deletes the token's file, and before it the new file of an interrupted
// write, which may contain a token as well.
func (p *entry) remove() error {
	return errors.Join(p.dir.delete(p.name()+".new", p.name()), p.dir.sync())
}

// extra returns a member of the response for which the library has no field.
func extra(t *oauth2.Token, name string) string {
	text, _ := t.Extra(name).(string)
	return text
}
