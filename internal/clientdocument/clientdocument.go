// Package clientdocument fetches client ID metadata documents
// (draft-ietf-oauth-client-id-metadata-document §4): JSON at an https URL that a
// client uses as its client_id. Any client can make the server fetch one. So the
// package connects to public addresses only, bounds time and size of each fetch, and
// caches the results. Package deviceauth decides which hosts may have a document and
// what its content means.
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

// These are the bounds of one document and of all of them.
const (
	timeout        = 3 * time.Second
	maxDocument    = 5 << 10 // bytes
	minKept        = 5 * time.Minute
	maxKept        = 24 * time.Hour
	failureKept    = time.Minute
	maxDocuments   = 1000 // in the cache
	maxFetches     = 20   // at the same time
	maxHostFetches = 60   // fetches from one host in a minute
)

// A WrongError says that a document is wrong, so that fetching it again is of no use.
// Any other error of a [Fetcher] may be temporary.
type WrongError struct {
	Reason string

	missing bool // there is no document now, as during a deployment of the client's site
}

func (e *WrongError) Error() string { return e.Reason }

func wrong(format string, args ...any) error {
	return &WrongError{Reason: fmt.Sprintf(format, args...)}
}

// A Fetcher fetches documents and caches them. Requests for a document that is being
// fetched wait for that fetch.
type Fetcher struct {
	client *http.Client
	now    func() time.Time

	mu          sync.Mutex
	kept        map[string]*entry
	fetching    int
	minute      time.Time      // start of the minute in which fetches are counted
	hostFetches map[string]int // fetches from each host since then
}

// An entry is a document, or the error of its fetch.
type entry struct {
	done       chan struct{} // closed when the fetch has ended
	document   []byte
	err        error
	until      time.Time // when to fetch it again
	staleUntil time.Time // until when the document may be used if it cannot be fetched
}

// New returns a Fetcher that trusts the certificates in roots, or the system's if
// roots is nil. If loopback is set, it connects to this machine as well, for a server
// that runs on a loopback address itself.
func New(roots *x509.CertPool, loopback bool) *Fetcher {
	return &Fetcher{client: newClient(roots, loopback), now: time.Now, kept: map[string]*entry{}}
}

// Fetch returns the document at an https URL. Its errors are written for the
// developer of the client.
func (f *Fetcher) Fetch(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, wrong("it is not a URL")
	}
	e, before := f.claim(address, u.Host)
	switch {
	case e == nil:
		return nil, errors.New("too many documents are being fetched: try again later")
	case before != nil:
		f.fill(context.WithoutCancel(ctx), address, e, before) // other requests wait for the result, too
	}
	select {
	case <-e.done:
		return e.document, e.err
	case <-ctx.Done():
		return nil, errors.New("the request ended first")
	}
}

// claim returns the entry of a document, or nil if too many fetches are under way. If
// before is not nil, the document has to be fetched: the caller has to fill e in, and
// before is the previous entry.
func (f *Fetcher) claim(address, host string) (e, before *entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	before = f.kept[address]
	if before != nil && (!before.fetched() || now.Before(before.until)) {
		return before, nil
	}
	if age := now.Sub(f.minute); age < 0 || age >= time.Minute {
		f.minute, f.hostFetches = now, map[string]int{}
	}
	// Each fetch holds a request open for seconds, and sends one to a host of the
	// client's choice.
	if f.fetching >= maxFetches || f.hostFetches[host] >= maxHostFetches {
		if before != nil && now.Before(before.staleUntil) {
			return before, nil
		}
		return nil, nil
	}
	f.makeRoom(now)
	f.fetching++
	f.hostFetches[host]++
	if before == nil {
		before = &entry{}
	}
	e = &entry{done: make(chan struct{})}
	f.kept[address] = e
	return e, before
}

// fetched reports whether the fetch has ended.
func (e *entry) fetched() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// makeRoom drops entries if the cache is full: first failures, which any client can
// cause, then documents that have to be fetched again anyway, and at last all others.
func (f *Fetcher) makeRoom(now time.Time) {
	for _, may := range []func(*entry) bool{
		func(e *entry) bool { return e.err != nil },
		func(e *entry) bool { return !now.Before(e.until) },
		func(*entry) bool { return true },
	} {
		if len(f.kept) < maxDocuments {
			return
		}
		maps.DeleteFunc(f.kept, func(_ string, e *entry) bool { return e.fetched() && may(e) })
	}
}

// fill fetches a document. If the document's server has a fault, or has no document for
// the moment, the previous one is used for another day: a client in use must not lose its
// logins because of that.
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
		e.document, e.until, e.staleUntil = document, now.Add(kept), now.Add(kept+maxKept)
	case mayPass(err) && now.Before(before.staleUntil):
		e.document, e.until, e.staleUntil = before.document, now.Add(failureKept), before.staleUntil
	default:
		// A failure is cached as well, for a minute: otherwise each request of a
		// client with a wrong document would cause a request to its server.
		e.err, e.until = err, now.Add(failureKept)
	}
}

// mayPass reports whether a document that was there before may be there again soon.
func mayPass(err error) bool {
	wrong, ok := errors.AsType[*WrongError](err)
	return !ok || wrong.missing
}

// get fetches a document, and returns how long it may be cached.
func (f *Fetcher) get(ctx context.Context, address string) (document []byte, kept time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, wrong("it is not a URL")
	}
	r.Header.Set("Accept", "application/json")
	answer, err := f.client.Do(r)
	if err != nil {
		return nil, 0, describeError(err)
	}
	defer answer.Body.Close()
	// The draft requires JSON with its Content-Type: a document of another type may
	// be a file that a user uploaded to a shared site.
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		return nil, 0, fmt.Errorf("its server answers with status %d", answer.StatusCode)
	case answer.StatusCode != http.StatusOK: // also a redirect: its target was not checked
		reason := fmt.Sprintf("its server answers with status %d: want 200", answer.StatusCode)
		return nil, 0, &WrongError{Reason: reason, missing: answer.StatusCode == http.StatusNotFound}
	case err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		return nil, 0, wrong("it has another Content-Type: want application/json")
	}
	// One byte more than the limit tells a document that is too large from one that
	// fits.
	document, err = io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, 0, describeError(err)
	case len(document) > maxDocument:
		return nil, 0, wrong("it is larger than %d bytes", maxDocument)
	}
	return document, cacheTime(answer.Header.Get("Cache-Control")), nil
}

// describeError returns the error for a failed fetch without the addresses that were tried,
// because an attacker may send requests to learn these.
func describeError(err error) error {
	var refused *forbiddenError
	switch {
	case errors.As(err, &refused):
		return wrong("its host has no public address")
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("its server did not answer within %v", timeout)
	}
	return errors.New("its server cannot be reached")
}

// cacheTime returns how long a document is cached: max-age of Cache-Control (RFC 9111
// §5.2.2), within bounds.
func cacheTime(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		// A number that does not fit counts as missing, which gives the shortest
		// time.
		if seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil &&
			strings.EqualFold(name, "max-age") {
			return min(max(time.Duration(seconds)*time.Second, minKept), maxKept)
		}
	}
	return minKept
}
