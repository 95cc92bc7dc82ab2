package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// How much is measured. The defaults keep the tests short; the figures that
// are promised are measured with -flows 200 and -held 5000.
var (
	flows = flag.Int("flows", 20, "device logins to measure from the decision to the token")
	held  = flag.Int("held", 500, "polls to hold at a time")
)

// A caller is a device that asks in its own way, and returns when it has its token.
type caller func(ctx context.Context, g *gateway, d *device) error

// stock is golang.org/x/oauth2 as it comes: it asks at every tick of a clock,
// and each answer takes as long as it takes.
func stock(ctx context.Context, g *gateway, d *device) error {
	config := &oauth2.Config{ClientID: "cool-gadget", Endpoint: oauth2.Endpoint{TokenURL: g.url + "/oauth2/token"}}
	_, err := config.DeviceAccessToken(ctx, &oauth2.DeviceAuthResponse{DeviceCode: d.Code, Interval: int64(d.Interval)})
	return err
}

// sleeper sleeps for the interval after each answer.
func sleeper(_ context.Context, _ *gateway, d *device) error {
	for {
		answer := d.poll()
		switch {
		case answer.Status == http.StatusOK:
			return nil
		case answer.Error != "authorization_pending":
			return fmt.Errorf("got %+v", answer)
		}
		time.Sleep(time.Duration(d.Interval) * time.Second)
	}
}

// fromDecisionToToken measures device logins that are decided at random
// moments, a few at a time so that they do not measure each other.
func fromDecisionToToken(t *testing.T, g *gateway, call caller) (took []time.Duration) {
	const atOnce = 20
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var mu sync.Mutex
	for done := 0; done < *flows; done += atOnce {
		together(min(atOnce, *flows-done), func(int) {
			d, alice := g.device(), newPerson(t, "alice")
			answered := make(chan error, 1)
			go func() { answered <- call(ctx, g, d) }()
			alice.reach(d)
			time.Sleep(time.Second + rand.N(5*time.Second)) // nobody reads and types a code in less
			decided := time.Now()
			alice.submit("/device/confirm", "answer", "allow")
			if err := <-answered; err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(decided))
		})
	}
	slices.Sort(took)
	return took
}

func mean(list []time.Duration) (sum time.Duration) {
	for _, d := range list {
		sum += d
	}
	return sum / time.Duration(len(list))
}

// quantile of a sorted list.
func quantile(list []time.Duration, q float64) time.Duration {
	return list[min(int(q*float64(len(list))), len(list)-1)]
}

func TestTokenFollowsTheDecision(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as people do")
	}
	t.Parallel()
	promised := *flows >= 200 // few flows on a busy machine say nothing about a p99
	tests := []struct {
		name, wait       string
		call             caller
		mean, p99, worst time.Duration // at most, where they are promised
	}{
		{"a stock client", "", stock, 50 * time.Millisecond, 50 * time.Millisecond, time.Second},
		{"a client that sleeps after each answer", "", sleeper, 200 * time.Millisecond, 1100 * time.Millisecond,
			1100 * time.Millisecond},
		{"a stock client, without wait", "wait off", stock, 4 * time.Second, 6 * time.Second, 6 * time.Second},
		{"a client that sleeps, without wait", "wait off", sleeper, 4 * time.Second, 6 * time.Second, 6 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.wait != "" && !promised {
				t.Skip("a comparison, with -flows 200")
			}
			g := startWith(t, test.wait)
			took := fromDecisionToToken(t, g, test.call)
			t.Logf("%d flows: mean %v, median %v, p99 %v, worst %v", len(took), mean(took), quantile(took, 0.5),
				quantile(took, 0.99), took[len(took)-1])
			p99, worst := quantile(took, 0.99), took[len(took)-1]
			if promised && (mean(took) > test.mean || p99 > test.p99 || worst > test.worst) {
				t.Errorf("want a mean of %v, a p99 of %v, %v at worst", test.mean, test.p99, test.worst)
			}
			if median := quantile(took, 0.5); median > test.mean {
				t.Errorf("median %v, want %v", median, test.mean)
			}
		})
	}
}

var residentSize = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resident is the server's memory, in KiB.
func (g *gateway) resident() int {
	g.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.t.Skip("this system has no /proc")
	}
	kib, err := strconv.Atoi(residentSize.FindStringSubmatch(string(status))[1])
	if err != nil {
		g.t.Fatal(err)
	}
	return kib
}

// waitHeld waits until the server holds so many polls, as its metric says.
func (g *gateway) waitHeld(n int) {
	g.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		held := g.metric("caddy_device_login_polls_held")
		if held == strconv.Itoa(n) {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("the server holds %s polls, want %d", held, n)
		}
	}
}

// protocol 16
func TestManyPollsAreHeldAndAllAnsweredByAReload(t *testing.T) {
	g := startWith(t, "pending address 100000\n\twait 50s")
	devices := make([]*device, *held)
	for i := range devices {
		devices[i] = g.device()
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	before := g.resident()
	answers := make(chan error, *held)
	for _, d := range devices {
		go func() { answers <- heldPoll(client, d) }()
	}
	g.waitHeld(*held)
	each := float64(g.resident()-before) / float64(*held)
	t.Logf("%d held polls: %.1f KiB each", *held, each)
	if each > 60 && !underRace {
		t.Errorf("a held poll takes %.1f KiB, want at most 60", each)
	}
	select {
	case err := <-answers:
		t.Fatalf("a poll is not held: %v", err)
	default:
	}
	reloaded := time.Now()
	var took time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range *held {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		took = time.Since(reloaded)
	}()
	if out, err := g.run("reload", "--config", g.config, "--address", g.admin, "--force"); err != nil {
		t.Fatal(err, out)
	}
	<-done
	t.Logf("after the reload's order all are answered in %v", took)
	if took > time.Second && !underRace {
		t.Errorf("the reload answered them after %v, want a second", took)
	}
}

// heldPoll polls once; the response is to be that the person has not decided.
func heldPoll(client *http.Client, d *device) error {
	response, err := client.PostForm(d.g.url+"/oauth2/token", url.Values{
		"client_id": {"cool-gadget"}, "device_code": {d.Code},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	})
	if err == nil && response.StatusCode != http.StatusBadRequest {
		err = fmt.Errorf("a held poll is answered %s", response.Status)
	}
	if err == nil {
		response.Body.Close()
	}
	return err
}
