// Package clientdocument gets client metadata documents
// (draft-ietf-oauth-client-id-metadata-document §4): JSON at an https URL that a client
// names as its client_id. Any client can have a server ask for one, so it asks public
// addresses alone, briefly, for little, and keeps what it got. What a document says, and
// which hosts may have one, package deviceauth decides.
package clientdocument

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
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
	maxOfHost    = 60   // fetches of one host in a minute
)

// A WrongError says what is wrong with a document, so that asking again is no use. Any
// other error of a [Fetcher] may pass.
type WrongError struct{ Reason string }

func (e *WrongError) Error() string { return e.Reason }

func wrong(format string, args ...any) error {
	return &WrongError{Reason: fmt.Sprintf(format, args...)}
}

// A Fetcher gets documents and keeps them. Requests for a document that is being fetched
// wait for that.
type Fetcher struct {
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	kept     map[string]*entry
	fetching int
	minute   time.Time      // since when fetches are counted
	ofHost   map[string]int // fetches since then
}

// An entry is a document, or why there is none.
type entry struct {
	done     chan struct{} // closed when the rest is there
	document []byte
	err      error
	until    time.Time // when it is fetched anew
	good     time.Time // until when the document is good enough, where it cannot be fetched
}

// New returns a Fetcher that trusts the system's certificates, or roots. With loopback it
// asks this machine too, for a server that is on it itself.
func New(roots *x509.CertPool, loopback bool) *Fetcher {
	return &Fetcher{client: newClient(roots, loopback), now: time.Now, kept: map[string]*entry{}}
}

// Fetch returns the document at an https URL. Its errors say what is wrong in words for
// whoever made the client.
func (f *Fetcher) Fetch(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, wrong("it is no URL")
	}
	e, before := f.claim(address, u.Host)
	switch {
	case e == nil:
		return nil, errors.New("too many documents are being fetched: try again later")
	case before != nil:
		f.fill(context.WithoutCancel(ctx), address, e, before) // others wait for it, too
	}
	select {
	case <-e.done:
		return e.document, e.err
	case <-ctx.Done():
		return nil, errors.New("it was not waited for")
	}
}

// claim returns what is known of a document; nil: too many are being fetched. before: it has
// to be fetched, and the caller is to fill it in; what was known is in before.
func (f *Fetcher) claim(address, host string) (e, before *entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	before = f.kept[address]
	if before != nil && (!before.over() || now.Before(before.until)) {
		return before, nil
	}
	if age := now.Sub(f.minute); age < 0 || age >= time.Minute {
		f.minute, f.ofHost = now, map[string]int{}
	}
	// Each fetch holds a request open for seconds, and sends one to a foreign host.
	if f.fetching >= maxFetches || f.ofHost[host] >= maxOfHost {
		if before != nil && now.Before(before.good) {
			return before, nil
		}
		return nil, nil
	}
	f.makeRoom(now)
	f.fetching++
	f.ofHost[host]++
	if before == nil {
		before = &entry{}
	}
	e = &entry{done: make(chan struct{})}
	f.kept[address] = e
	return e, before
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

// makeRoom drops entries where there are too many: failures first, which any client can cause,
// then documents that are to be fetched anew anyway, and any others last.
func (f *Fetcher) makeRoom(now time.Time) {
	for _, may := range []func(*entry) bool{
		func(e *entry) bool { return e.err != nil },
		func(e *entry) bool { return !now.Before(e.until) },
		func(*entry) bool { return true },
	} {
		if len(f.kept) < maxDocuments {
			return
		}
		maps.DeleteFunc(f.kept, func(_ string, e *entry) bool { return e.over() && may(e) })
	}
}

// fill fetches a document. Where its server has trouble, the document that was there before
// stays for a day: a client that is in use must not lose its logins by that.
func (f *Fetcher) fill(ctx context.Context, address string, e, before *entry) {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.fetching--
		close(e.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	document, kept, err := f.get(ctx, address)
	now := f.now()
	switch {
	case err == nil:
		e.document, e.until, e.good = document, now.Add(kept), now.Add(kept+maxKept)
	case !errors.As(err, new(*WrongError)) && now.Before(before.good):
		e.document, e.until, e.good = before.document, now.Add(failureKept), before.good
	default:
		// A failure is kept for a minute too: else each request of a client that cannot be
		// used would be one to its server.
		e.err, e.until = err, now.Add(failureKept)
	}
}

// get asks for a document, and returns how long it may be kept.
func (f *Fetcher) get(ctx context.Context, address string) (document []byte, kept time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, wrong("it is no URL")
	}
	r.Header.Set("Accept", "application/json")
	answer, err := f.client.Do(r)
	if err != nil {
		return nil, 0, plain(err)
	}
	defer answer.Body.Close()
	// The draft wants JSON, and that the server says so: a document of another kind may be
	// what a user uploaded to a shared site.
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		return nil, 0, fmt.Errorf("its server answers with status %d", answer.StatusCode)
	case answer.StatusCode != http.StatusOK: // a redirect, too: its target was not checked
		return nil, 0, wrong("its server answers with status %d: want 200", answer.StatusCode)
	case err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		return nil, 0, wrong("it has another Content-Type: want application/json")
	}
	// One byte more than is taken tells a document that is too large from one that fits.
	document, err = io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, 0, plain(err)
	case len(document) > maxDocument:
		return nil, 0, wrong("it is larger than %d bytes", maxDocument)
	}
	return document, keptFor(answer.Header.Get("Cache-Control")), nil
}

// plain says why a document was not got, without the addresses that were tried: whoever
// asks may be after those.
func plain(err error) error {
	var refused *forbiddenError
	switch {
	case errors.As(err, &refused):
		return wrong("its host has no public address")
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
