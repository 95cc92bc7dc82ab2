package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crashes is how often the server dies. The promise is tried out with -crashes 200.
var crashes = flag.Int("crashes", 3, "times that the server is killed under load")

// A survivor is a device that notes what it was handed, and what it was about
// to be handed when the server died.
type survivor struct {
	g       *gateway
	revoked chan<- struct{} // hears of revocations that were answered

	codes []string // approved, not asked for yet
	held  tokens
	code  string // that gave what is held
	since time.Time

	asking     string // a device code whose poll has not been answered
	refreshing bool   // held.Refresh has been sent, and not been answered
	revoking   bool

	ended []tokens // of grants whose revocation was answered
	spent []string // their device codes
}

func (s *survivor) post(ctx context.Context, path string, form url.Values) (answer tokens, err error) {
	form.Set("client_id", "cool-gadget")
	r, err := http.NewRequestWithContext(ctx, "POST", s.g.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return answer, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	answer.Status = response.StatusCode
	if path == "/oauth2/revoke" {
		return answer, nil
	}
	return answer, json.NewDecoder(response.Body).Decode(&answer)
}

// live does what devices do until the server is gone.
func (s *survivor) live(ctx context.Context, dying *atomic.Bool) error {
	for {
		answer, err := tokens{}, error(nil)
		switch roll := rand.IntN(100); {
		case s.held.Access == "" && len(s.codes) == 0:
			return nil
		case s.held.Access == "":
			s.asking, s.codes = s.codes[0], s.codes[1:]
			if answer, err = s.poll(ctx, s.asking); err == nil && answer.Status == http.StatusOK {
				s.held, s.code, s.asking, s.since = answer, s.asking, "", time.Now()
			}
		case roll == 0:
			s.revoking = true
			if answer, err = s.post(ctx, "/oauth2/revoke", url.Values{"token": {s.held.Refresh}}); err == nil {
				s.end()
			}
		default:
			s.refreshing = true
			if answer, err = s.refresh(ctx, s.held.Refresh); err == nil && answer.Status == http.StatusOK {
				s.held, s.refreshing = answer, false
			}
		}
		if err != nil && dying.Load() {
			return nil
		}
		if err != nil {
			return err
		}
		if answer.Status != http.StatusOK {
			return fmt.Errorf("got %+v", answer)
		}
	}
}

func (s *survivor) poll(ctx context.Context, code string) (tokens, error) {
	return s.post(ctx, "/oauth2/token",
		url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code}})
}

func (s *survivor) refresh(ctx context.Context, token string) (tokens, error) {
	return s.post(ctx, "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func (s *survivor) end() {
	s.ended, s.spent = append(s.ended, s.held), append(s.spent, s.code)
	s.held, s.code, s.revoking = tokens{}, "", false
	select {
	case s.revoked <- struct{}{}:
	default:
	}
}

// check looks at everything that the device was handed.
func (s *survivor) check(ctx context.Context) error {
	if s.asking != "" { // answered or not, once: the answer may be lost, and is never given twice
		answer, err := s.poll(ctx, s.asking)
		if err != nil {
			return err
		}
		if answer.Status == http.StatusOK {
			s.held, s.code, s.since = answer, s.asking, time.Now()
		} else if answer.Error != "invalid_grant" {
			return fmt.Errorf("a code whose poll was not answered: %+v", answer)
		}
		s.asking = ""
	}
	if s.revoking {
		if answer, err := s.post(ctx, "/oauth2/revoke", url.Values{"token": {s.held.Refresh}}); err != nil ||
			answer.Status != http.StatusOK {
			return fmt.Errorf("a revocation again: %+v, %v", answer, err)
		}
		s.end()
	}
	if s.held.Access != "" && time.Since(s.since) < 20*time.Second { // later it would end the grant
		if answer, err := s.poll(ctx, s.code); err != nil || answer.Status == http.StatusOK {
			return fmt.Errorf("a device code gave tokens again: %v", err)
		}
	}
	if s.held.Access != "" {
		if !s.refreshing && s.api(s.held.Access) != http.StatusOK {
			return fmt.Errorf("an access token that was handed out is refused")
		}
		answer, err := s.refresh(ctx, s.held.Refresh) // an honest retry, where it was under way
		if err != nil || answer.Status != http.StatusOK {
			return fmt.Errorf("a refresh token that was handed out (under way: %v): %+v, %v", s.refreshing, answer, err)
		}
		s.held, s.refreshing = answer, false
	}
	for i, ended := range s.ended {
		if answer, err := s.refresh(ctx, ended.Refresh); s.api(ended.Access) != http.StatusUnauthorized || err != nil ||
			answer.Error != "invalid_grant" {
			return fmt.Errorf("a revoked grant has come back: %+v, %v", answer, err)
		}
		if answer, err := s.poll(ctx, s.spent[i]); err != nil || answer.Status == http.StatusOK {
			return fmt.Errorf("a device code gave tokens again: %v", err)
		}
	}
	s.ended, s.spent = nil, nil
	return nil
}

func (s *survivor) api(token string) int {
	r, err := http.NewRequest("GET", s.g.url+"/api/products", nil)
	if err != nil {
		return 0
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// perish has 32 devices live with a server that dies, and looks at what each
// was handed when it is back.
func perish(t *testing.T, g *gateway, die func()) {
	devices, revoked := make([]*survivor, 32), make(chan struct{}, 1)
	for i := range devices {
		devices[i] = &survivor{g: g, revoked: revoked}
	}
	alice := signedIn(t, g)
	lived, ended := 0, 0
	for range *crashes {
		for _, s := range devices {
			for len(s.codes) < 2 {
				d := g.device()
				alice.allowAt(g, d)
				s.codes = append(s.codes, d.Code)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var dying atomic.Bool
		var wg sync.WaitGroup
		for i, s := range devices {
			wg.Go(func() {
				if err := s.live(ctx, &dying); err != nil {
					t.Errorf("device %d, while the server lives: %v", i, err)
				}
			})
		}
		if ended == 0 { // a run that saw no revocation would show nothing about one
			select {
			case <-revoked:
			case <-ctx.Done():
			}
		}
		time.Sleep(rand.N(300 * time.Millisecond))
		dying.Store(true)
		die()
		cancel()
		wg.Wait()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		g.start()
		held, revoked := checkSurvivors(t, devices)
		lived, ended = lived+held, ended+revoked
	}
	t.Logf("%d deaths; %d token pairs were held through one, %d revocations", *crashes, lived, ended)
	if lived == 0 || ended == 0 {
		t.Error("no device held anything when the server died, or none was revoked: this tested nothing")
	}
}

// protocol 17, 20, 24
func TestNothingHandedOutIsLostWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	g := start(t)
	perish(t, g, g.kill)
}

// checkSurvivors checks after a restart that each device has what it was handed. It counts
// those that hold tokens, and the grants that were revoked.
func checkSurvivors(t *testing.T, devices []*survivor) (held, revoked int) {
	t.Helper()
	for i, s := range devices {
		if s.held.Access != "" {
			held++
		}
		revoked += len(s.ended)
		if err := s.check(t.Context()); err != nil {
			t.Errorf("device %d, after the restart: %v", i, err)
		}
	}
	if t.Failed() {
		t.Fatal("see above")
	}
	return held, revoked
}
