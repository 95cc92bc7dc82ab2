// Package devicecheck checks a deployment from outside, as devices, browsers and API
// clients see it, and reports for each check what it found and how to mend a defect.
// Breaking a requirement of an RFC is a failure; breaking a promise that only our own
// documentation makes is a warning, because the server may be another product. The
// package reads no configuration, changes nothing in the deployment, and types
// nothing at an identity provider. It is the library behind `caddy device-auth
// check`.
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

// Config says which deployment to check, and which client to be.
type Config struct {
	URL          string // the URL of a guarded API, or the server's issuer
	ClientID     string
	ClientSecret string   // empty: a public client
	Scopes       []string // none: those the API needs and, for a login, the client's defaults
	Audience     string   // empty: the API's own name for itself, or else the server's default
	Origin       string   // the origin of a browser page that acts as the device; empty: none

	// Login shows a person the code to type, and enables the checks of the whole
	// flow. It is nil if no person is there to answer.
	Login func(deviceclient.Prompt)

	Roots *x509.CertPool // the trusted certificates; nil: those of the system
	Tell  func(Result)   // is called with each result as soon as it is known; may be nil
}

// A Status is the outcome of a check.
type Status string

// These are the outcomes of a check. Only Fail means that the deployment is broken.
const (
	Pass    Status = "ok"
	Warn    Status = "warn"
	Fail    Status = "fail"
	Skipped Status = "skipped"
)

// A Result is the finding of one check. Its text is safe to print on a terminal.
type Result struct {
	Name   string `json:"name"` // stable; docs/check.md lists them
	Status Status `json:"status"`
	Detail string `json:"said"`           // what was asked, and what the server answered
	Remedy string `json:"mend,omitempty"` // how to mend it
}

// Run runs all the checks, in the order of [Names], and returns one result for each.
// A check that needs the result of an earlier one is skipped if that one failed; its
// result says so. If ctx ends, Run returns early with the results so far. Run returns
// no error: whatever goes wrong is the detail of some result. Tokens from a login are
// revoked before Run returns (RFC 7009), also when ctx has ended. The checks send a
// few dozen requests, one after the other, and leave one pending device code behind,
// which expires by itself.
func Run(ctx context.Context, c Config) []Result {
	r := newRun(ctx, c)
	defer r.stop()
	defer r.revokeRest()
	return r.all(ctx, checks)
}

// all runs the checks one after the other until ctx ends.
func (r *run) all(ctx context.Context, list []check) []Result {
	all := []Result{} // not nil, so that JSON has an array even after an immediate interrupt
	for _, check := range list {
		if ctx.Err() != nil {
			break
		}
		// ctx is tested before and after the check: a check that ctx cut short must
		// not be reported as a failure of the deployment.
		f := r.inTime(ctx, check)
		if ctx.Err() != nil {
			break // the check has found nothing but the interrupt
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

// totalTimeout bounds all requests together, so that a server that is slow, or whose
// metadata lead to ever more requests, does not keep an operator for hours. The
// checks of a login are not counted, because they wait for a person.
const totalTimeout = 3 * time.Minute

// inTime runs a check within totalTimeout. The check whose time runs out fails, so
// that it cannot be taken for a pass; the later ones are skipped.
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

// Names lists the names of the checks, in their order.
func Names() (names []string) {
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// A check is one question about the deployment. It runs only if the first check in
// needs succeeded or warned, and none of the others failed.
type check struct {
	name, needs string
	ask         func(*run) finding
}

// A run is the state of one call of Run: the configuration and what the checks have
// found so far.
type run struct {
	ctx      context.Context
	stop     context.CancelFunc
	timedOut bool // totalTimeout has passed
	cfg      Config
	ended    map[string]finding
	http     *http.Client // follows no redirect and keeps no connection
	browser  *http.Client // the same, with cookies
	dates    map[string]date

	target          *url.URL    // Config.URL
	ownMetadata     *document   // the server's metadata, where the target is the server
	guarded         bool        // the target refuses requests without a valid token
	needs           []string    // scopes in the target's challenge
	realm           string      // realm in the target's challenge
	site            *resource   // the target's resource metadata
	issuer          string      // the server's issuer, as the target names it
	metadataAnswers []*answer   // answers of the places where the metadata can be
	documents       []*document // metadata found in metadataAnswers
	server          *document   // the metadata that the other checks use
	keys            []jwk       // the server's published keys
	code            code        // the device authorization response
	page            *answer     // the page where a person types the code
	refusals        []*answer   // error responses of the OAuth endpoints
	choices         []string    // addresses of the links to the upstream providers

	login *loggedIn
}

// newRun returns the run for a configuration. Both clients share one transport, so
// that proxy, trusted roots and the missing keep-alive are the same for the device's
// and the browser's requests.
func newRun(ctx context.Context, c Config) *run {
	jar, _ := cookiejar.New(nil) // never fails without options
	transport := transportFor(c.Roots)
	ctx, stop := context.WithTimeout(ctx, totalTimeout)
	return &run{
		ctx: ctx, stop: stop, cfg: c, ended: map[string]finding{}, dates: map[string]date{}, login: new(loggedIn),
		http: client(transport, nil), browser: client(transport, jar),
	}
}

func (r *run) do(c check) finding {
	for i, need := range strings.Fields(c.needs) {
		// A check among the other needs may be skipped without this one being
		// skipped: it found no defect, and its result is optional here.
		switch before := r.ended[need]; {
		case before.status == Fail:
			return skip("not asked, because %s failed", need)
		case before.status == Skipped && i == 0:
			return before
		}
	}
	return c.ask(r)
}

// A finding is the outcome of a check. The zero finding has no status; badTLS returns
// it for "does not apply".
type finding struct {
	status         Status
	detail, remedy string
}

// worst combines several findings to one that has the worst status. The text of a
// pass is kept only if all are passes.
func worst(all ...finding) finding {
	// A warning outranks any number of passes, and one failure any number of
	// warnings, so that the summary of several hosts is as bad as its worst host.
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

// join joins two texts. It writes equal texts only once, because several hosts often
// have the same remedy.
func join(text, more string) string {
	switch {
	case text == "" || strings.Contains(more, text):
		return more
	case more == "" || strings.Contains(text, more):
		return text
	}
	return text + "; " + more
}

// plain removes control characters and shortens a text, which may contain what a
// server on the network sent. Escape sequences could change the terminal's state or
// rewrite earlier lines, and an endless text would push the other results off the
// screen; 2000 characters are enough for all that a person reads.
func plain(s string) string {
	return strings.TrimSpace(text.Plain(shorten(s, 2000)))
}

// requestTimeout bounds every request. A poll that the server holds takes some
// seconds, and no other request takes longer.
const requestTimeout = 10 * time.Second
