package loadtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Load is what one run of many connections sends.
type Load struct {
	Addr     string        // host and port
	Conns    int           // how many connections there are
	Duration time.Duration // when it ends; 0: when all devices have
	Rate     float64       // requests a second of all connections; 0: each as soon as the one before is answered
	PID      int           // of the process whose CPU time is measured; 0: of none
	// Device makes what one connection plays. It is called before the clock starts.
	Device func(conn int) Device
}

// A Device is what one connection plays. It is for one goroutine.
type Device interface {
	// Next is the next request, or nil where there is no further one. It may wait.
	Next() []byte
	// Check looks at the answer. An error ends the whole run: a run with wrong answers
	// measures something else.
	Check(status int, body []byte) error
}

// A Result is what a run measured.
type Result struct {
	Requests int
	Elapsed  time.Duration
	P50, P99 time.Duration
	CPU      time.Duration // of the process; 0: unknown
}

// PerSecond is the rate of the requests that were answered, whatever rate they were to
// have.
func (r Result) PerSecond() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// CPUPerThousand is the CPU time of the process for 1,000 requests, in seconds.
func (r Result) CPUPerThousand() float64 { return r.CPU.Seconds() * 1000 / float64(r.Requests) }

// Run plays a load. The error is the first wrong answer, or that of the context.
func Run(ctx context.Context, l Load) (Result, error) {
	// The cause is the first wrong answer, and ends the other connections too.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// What devices prepare is not in the time.
	devices := make([]Device, l.Conns)
	for i := range devices {
		devices[i] = l.Device(i)
	}
	took := make([][]time.Duration, l.Conns)
	var wg sync.WaitGroup
	cpu, began := UsageOf(l.PID).CPU, time.Now()
	for i, device := range devices {
		wg.Go(func() {
			var err error
			if took[i], err = l.play(ctx, began, i, device); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	r := Result{Elapsed: time.Since(began), CPU: UsageOf(l.PID).CPU - cpu}
	if err := context.Cause(ctx); err != nil {
		return r, err
	}
	// Each connection had a list of its own, so that they wait for no lock.
	all := slices.Concat(took...)
	slices.Sort(all)
	r.Requests, r.P50, r.P99 = len(all), Percentile(all, 0.5), Percentile(all, 0.99)
	// Figures of nothing would be ratios of zero.
	if r.Requests == 0 {
		return r, fmt.Errorf("no request was answered in %v", r.Elapsed)
	}
	return r, nil
}

// play is one connection. It returns how long each answer took.
func (l *Load) play(ctx context.Context, began time.Time, number int, device Device) (took []time.Duration, err error) {
	c := &Conn{Addr: l.Addr}
	defer c.Close()
	// Room for a second or two, so that no run is held up by growing it.
	took = make([]time.Duration, 0, 1<<14)
	// Connections with a rate take turns, so that they do not all send at once.
	var every time.Duration
	if l.Rate > 0 {
		every = time.Duration(float64(l.Conns) / l.Rate * float64(time.Second))
	}
	due := began.Add(every * time.Duration(number) / time.Duration(l.Conns))
	for ctx.Err() == nil && (l.Duration == 0 || time.Since(began) < l.Duration) {
		if every > 0 {
			if l.Duration > 0 && due.After(began.Add(l.Duration)) {
				return took, nil // the next would be behind the end
			}
			time.Sleep(time.Until(due))
			due = due.Add(every)
		}
		// Next may wait, for a code's interval; that is no time of the server's.
		request := device.Next()
		if request == nil {
			return took, nil
		}
		sent := time.Now()
		status, body, err := c.Do(request)
		if err != nil {
			return took, fmt.Errorf("request %d of connection %d: %w", len(took)+1, number, err)
		}
		took = append(took, time.Since(sent))
		if err := device.Check(status, body); err != nil {
			return took, fmt.Errorf("request %d of connection %d: %w", len(took), number, err)
		}
	}
	return took, nil
}

// Wrong is the error of an answer that is not what was wanted, with the beginning of its
// body. It ends a run: that measured something else than it was to, because the server
// was too busy, too strict, or asked for what it does not have.
func Wrong(status int, body []byte, want string) error {
	return fmt.Errorf("answered %d, want %s: %.300s", status, want, body)
}
