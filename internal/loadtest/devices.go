package loadtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// These are the devices that runs play: each is one request again and again, or one
// step of a device's life.

// fixed sends the same requests in turn.
type fixed struct {
	requests [][]byte
	next     *atomic.Int64 // shared by all connections
	status   int
}

// Fixed makes devices that send these requests in turn, all connections together, and
// want this status.
func Fixed(status int, requests ...[]byte) func(int) Device {
	next := new(atomic.Int64)
	return func(int) Device { return &fixed{requests: requests, next: next, status: status} }
}

// Next implements [Device].
func (f *fixed) Next() []byte { return f.requests[int(f.next.Add(1)-1)%len(f.requests)] }

// Check implements [Device].
func (f *fixed) Check(status int, body []byte) error {
	if status != f.status {
		return Wrong(status, body, fmt.Sprint(f.status))
	}
	return nil
}

// GuardedRequests are GET requests with access tokens (RFC 6750 §2.1).
func GuardedRequests(host, path string, tokens ...string) (requests [][]byte) {
	for _, token := range tokens {
		requests = append(requests, Request(host, path, nil, "Authorization: Bearer "+token))
	}
	return requests
}

// The paths below are the gateway's own (docs/caddyfile.md, paths), and the client is
// public: it names itself and has no secret (RFC 6749 §2.3).

// AuthorizeRequest is a device authorization request (RFC 8628 §3.1).
func AuthorizeRequest(host string) []byte {
	return Request(host, "/oauth2/device_authorization", url.Values{"client_id": {Client}})
}

// PollRequest is a device access token request (RFC 8628 §3.4).
func PollRequest(host, deviceCode string) []byte {
	return Request(host, "/oauth2/token", url.Values{
		"client_id": {Client}, "device_code": {deviceCode},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	})
}

// RefreshRequest asks for the next tokens (RFC 6749 §6).
func RefreshRequest(host, token string) []byte {
	return Request(host, "/oauth2/token",
		url.Values{"client_id": {Client}, "refresh_token": {token}, "grant_type": {"refresh_token"}})
}

// Polls plays devices whose codes are pending. Each code keeps its interval, counted
// from the answer before, so a run needs as many codes as it asks in an interval. A
// run that had to wait for its codes measured them and not the server: see Waited.
type Polls struct {
	Host     string
	Interval time.Duration

	due  chan waiting
	sent atomic.Int64
	slow atomic.Int64
}

// waiting is one code.
type waiting struct {
	request []byte
	from    time.Time // when it may be asked about
}

// NewPolls makes the devices of these codes.
func NewPolls(host string, interval time.Duration, devices []Prepared) *Polls {
	p := &Polls{Host: host, Interval: interval, due: make(chan waiting, len(devices))}
	for _, d := range devices {
		p.due <- waiting{request: PollRequest(host, d.DeviceCode)}
	}
	return p
}

// Waited is the share of the polls since the last call that had to wait for their time.
func (p *Polls) Waited() float64 {
	return float64(p.slow.Swap(0)) / float64(max(p.sent.Swap(0), 1))
}

// Device is one connection of a [Load].
func (p *Polls) Device(int) Device { return &poll{all: p} }

// poll is one connection: it takes whatever code has waited longest.
type poll struct {
	all *Polls
	now waiting
}

// Next implements [Device].
func (p *poll) Next() []byte {
	p.now = <-p.all.due
	p.all.sent.Add(1)
	if wait := time.Until(p.now.from); wait > 0 {
		p.all.slow.Add(1)
		time.Sleep(wait)
	}
	return p.now.request
}

// pendingAnswer is looked for instead of decoding the body, which would cost more than
// the server's part in it.
var pendingAnswer = []byte(`"authorization_pending"`)

// Check implements [Device]. slow_down is a wrong answer too.
func (p *poll) Check(status int, body []byte) error {
	if status != http.StatusBadRequest || !bytes.Contains(body, pendingAnswer) {
		return Wrong(status, body, "400 authorization_pending (RFC 8628 §3.5)")
	}
	p.now.from = time.Now().Add(p.all.Interval)
	p.all.due <- p.now
	return nil
}

// TokenAnswer are the tokens of an answer (RFC 6749 §5.1).
type TokenAnswer struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// ReadTokens reads the answer to a request for tokens, and wants some.
func ReadTokens(status int, body []byte) (t TokenAnswer, err error) {
	if status != http.StatusOK {
		return t, Wrong(status, body, "200 with tokens")
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return t, err
	}
	if t.Access == "" || t.Refresh == "" {
		return t, errors.New("the answer lacks a token")
	}
	return t, nil
}

// redemption asks about codes that a person allowed, each once.
type redemption struct {
	requests chan []byte
}

// Redemptions makes devices that redeem these codes, all connections together.
func Redemptions(host string, devices []Prepared) func(int) Device {
	// All are there before the clock starts; a closed channel gives nil, which ends a run.
	requests := make(chan []byte, len(devices))
	for _, d := range devices {
		requests <- PollRequest(host, d.DeviceCode)
	}
	close(requests)
	return func(int) Device { return redemption{requests: requests} }
}

// Next implements [Device].
func (r redemption) Next() []byte { return <-r.requests }

// Check implements [Device].
func (redemption) Check(status int, body []byte) error {
	_, err := ReadTokens(status, body)
	return err
}

// refreshing is a connected device that refreshes again and again.
type refreshing struct {
	host string
	held *Prepared
}

// Refreshes makes one device of each connection; there must be as many. What a device
// holds is kept in the list, for the next run.
func Refreshes(host string, devices []Prepared) func(int) Device {
	return func(i int) Device { return &refreshing{host: host, held: &devices[i]} }
}

// Next implements [Device].
func (r *refreshing) Next() []byte { return RefreshRequest(r.host, r.held.Refresh) }

// Check implements [Device]. A refresh token is good once (RFC 9700 §4.14.2), so what the
// answer has is sent next.
func (r *refreshing) Check(status int, body []byte) error {
	t, err := ReadTokens(status, body)
	if err == nil {
		r.held.Access, r.held.Refresh = t.Access, t.Refresh
	}
	return err
}

// single sends requests that are sent once.
type single struct {
	fixed
}

// Once makes devices that send each of these requests once, all connections together,
// and want this status.
func Once(status int, requests ...[]byte) func(int) Device {
	next := new(atomic.Int64)
	return func(int) Device { return &single{fixed: fixed{requests: requests, next: next, status: status}} }
}

// Next implements [Device].
func (s *single) Next() []byte {
	if i := int(s.next.Add(1) - 1); i < len(s.requests) {
		return s.requests[i]
	}
	return nil
}
