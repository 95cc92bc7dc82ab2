package loadtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A Load describes a run with many connections.
type Load struct {
	Addr     string        // host and port
	Conns    int           // number of connections
	Duration time.Duration // of the run; 0: until all devices have ended
	Rate     float64       // requests a second of all connections; 0: as fast as responses arrive
	PID      int           // the process whose CPU time is measured; 0: none
	// Device returns the device of one connection. It is called before the clock
	// starts.
	Device func(conn int) Device
}

// A Device is what one connection sends. It is not called concurrently.
type Device interface {
	// Next returns the next request, or nil at the end. It may block.
	Next() []byte
	// Check checks a response. An error ends the whole run, because a run with wrong
	// responses measures something else.
	Check(status int, body []byte) error
}

// A Result has the measurements of a run.
type Result struct {
	Requests int
	Elapsed  time.Duration
	P50, P99 time.Duration
	CPU      time.Duration // of the process; 0: unknown
}

// PerSecond returns the rate of requests that were answered, which may be below
// Load.Rate.
func (r Result) PerSecond() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// CPUPerThousand returns the CPU time of the process for 1,000 requests, in seconds.
func (r Result) CPUPerThousand() float64 { return r.CPU.Seconds() * 1000 / float64(r.Requests) }

// Run runs a load. Its error is the first wrong response, or that of the context.
func Run(ctx context.Context, l Load) (Result, error) {
	// The cause is the first wrong response, which ends the other connections as
	// well.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// The time that devices need to prepare is not measured.
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
	// Each connection has a list of its own, so that none waits for a lock.
	all := slices.Concat(took...)
	slices.Sort(all)
	r.Requests, r.P50, r.P99 = len(all), Percentile(all, 0.5), Percentile(all, 0.99)
	// Without requests, all ratios would be zero.
	if r.Requests == 0 {
		return r, fmt.Errorf("no request was answered in %v", r.Elapsed)
	}
	return r, nil
}

// play runs one connection. It returns the time of each response.
func (l *Load) play(ctx context.Context, began time.Time, number int, device Device) (took []time.Duration, err error) {
	c := &Conn{Addr: l.Addr}
	defer c.Close()
	// The capacity is enough for a second or two, so that growing does not delay the
	// run.
	took = make([]time.Duration, 0, 1<<14)
	// With a rate, the connections start one after the other, so that they do not all
	// send at once.
	var every time.Duration
	if l.Rate > 0 {
		every = time.Duration(float64(l.Conns) / l.Rate * float64(time.Second))
	}
	due := began.Add(every * time.Duration(number) / time.Duration(l.Conns))
	for ctx.Err() == nil && (l.Duration == 0 || time.Since(began) < l.Duration) {
		if every > 0 {
			if l.Duration > 0 && due.After(began.Add(l.Duration)) {
				return took, nil // the next request would be after the end
			}
			time.Sleep(time.Until(due))
			due = due.Add(every)
		}
		// Next may wait for a code's interval, which is not the server's time.
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

// Wrong returns the error for a response that is not the expected one, with the
// beginning of its body. It ends the run, which measured something else than
// intended, because the server was too busy, too strict, or asked for something
// unknown.
func Wrong(status int, body []byte, want string) error {
	return fmt.Errorf("answered %d, want %s: %.300s", status, want, body)
}
