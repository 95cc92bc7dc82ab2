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

// The schedule. A key is published before it signs, for as long as caches may have a
// set without it, and until other gateways have read the ring. It is kept after its
// successor began to sign for as long as a token can be valid.
const (
	rotateAfter = 90 * 24 * time.Hour
	publishFor  = 10 * time.Minute // the set has max-age=300, and gateways read the ring every minute
	keepFor     = 25 * time.Hour   // package deviceauth limits the lifetime of tokens to a day

	// MaintainEvery is how often [Keyring.Maintain] must be called.
	MaintainEvery = time.Minute
)

// secretSize is suitable for AES-256 and HMAC-SHA-256.
const secretSize = 32

// A Purpose is the use of a shared secret. No secret has two.
type Purpose string

// The purposes of the shared secrets. A new one must be added to [Purposes], too.
const (
	PurposeRefresh  Purpose = "refresh"  // derives refresh tokens
	PurposeCookie   Purpose = "cookie"   // encrypts cookies
	PurposeUpstream Purpose = "upstream" // encrypts refresh tokens of upstreams
)

// Purposes returns the purposes for which every ring has a secret.
func Purposes() []Purpose { return []Purpose{PurposeRefresh, PurposeCookie, PurposeUpstream} }

// ring is the stored document.
type ring struct {
	Keys    []storedKey        `json:"keys"`                    // in the order in which they sign
	IDKeys  []storedKey        `json:"id_token_keys,omitempty"` // the same for RS256, see [Keyring.IncludeRS256]
	Secrets map[Purpose][]byte `json:"secrets"`

	changed bool
}

type storedKey struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	Private   []byte    `json:"pkcs8"`
	From      time.Time `json:"from"` // signs from this time until the next key does
}

// decodeRing decodes the stored document; a nil document is an empty ring.
func decodeRing(document []byte) (r ring, err error) {
	if document == nil {
		return r, nil
	}
	if err := json.Unmarshal(document, &r); err != nil {
		return r, fmt.Errorf("reading the keyring: %w", err)
	}
	return r, nil
}

// recover repairs what the store has lost since this gateway last read it, and
// returns a description of the loss, or "". It restores missing keys and secrets from
// known. A ring with none of the known keys was created by a gateway that did not
// know them: then the keys and secrets of that ring are used, since other gateways
// may have begun to use them, and the known keys are kept until their last token has
// expired.
func (r *ring) recover(known *ring, now time.Time) (loss string) {
	if len(r.IDKeys) == 0 && len(known.IDKeys) > 0 {
		r.IDKeys, r.changed = slices.Clone(known.IDKeys), true
	}
	if len(r.Keys) > 0 && !r.shares(known) {
		r.follow(known, now)
		return "the store has lost the signing keys, and another gateway made new ones; its secrets are used now"
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

// follow inserts the known keys before those of a new ring, for as long as one of
// their tokens can be valid.
func (r *ring) follow(known *ring, now time.Time) {
	began := r.Keys[0].From
	for _, k := range slices.Backward(known.Keys) {
		if k.From.Before(began) && began.Add(keepFor).After(now) {
			r.Keys, r.changed = slices.Insert(r.Keys, 0, k), true
		}
	}
}

// recoverSecrets restores known secrets that are missing. It does not replace an
// existing one.
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

// recoverNewest restores known keys that are newer than the newest common one. They
// are lost if a server restarts with older data from its disk, or if a replica takes
// over that lagged behind. Older keys may have been dropped intentionally, with
// another clock.
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

// maxAhead is how far in the future a key may begin to sign: a few keys that were
// created one after the other, and clock differences.
const maxAhead = time.Hour

// settle corrects keys that were created with a clock that was ahead: they would sign
// only at that time, and until then no other key could be created. If all keys are in
// the future it is rather our own clock that is behind, and the keys must not be
// changed.
func (r *ring) settle(now time.Time) {
	for _, keys := range [][]storedKey{r.Keys, r.IDKeys} {
		if len(keys) > 0 && !keys[0].From.After(now.Add(maxAhead)) {
			r.hastenKeys(keys, now)
		}
	}
}

// hasten makes keys that were created with a clock that was ahead sign as if they
// were created now.
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

// last returns the key that signs last: the current or the next one.
func (r *ring) last() *storedKey {
	if len(r.Keys) == 0 {
		return nil
	}
	return &r.Keys[len(r.Keys)-1]
}

// waiting returns the number of keys that do not sign yet.
func (r *ring) waiting(now time.Time) (n int) {
	for _, k := range r.Keys {
		if k.From.After(now) {
			n++
		}
	}
	return n
}

// add creates a key that signs after it has been published long enough.
func (r *ring) add(algorithm string, now time.Time) (err error) {
	r.Keys, err = beginKey(r.Keys, algorithm, now)
	r.changed = true
	return err
}

// beginKey appends a new key to a list. The very first one signs immediately, because
// there is no other.
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

// drop removes keys whose last token has expired.
func (r *ring) drop(now time.Time) {
	for _, keys := range []*[]storedKey{&r.Keys, &r.IDKeys} {
		for len(*keys) > 1 && (*keys)[1].From.Add(keepFor).Before(now) {
			*keys, r.changed = (*keys)[1:], true
		}
	}
}

// addSecrets creates missing secrets, for example for a purpose that is newer than
// the ring. An invalid secret, too short or all zeros, is an error and is not
// replaced: data that were encrypted with it would silently become unreadable.
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
