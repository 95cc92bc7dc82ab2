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
// for. Whoever can read a file has the token, so they are the user's alone.
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
// API names its server itself, and one that names somebody else's must not be
// handed the token that is kept for theirs, with nobody asked.
type purpose struct {
	API      string `json:"api"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	Asked    string `json:"asked_scope,omitempty"` // in an order that means nothing (RFC 6749 §3.3), so sorted
	Audience string `json:"audience,omitempty"`
	Resource string `json:"resource,omitempty"` // of the API, where no audience was named
}

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

// A place is one token's file, and held by one process at a time: two that
// refresh at once would present one refresh token twice, which looks like
// theft, and the later one to write would win over the good one.
type place struct {
	purpose
	path string // for a person to read
	room *room
	lock *os.File
	note func(format string, args ...any)
}

func (f Folder) open(ctx context.Context, s Server, o Options) (*place, error) {
	p := &place{purpose: purposeOf(s, o), note: o.note}
	p.path = filepath.Join(string(f), p.name())
	var err error
	if p.room, err = enter(string(f), p.note); err != nil {
		return nil, fmt.Errorf("the folder for tokens: %w", err)
	}
	if p.lock, err = hold(ctx, p.room.Root, p.name()+".lock", p.note); err != nil {
		p.room.close()
		return nil, fmt.Errorf("the lock of the folder for tokens: %w", err)
	}
	return p, nil
}

// close lets the next process in. The lock's file stays: deleting it would
// give two processes a lock each.
func (p *place) close() {
	p.lock.Close()
	p.room.close()
}

// A kept token, as it is written.
type kept struct {
	purpose
	Token   *oauth2.Token `json:"token"`
	Scope   string        `json:"scope,omitempty"` // what was granted, where the server said so
	IDToken string        `json:"id_token,omitempty"`
}

// load returns nil where nothing is kept, or nothing that can be read, and
// refuses a file that is open to more than it may be.
func (p *place) load(may fs.FileMode) (*oauth2.Token, error) {
	text, err := p.room.read(p.name(), may)
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

func (p *place) save(t *oauth2.Token) error {
	text, err := json.MarshalIndent(kept{purpose: p.purpose, Token: t, Scope: extra(t, "scope"),
		IDToken: extra(t, "id_token")}, "", "  ")
	if err != nil {
		return err
	}
	if err := p.room.write(p.name(), text); err != nil {
		return fmt.Errorf("keeping the token: %w", err)
	}
	return nil
}

func (p *place) remove() error {
	return errors.Join(p.room.delete(p.name()+".new", p.name()), p.room.settle())
}

// extra is a member of the answer that the library has no field for.
func extra(t *oauth2.Token, name string) string {
	text, _ := t.Extra(name).(string)
	return text
}
