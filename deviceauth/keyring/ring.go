package keyring

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The schedule. A key is published before it signs, for as long as caches may
// keep the set without it, and for gateways to read the ring again; it is kept
// after its successor began for as long as a token may live.
const (
	rotateAfter = 90 * 24 * time.Hour
	publishFor  = 10 * time.Minute // the set says max-age=300, and a gateway looks every minute
	keepFor     = 25 * time.Hour   // no token lives longer than a day: deviceauth sees to that

	// MaintainEvery is how often [Keyring.Maintain] wants to be called.
	MaintainEvery = time.Minute
)

// secretSize suits AES-256 and HMAC-SHA-256.
const secretSize = 32

// A Purpose is what a shared secret is for. No secret has two.
type Purpose string

// The purposes of the shared secrets. A new one belongs into [Purposes] too.
const (
	PurposeRefresh  Purpose = "refresh"  // derives refresh tokens
	PurposeCookie   Purpose = "cookie"   // seals what browsers keep
	PurposeUpstream Purpose = "upstream" // seals refresh tokens of upstreams
)

// Purposes lists the purposes for which every ring has a secret.
func Purposes() []Purpose { return []Purpose{PurposeRefresh, PurposeCookie, PurposeUpstream} }

// ring is the stored form.
type ring struct {
	Keys    []storedKey        `json:"keys"`                    // in the order in which they sign
	IDKeys  []storedKey        `json:"id_token_keys,omitempty"` // the same, of RS256 alone, see [Keyring.IncludeRS256]
	Secrets map[Purpose][]byte `json:"secrets"`

	changed bool
}

type storedKey struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	Private   []byte    `json:"pkcs8"`
	From      time.Time `json:"from"` // signs from then on, until the next one does
}

// decodeRing reads the stored form; nothing stored is an empty ring.
func decodeRing(document []byte) (r ring, err error) {
	if document == nil {
		return r, nil
	}
	if err := json.Unmarshal(document, &r); err != nil {
		return r, fmt.Errorf("reading the keyring: %w", err)
	}
	return r, nil
}

// recover puts right what the store has lost since this gateway read it last, and
// returns what that was in words, or "". Keys and secrets that are not there come back
// as they were known. A ring with none of the known keys was begun anew by a gateway that
// knew of no other: what they sign with counts, and so do their secrets, which others
// have begun to use; the known keys go on verifying until their last token has ended.
func (r *ring) recover(known *ring, now time.Time) (loss string) {
	if len(r.IDKeys) == 0 && len(known.IDKeys) > 0 {
		r.IDKeys, r.changed = slices.Clone(known.IDKeys), true
	}
	if len(r.Keys) > 0 && !r.shares(known) {
		r.follow(known, now)
		return "the store has lost the signing keys, and another gateway made new ones; the secrets are its own now"
	}
	if r.recoverSecrets(known) {
		loss = "the store has lost the secrets that gateways share; they were written back"
	}
	if len(r.Keys) == 0 {
		r.Keys, r.changed = slices.Clone(known.Keys), true
		return "the store has lost the signing keys; they were written back"
	}
	if r.recoverNewest(known) {
		return "the store is as it was some time ago, and has lost signing keys that were begun since; they " +
			"were written back"
	}
	return loss
}

// follow puts the known keys before those of a ring that was begun anew, as long as a
// token of theirs may live.
func (r *ring) follow(known *ring, now time.Time) {
	began := r.Keys[0].From
	for _, k := range slices.Backward(known.Keys) {
		if k.From.Before(began) && began.Add(keepFor).After(now) {
			r.Keys, r.changed = slices.Insert(r.Keys, 0, k), true
		}
	}
}

// recoverSecrets brings back known secrets that are not there. One that is there
// counts, whatever was known.
func (r *ring) recoverSecrets(known *ring) (lost bool) {
	if r.Secrets == nil {
		r.Secrets = map[Purpose][]byte{}
	}
	for purpose, secret := range known.Secrets {
		if _, ok := r.Secrets[purpose]; !ok {
			r.Secrets[purpose], r.changed, lost = secret, true, true
		}
	}
	return lost
}

// recoverNewest brings back known keys that are newer than any that both have, as they
// are lost where a server comes back with what it had on its disk, or a replica takes
// over that was behind. Older ones may have been dropped, by a clock that is not ours.
func (r *ring) recoverNewest(known *ring) (lost bool) {
	newest := known.Keys
	for i, k := range known.Keys {
		if r.has(k.ID) {
			newest = known.Keys[i+1:]
		}
	}
	if len(newest) == 0 {
		return false
	}
	r.Keys, r.changed = append(r.Keys, newest...), true
	slices.SortStableFunc(r.Keys, func(a, b storedKey) int { return a.From.Compare(b.From) })
	return true
}

// maxAhead is how far in the future a key may begin: a few that were begun one after
// the other, and clocks that differ.
const maxAhead = time.Hour

// settle puts right keys that were begun by a clock that was ahead: they would sign
// on that day, and until then no other one could be begun. Where all keys are of a day
// to come it is rather our own clock that is behind, and what others see must stay.
func (r *ring) settle(now time.Time) {
	for _, keys := range [][]storedKey{r.Keys, r.IDKeys} {
		if len(keys) > 0 && !keys[0].From.After(now.Add(maxAhead)) {
			r.hastenKeys(keys, now)
		}
	}
}

// hasten has keys that were begun by a clock that was ahead sign as if begun now.
func (r *ring) hasten(now time.Time) {
	r.hastenKeys(r.Keys, now)
	r.hastenKeys(r.IDKeys, now)
}

func (r *ring) hastenKeys(keys []storedKey, now time.Time) {
	for i := range keys {
		if keys[i].From.After(now.Add(maxAhead)) {
			keys[i].From, r.changed = now.Add(publishFor), true
		}
	}
}

// shares reports whether two rings have a key in common.
func (r *ring) shares(other *ring) bool {
	return slices.ContainsFunc(other.Keys, func(k storedKey) bool { return r.has(k.ID) })
}

func (r *ring) has(id string) bool {
	return slices.ContainsFunc(r.Keys, func(k storedKey) bool { return k.ID == id })
}

// last returns the key that signs, or will.
func (r *ring) last() *storedKey {
	if len(r.Keys) == 0 {
		return nil
	}
	return &r.Keys[len(r.Keys)-1]
}

// add makes a key that signs when it has been published long enough.
func (r *ring) add(algorithm string, now time.Time) (err error) {
	r.Keys, err = beginKey(r.Keys, algorithm, now)
	r.changed = true
	return err
}

// beginKey adds a key to those of one purpose. The very first one signs at once:
// there is none that could do so meanwhile.
func beginKey(keys []storedKey, algorithm string, now time.Time) ([]storedKey, error) {
	k, err := newKey(algorithm)
	if err != nil {
		return keys, err
	}
	k.From = now
	if len(keys) > 0 {
		if last := keys[len(keys)-1]; last.From.After(now) {
			k.From = last.From // in its turn, so that the order stays one of time
		}
		k.From = k.From.Add(publishFor)
	}
	return append(keys, k), nil
}

// drop forgets keys whose last token has ended.
func (r *ring) drop(now time.Time) {
	for _, keys := range []*[]storedKey{&r.Keys, &r.IDKeys} {
		for len(*keys) > 1 && (*keys)[1].From.Add(keepFor).Before(now) {
			*keys, r.changed = (*keys)[1:], true
		}
	}
}

// addSecrets makes the secrets that are missing, say because a ring was begun
// before there was their purpose. One that is there and is none, being short or
// zero, is not replaced: what was sealed with it would be lost without a word.
func (r *ring) addSecrets() error {
	if r.Secrets == nil {
		r.Secrets = map[Purpose][]byte{}
	}
	for _, purpose := range Purposes() {
		secret, ok := r.Secrets[purpose]
		if !ok {
			secret, r.changed = make([]byte, secretSize), true
			rand.Read(secret)
			r.Secrets[purpose] = secret
		}
		if len(secret) != secretSize || bytes.Equal(secret, make([]byte, secretSize)) {
			return fmt.Errorf("the keyring's secret %q is damaged: want %d bytes, not all zero", purpose, secretSize)
		}
	}
	return nil
}

// ready parses the keys.
func (r *ring) ready() (*snapshot, error) {
	s := &snapshot{ring: *r, known: map[string]*key{}}
	if len(r.Keys) == 0 {
		return nil, errors.New("the keyring has no key")
	}
	var err error
	if s.keys, err = readyKeys(r.Keys); err != nil {
		return nil, err
	}
	if s.idKeys, err = readyKeys(r.IDKeys); err != nil {
		return nil, err
	}
	for _, keys := range [][]key{s.keys, s.idKeys} {
		for i := range keys {
			s.known[keys[i].id] = &keys[i]
		}
	}
	s.jwks, err = marshalSet(slices.Concat(s.keys, s.idKeys))
	return s, err
}

func readyKeys(list []storedKey) (keys []key, err error) {
	for _, stored := range list {
		private, err := x509.ParsePKCS8PrivateKey(stored.Private)
		if err != nil {
			return nil, fmt.Errorf("reading key %s: %w", stored.ID, err)
		}
		signer, ok := private.(crypto.Signer)
		method := jwt.GetSigningMethod(stored.Algorithm)
		if !ok || method == nil {
			return nil, fmt.Errorf("key %s: unknown algorithm %q", stored.ID, stored.Algorithm)
		}
		keys = append(keys, key{id: stored.ID, from: stored.From, method: method, private: signer})
	}
	return keys, nil
}
