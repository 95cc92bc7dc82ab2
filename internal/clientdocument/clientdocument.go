// Package clientdocument gets client metadata documents
// (draft-ietf-oauth-client-id-metadata-document §4): JSON at an https URL that a client
// names as its client_id. Anybody can have a server ask for one, so it asks public
// addresses alone, briefly, for little, and keeps what it got. What a document says, and
// which hosts may have one, package deviceauth decides.
package clientdocument

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The bounds of one document.
const (
	timeout      = 3 * time.Second
	maxDocument  = 5 << 10 // bytes
	minKept      = 5 * time.Minute
	maxKept      = 24 * time.Hour
	failureKept  = time.Minute
	maxDocuments = 1000 // that are kept
	maxFetches   = 20   // that are under way
)

// A Fetcher gets documents and keeps them. Requests for a document that is being fetched
// wait for that.
type Fetcher struct {
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	kept     map[string]*entry
	fetching int
}

// An entry is a document, or why there is none.
type entry struct {
	done     chan struct{} // closed when the rest is there
	document []byte
	err      error
	until    time.Time // when it is fetched anew
}

// New returns a Fetcher that trusts the system's certificates, or roots. With loopback it
// asks this machine too, for a server that is on it itself.
func New(roots *x509.CertPool, loopback bool) *Fetcher {
	return &Fetcher{client: newClient(roots, loopback), now: time.Now, kept: map[string]*entry{}}
}

// Fetch returns the document at an https URL. Its errors say what is wrong in words for
// whoever made the client.
func (f *Fetcher) Fetch(ctx context.Context, url string) ([]byte, error) {
	e, ours := f.claim(url)
	if e == nil {
		return nil, errors.New("too many documents are being fetched: try again later")
	}
	if ours {
		f.fill(context.WithoutCancel(ctx), url, e) // others wait for it, too
	}
	select {
	case <-e.done:
		return e.document, e.err
	case <-ctx.Done():
		return nil, errors.New("it was not waited for")
	}
}

// claim returns what is known of a document; nil: too many are being fetched. ours:
// nothing is known, and the caller is to fill it in.
func (f *Fetcher) claim(url string) (e *entry, ours bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.kept[url]; e != nil && (!e.over() || f.now().Before(e.until)) {
		return e, false
	}
	// Each fetch holds a request open for seconds, and costs somebody else one.
	if f.fetching >= maxFetches {
		return nil, false
	}
	if len(f.kept) >= maxDocuments {
		f.sweep()
	}
	f.fetching++
	e = &entry{done: make(chan struct{})}
	f.kept[url] = e
	return e, true
}

// over reports whether the fetch has ended.
func (e *entry) over() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// sweep makes room: what is to be fetched anew goes, and where that is nothing, all that
// is not under way.
func (f *Fetcher) sweep() {
	before := len(f.kept)
	// Those that are over anyway first, and only where there are none the good ones.
	for _, all := range []bool{false, true} {
		for url, e := range f.kept {
			if e.over() && (all || !f.now().Before(e.until)) {
				delete(f.kept, url)
			}
		}
		if len(f.kept) < before {
			return
		}
	}
}

// fill fetches a document.
func (f *Fetcher) fill(ctx context.Context, url string, e *entry) {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.fetching--
		close(e.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	document, kept, err := f.get(ctx, url)
	// A failure is kept for a minute too: else each request of a client that cannot be
	// used would be one to its server.
	if err != nil {
		e.err, e.until = err, f.now().Add(failureKept)
		return
	}
	e.document, e.until = document, f.now().Add(kept)
}

// get asks for a document, and returns how long it may be kept.
func (f *Fetcher) get(ctx context.Context, url string) (document []byte, kept time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, errors.New("it is no URL")
	}
	r.Header.Set("Accept", "application/json")
	answer, err := f.client.Do(r)
	if err != nil {
		return nil, 0, plain(err)
	}
	defer answer.Body.Close()
	// The draft wants JSON, and that the server says so: a document of another kind may be
	// what somebody uploaded to a site of many.
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode != http.StatusOK: // a redirect, too: it would lead where nobody looked
		return nil, 0, fmt.Errorf("its server answers with status %d: want 200", answer.StatusCode)
	case err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		return nil, 0, errors.New("it has another Content-Type: want application/json")
	}
	// One byte more than is taken tells a document that is too large from one that fits.
	document, err = io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, 0, plain(err)
	case len(document) > maxDocument:
		return nil, 0, fmt.Errorf("it is larger than %d bytes", maxDocument)
	}
	return document, keptFor(answer.Header.Get("Cache-Control")), nil
}

// plain says why a document was not got, without the addresses that were tried: whoever
// asks may be after those.
func plain(err error) error {
	var refused *forbiddenError
	switch {
	case errors.As(err, &refused):
		return errors.New("its host has no public address")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("its server did not answer within %v", timeout)
	}
	return errors.New("its server cannot be reached")
}

// keptFor is how long a document is kept: what Cache-Control says (RFC 9111 §5.2.2), within
// bounds.
func keptFor(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		// A number that does not fit is as good as none: the shortest time.
		if seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil &&
			strings.EqualFold(name, "max-age") {
			return min(max(time.Duration(seconds)*time.Second, minKept), maxKept)
		}
	}
	return minKept
}
