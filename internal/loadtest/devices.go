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

// The types in this file are the devices of a run: each repeats one request, or one
// step of a device's life.

// A fixed device sends the same requests in turn.
type fixed struct {
	requests [][]byte
	next     *atomic.Int64 // shared by all connections
	status   int
}

// Fixed returns devices that send the requests in turn, all connections together, and
// that require the status.
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

// GuardedRequests returns GET requests with access tokens (RFC 6750 §2.1).
func GuardedRequests(host, path string, tokens ...string) (requests [][]byte) {
	for _, token := range tokens {
		requests = append(requests, Request(host, path, nil, "Authorization: Bearer "+token))
	}
	return requests
}

// The paths below are the gateway's defaults (docs/caddyfile.md, paths). The client
// is public: it sends its client_id and has no secret (RFC 6749 §2.3).

// AuthorizeRequest returns a device authorization request (RFC 8628 §3.1).
func AuthorizeRequest(host string) []byte {
	return Request(host, "/oauth2/device_authorization", url.Values{"client_id": {Client}})
}

// PollRequest returns a device access token request (RFC 8628 §3.4).
func PollRequest(host, deviceCode string) []byte {
	return Request(host, "/oauth2/token", url.Values{
		"client_id": {Client}, "device_code": {deviceCode},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	})
}

// RefreshRequest returns a refresh request (RFC 6749 §6).
func RefreshRequest(host, token string) []byte {
	return Request(host, "/oauth2/token",
		url.Values{"client_id": {Client}, "refresh_token": {token}, "grant_type": {"refresh_token"}})
}

// Polls are devices whose codes are pending. Each code keeps its interval, counted
// from the last response, so a run needs as many codes as it sends polls in one
// interval. A run that had to wait for its codes did not measure the server: see
// Waited.
type Polls struct {
	Host     string
	Interval time.Duration

	due  chan waiting
	sent atomic.Int64
	slow atomic.Int64
}

// A waiting is one pending code.
type waiting struct {
	request []byte
	from    time.Time // when it may be polled again
}

// NewPolls returns the polling devices for these codes.
func NewPolls(host string, interval time.Duration, devices []Prepared) *Polls {
	p := &Polls{Host: host, Interval: interval, due: make(chan waiting, len(devices))}
	for _, d := range devices {
		p.due <- waiting{request: PollRequest(host, d.DeviceCode)}
	}
	return p
}

// Waited returns the share of the polls since its last call that had to wait for a
// code's interval.
func (p *Polls) Waited() float64 {
	return float64(p.slow.Swap(0)) / float64(max(p.sent.Swap(0), 1))
}

// Device returns the device of one connection of a [Load].
func (p *Polls) Device(int) Device { return &poll{all: p} }

// A poll is the device of one connection. It polls the code that has waited longest.
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

// pendingAnswer is searched for in the body, because decoding it would cost more than
// the server's own work.
var pendingAnswer = []byte(`"authorization_pending"`)

// Check implements [Device]. slow_down is a wrong response, too.
func (p *poll) Check(status int, body []byte) error {
	if status != http.StatusBadRequest || !bytes.Contains(body, pendingAnswer) {
		return Wrong(status, body, "400 authorization_pending (RFC 8628 §3.5)")
	}
	p.now.from = time.Now().Add(p.all.Interval)
	p.all.due <- p.now
	return nil
}

// A TokenAnswer has the tokens of a token response (RFC 6749 §5.1).
type TokenAnswer struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// ReadTokens decodes a token response, and fails if it has no tokens.
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

// A redemption polls each approved code once.
type redemption struct {
	requests chan []byte
}

// Redemptions returns devices that redeem these codes, all connections together.
func Redemptions(host string, devices []Prepared) func(int) Device {
	// The channel is filled before the clock starts. A closed channel gives nil,
	// which ends the run.
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

// A refreshing device refreshes its tokens again and again.
type refreshing struct {
	host string
	held *Prepared
}

// Refreshes returns one device for each connection; there must be as many devices as
// connections. The list keeps the latest tokens for the next run.
func Refreshes(host string, devices []Prepared) func(int) Device {
	return func(i int) Device { return &refreshing{host: host, held: &devices[i]} }
}

// Next implements [Device].
func (r *refreshing) Next() []byte { return RefreshRequest(r.host, r.held.Refresh) }

// Check implements [Device]. A refresh token can be used once (RFC 9700 §4.14.2), so
// the next request sends the one in the response.
func (r *refreshing) Check(status int, body []byte) error {
	t, err := ReadTokens(status, body)
	if err == nil {
		r.held.Access, r.held.Refresh = t.Access, t.Refresh
	}
	return err
}

// A single device sends each request only once.
type single struct {
	fixed
}

// Once returns devices that send each of the requests once, all connections together,
// and that require the status.
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
