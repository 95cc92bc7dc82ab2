// Package devicecheck looks at a deployment from outside, as devices, people's
// browsers and API clients do, and says of each thing what was found and how
// to mend it. It decides what counts as a defect: what an RFC demands is a
// failure, what only our own documentation promises is a warning, because the
// server may be another product. It knows no configuration, mends nothing, and
// types nothing at an identity provider. The command `caddy device-auth check`
// calls it.
package devicecheck

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Config says what to look at, and as whom.
type Config struct {
	URL          string // of a guarded API, or the server's issuer
	ClientID     string
	ClientSecret string   // empty: a public client
	Scopes       []string // none: what the API needs and, for a login, what the client has by default
	Audience     string   // empty: what the API calls itself, and else the server's default
	Origin       string   // of a browser page that plays the device; empty: there is none

	// Login shows a person what to type, and asks for the whole flow; nil: no
	// person is there to answer.
	Login func(deviceclient.Prompt)

	Roots *x509.CertPool // certificates to trust; nil: the system's
	Tell  func(Result)   // hears each result at once; may be nil
}

// A Status is how a check ended.
type Status string

// How a check can end. Only a failure makes a deployment one that is broken.
const (
	Pass    Status = "ok"
	Warn    Status = "warn"
	Fail    Status = "fail"
	Skipped Status = "skipped"
)

// A Result is what one check found. Its text is safe for a terminal.
type Result struct {
	Name   string `json:"name"` // stable; docs/check.md lists them
	Status Status `json:"status"`
	Detail string `json:"said"`           // what was asked and answered
	Remedy string `json:"mend,omitempty"` // what to do about it
}

// Run does all the checks, in order. Those that make no sense after what an
// earlier one found are skipped, and say which. A context that ends, ends it.
// The result list has one entry per check that was reached, in the order of
// [Names]; it is shorter only when ctx ends early. Run returns no error:
// whatever goes wrong is the detail of some result. Tokens that a login
// obtained are revoked before Run returns (RFC 7009), also when ctx has ended.
// The checks send a few dozen requests, one after the other, and leave one
// pending device code behind, which expires by itself.
func Run(ctx context.Context, c Config) []Result {
	r := newRun(ctx, c)
	defer r.stop()
	defer r.revokeRest()
	return r.all(ctx, checks)
}

// all asks one after the other until its context ends.
func (r *run) all(ctx context.Context, list []check) []Result {
	all := []Result{} // in JSON an array, also when it is interrupted at once
	for _, check := range list {
		if ctx.Err() != nil {
			break
		}
		// The context is looked at before and after the check: a check that was
		// cut short by it must not be reported as a failure of the deployment.
		f := r.inTime(ctx, check)
		if ctx.Err() != nil {
			break // it found out nothing but that it was interrupted
		}
		r.ended[check.name] = f
		result := Result{Name: check.name, Status: f.status, Detail: plain(f.detail), Remedy: plain(f.remedy)}
		if r.cfg.Tell != nil {
			r.cfg.Tell(result)
		}
		all = append(all, result)
	}
	return all
}

// totalTimeout bounds all requests together: a server that is slow, or names more
// and more to look at, must not keep an operator for hours. A login takes as long
// as its person does, and is not counted.
const totalTimeout = 3 * time.Minute

// inTime asks as long as there is time. The check for which there is none
// fails, and not one that could be taken for good.
func (r *run) inTime(whole context.Context, c check) finding {
	if r.timedOut {
		return skip("not asked: there was no time left")
	}
	// The login and what follows it run under the caller's context alone,
	// because a person may take longer than totalTimeout to answer.
	if strings.HasPrefix(c.name, "login.") && r.ctx.Err() == nil {
		r.ctx = whole
	}
	f := r.do(c)
	if r.ctx.Err() != nil {
		r.timedOut = true
		return found("the checks took longer than %v in all, and this one did not end", totalTimeout).
			fail("Look what is slow: a check whose answer took long stands above. A person's network may drop " +
				"packets; then check from elsewhere.")
	}
	return f
}

// Names lists the checks, in their order.
func Names() (names []string) {
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// A check is one question. It is asked only where the first that it needs was
// answered, and none of the others failed.
type check struct {
	name, needs string
	ask         func(*run) finding
}

// A run is what is known so far.
type run struct {
	ctx      context.Context
	stop     context.CancelFunc
	timedOut bool // there was no time left
	cfg      Config
	ended    map[string]finding
	http     *http.Client // follows nothing and keeps nothing
	browser  *http.Client // keeps cookies, too
	dates    map[string]date

	target          *url.URL    // what the operator named
	ownMetadata     *document   // the server's metadata, where the target is the server
	guarded         bool        // the target refuses who has no good token
	needs           []string    // scopes, as its challenge says
	realm           string      // of that
	site            *resource   // what the guarded site says of itself
	issuer          string      // the server, as the target names it
	metadataAnswers []*answer   // where its metadata were looked for
	documents       []*document // that were there
	server          *document   // the one that is gone by
	keys            []jwk       // that it publishes
	code            code        // that the client was given
	page            *answer     // where people type it
	refusals        []*answer   // of the OAuth endpoints
	choices         []string    // addresses that lead to the upstreams

	login *loggedIn
}

// Both clients share one transport, so that a proxy, the roots and the missing
// keep-alive are the same for the device's and for the browser's requests.
func newRun(ctx context.Context, c Config) *run {
	jar, _ := cookiejar.New(nil) // cannot fail
	transport := transportFor(c.Roots)
	ctx, stop := context.WithTimeout(ctx, totalTimeout)
	return &run{
		ctx: ctx, stop: stop, cfg: c, ended: map[string]finding{}, dates: map[string]date{}, login: new(loggedIn),
		http: client(transport, nil), browser: client(transport, jar),
	}
}

func (r *run) do(c check) finding {
	for i, need := range strings.Fields(c.needs) {
		// A skipped check of a second need does not skip this one: it found
		// nothing wrong, and what it would have found is optional here.
		switch before := r.ended[need]; {
		case before.status == Fail:
			return skip("not asked, because %s failed", need)
		case before.status == Skipped && i == 0:
			return before
		}
	}
	return c.ask(r)
}

// A finding is how a check ends. The zero finding has no status, and stands
// for "does not apply" in badTLS.
type finding struct {
	status         Status
	detail, remedy string
}

// worst makes one finding of several: what went well is of interest only where
// everything did.
func worst(all ...finding) finding {
	// A warning outranks any number of passes, and one failure any number of
	// warnings, so that the summary of several hosts is as bad as its worst
	// host.
	rank := map[Status]int{Skipped: 0, Pass: 1, Warn: 2, Fail: 3}
	end := finding{status: Skipped}
	for _, f := range all {
		switch {
		case rank[f.status] > rank[end.status]:
			end = f
		case f.status == end.status:
			end.detail, end.remedy = join(end.detail, f.detail), join(end.remedy, f.remedy)
		}
	}
	return end
}

// join puts two texts into one. Equal texts are written once: several hosts
// often have the same remedy.
func join(text, more string) string {
	switch {
	case text == "" || strings.Contains(more, text):
		return more
	case more == "" || strings.Contains(text, more):
		return text
	}
	return text + "; " + more
}

// plain takes out what a terminal would obey, and shortens it. The text may
// hold what a server on the network sent. Escape sequences could change the
// terminal's state or rewrite lines that were printed before, and an endless
// text would push the other results off the screen; 2000 characters keep what
// a person reads.
func plain(s string) string {
	return strings.TrimSpace(text.Plain(shorten(s, 2000)))
}

// requestTimeout bounds every request: a held poll takes seconds, nothing takes more.
const requestTimeout = 10 * time.Second
