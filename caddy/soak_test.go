package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// soak is how long devices live whole lives. The promise is tried out with -soak 2m and
// more: from a minute on there are 500 devices, and what they leave behind is looked at.
var soak = flag.Duration("soak", 3*time.Second, "how long devices live whole lives at one server")

// A liver is a device that lives one life after the other, beside a person who decides
// about it.
type liver struct {
	g      *gateway
	person *loadtest.Person
	counts *lives
}

// lives counts what became of them.
type lives struct {
	begun, allowed, denied, expired, left atomic.Int64
	calls, refreshes, revoked, forgotten  atomic.Int64
}

func (l *lives) String() string {
	return fmt.Sprintf("%d lives: %d allowed, %d denied, %d expired, %d left waiting; %d API calls, %d refreshes, "+
		"%d revoked, %d forgotten", l.begun.Load(), l.allowed.Load(), l.denied.Load(), l.expired.Load(), l.left.Load(),
		l.calls.Load(), l.refreshes.Load(), l.revoked.Load(), l.forgotten.Load())
}

// ask posts a form of the client and decodes the answer.
func (l *liver) ask(ctx context.Context, path string, form url.Values, answer any) (int, error) {
	form.Set("client_id", "cool-gadget")
	r, err := http.NewRequestWithContext(ctx, "POST", l.g.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if answer != nil {
		err = json.NewDecoder(response.Body).Decode(answer)
	}
	return response.StatusCode, err
}

// live is one life: a code, a decision or none, and the time as a connected device.
func (l *liver) live(ctx context.Context) error {
	l.counts.begun.Add(1)
	d := &device{}
	if status, err := l.ask(ctx, "/oauth2/device_authorization", url.Values{}, d); err != nil || d.Code == "" {
		return fmt.Errorf("no code was given: %d, %w", status, err)
	}
	switch fate := rand.IntN(10); {
	case fate == 0:
		l.counts.left.Add(1)
		return nil
	case fate == 1:
		l.counts.expired.Add(1)
		_, err := l.wait(ctx, d, "expired_token")
		return err
	case fate == 2:
		l.counts.denied.Add(1)
		return l.decided(ctx, d, "deny", "access_denied")
	}
	l.counts.allowed.Add(1)
	return l.decided(ctx, d, "allow", "")
}

// decided has the person decide while the device polls, and goes on where it has tokens.
func (l *liver) decided(ctx context.Context, d *device, answer, outcome string) error {
	clicked := make(chan error, 1)
	go func() {
		err := l.person.Reach(ctx, d.Full, d.User, "alice")
		if err == nil {
			err = l.person.Answer(ctx, answer)
		}
		clicked <- err
	}()
	held, err := l.wait(ctx, d, outcome)
	if err := errors.Join(err, <-clicked); err != nil || outcome != "" {
		return err
	}
	return l.connected(ctx, held)
}

// wait polls at the interval until the answer is not authorization_pending. The
// outcome is the error that it has to be; empty: tokens.
func (l *liver) wait(ctx context.Context, d *device, outcome string) (tokens, error) {
	for {
		var answer tokens
		status, err := l.ask(ctx, "/oauth2/token", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.Code},
		}, &answer)
		switch {
		case err != nil:
			return answer, err
		case answer.Error == "authorization_pending":
			time.Sleep(time.Duration(d.Interval) * time.Second)
		case answer.Error != outcome || (status == http.StatusOK) != (outcome == ""):
			return answer, fmt.Errorf("a poll is answered %d %q, want %q", status, answer.Error, outcome)
		default:
			return answer, nil
		}
	}
}

// connected calls the API and refreshes, a few times, and then the device is revoked or
// forgotten.
func (l *liver) connected(ctx context.Context, held tokens) error {
	for range 1 + rand.IntN(4) {
		for range 1 + rand.IntN(4) {
			if err := l.call(ctx, held.Access, http.StatusOK); err != nil {
				return err
			}
		}
		time.Sleep(rand.N(time.Second))
		status, err := l.ask(ctx, "/oauth2/token",
			url.Values{"grant_type": {"refresh_token"}, "refresh_token": {held.Refresh}}, &held)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("a refresh is answered %d %q: %w", status, held.Error, err)
		}
		l.counts.refreshes.Add(1)
	}
	if rand.IntN(2) == 0 {
		l.counts.forgotten.Add(1)
		return nil
	}
	l.counts.revoked.Add(1)
	if status, err := l.ask(ctx, "/oauth2/revoke", url.Values{"token": {held.Refresh}}, nil); err != nil ||
		status != http.StatusOK {
		return fmt.Errorf("a revocation is answered %d: %w", status, err)
	}
	return l.call(ctx, held.Access, http.StatusUnauthorized)
}

func (l *liver) call(ctx context.Context, token string, want int) error {
	l.counts.calls.Add(1)
	r, err := http.NewRequestWithContext(ctx, "GET", l.g.url+"/api/products", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != want {
		return fmt.Errorf("the API answers %d, want %d", response.StatusCode, want)
	}
	return nil
}

// A level is what a server has at a moment.
type level struct {
	resident, heap    int // in KiB; heap is what is alive after its garbage was collected
	goroutines, files int
	disk              int64 // in bytes
}

var heapAlloc = regexp.MustCompile(`# HeapAlloc = (\d+)`)

func (g *gateway) level() (l level) {
	g.t.Helper()
	admin := &gateway{t: g.t, url: "http://" + g.admin}
	_, text := admin.request("GET", "/debug/pprof/heap?gc=1&debug=1", http.Header{})
	alive, err := strconv.Atoi(heapAlloc.FindStringSubmatch(text)[1])
	if err != nil {
		g.t.Fatal(err)
	}
	l.heap = alive >> 10
	l.resident, l.disk = g.resident(), loadtest.DiskUsage(g.dir+"/data")
	l.goroutines, l.files = g.weight()
	// Badger has each table open, and what they take is measured on the disk.
	tables, err := filepath.Glob(filepath.Join(g.storeDir(), "*.sst"))
	if err != nil {
		g.t.Fatal(err)
	}
	l.files -= len(tables)
	return l
}

func (l level) String() string {
	return fmt.Sprintf("%d MiB resident, %d MiB of them alive, %d goroutines, %d files, %d MiB on disk", l.resident>>10,
		l.heap>>10, l.goroutines, l.files, l.disk>>20)
}

// Whole lives of devices, one after the other, meet no wrong answer and leave nothing
// behind but records, which expire.
func TestLivesOfDevicesLeaveNothing(t *testing.T) {
	whole := *soak >= time.Minute
	devices, lifetime := 20, 3*time.Second
	if whole {
		devices, lifetime = 500, 15*time.Second
	}
	g := startWith(t, fmt.Sprintf("pending address 100000\n\t\tlifetime device_code %v\n"+
		"\t\tlifetime access_token 30s\n\t\tlifetime refresh_token 30s\n\t\tlifetime refresh_idle 30s", lifetime))
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = devices // no ports are used up
	defer func() { http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 0 }()
	before, counts := g.level(), &lives{}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), *soak+5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range devices {
		wg.Go(func() {
			l := &liver{g: g, person: loadtest.NewPerson(), counts: counts}
			defer l.person.Close()
			for time.Since(began) < *soak && !t.Failed() {
				if err := l.live(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// The second half is held against the first, in which memories fill.
	time.Sleep(*soak / 2)
	half, halfLives := g.level(), counts.begun.Load()
	time.Sleep(*soak / 2)
	full, fullLives := g.level(), counts.begun.Load()
	wg.Wait()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	after := g.settled(before)
	t.Logf("%d devices in %v: %v", devices, time.Since(began).Round(time.Second), counts)
	t.Logf("before: %v\nat half time: %v\nat the end: %v\nwithout devices: %v", before, half, full, after)
	if counts.allowed.Load() == 0 || counts.refreshes.Load() == 0 || counts.calls.Load() == 0 {
		t.Error("no device was connected: this tested nothing")
	}
	if whole {
		judgeLevels(t, before, half, full, after, fullLives-halfLives)
	}
}

// settled returns when the server has given up what the devices had it open, or after
// the two minutes for which Caddy keeps idle connections to a backend.
func (g *gateway) settled(before level) level {
	for began := time.Now(); ; time.Sleep(time.Second) {
		l := g.level()
		if l.goroutines <= before.goroutines+50 && l.files <= before.files+25 || time.Since(began) > 150*time.Second ||
			*soak < time.Minute {
			return l
		}
	}
}

// judgeLevels wants memory to stay at a level, and what is open to be closed again. On
// the disk records stay until Badger compacts their tables, so it is each life's share
// that is bounded: some ten records of 1 KiB.
func judgeLevels(t *testing.T, before, half, full, after level, lives int64) {
	if full.resident > half.resident*5/4+16<<10 || full.heap > half.heap*5/4+8<<10 {
		t.Error("memory grows in the second half")
	}
	if after.goroutines > before.goroutines+50 || after.files > before.files+25 {
		t.Errorf("%d goroutines and %d files stay", after.goroutines-before.goroutines, after.files-before.files)
	}
	const table = 16 << 20 // what Badger may have allocated ahead
	if more := full.disk - half.disk; more > table+10<<10*max(lives, 1) {
		t.Errorf("%d lives add %d KiB to the disk", lives, more>>10)
	}
}
