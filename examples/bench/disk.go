package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// writers is the number of devices that redeem or refresh at a time, and of the
// goroutines that write to Badger for comparison.
const writers = 64

// measureDisk compares redemptions and refreshes, each of which is on disk before the
// response, with Badger alone, which syncs every transaction. The rows with a target
// call the engine directly, as they call Badger: over HTTP, the requests, the
// signatures and the client use most of the CPU time.
func measureDisk(ctx context.Context, b *bench) ([]row, error) {
	d, err := b.openDisk(ctx)
	if err != nil {
		return nil, err
	}
	defer d.close()
	if err := d.gateway.start(ctx, b.binary); err != nil {
		return nil, err
	}
	defer d.gateway.Stop()
	raw, err := b.openRaw()
	if err != nil {
		return nil, err
	}
	defer raw.db.Close()
	var sides [5]results
	for round := -1; round < b.rounds; round++ { // the first is not measured
		for i, run := range []func(context.Context) (loadtest.Result, error){
			raw.write, d.redeem, d.refresh, d.redeemHTTP, d.refreshHTTP,
		} {
			result, err := run(ctx)
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				sides[i] = append(sides[i], result)
			}
		}
	}
	const against = "Badger, SyncWrites, 64 writers of one record"
	return []row{
		ratio("redemption, on disk before the answer", against, writers, sides[1], sides[0], 1.5),
		ratio("refresh, on disk before the answer", against, writers, sides[2], sides[0], 1.5),
		ratio("the same redemption over HTTP", against, writers, sides[3], sides[0], 0),
		ratio("the same refresh over HTTP", against, writers, sides[4], sides[0], 0),
	}, nil
}

// A disk has two stores with prepared devices: one for an engine in this process, and
// one for a gateway that is used over HTTP. There are two because only one process can
// open a Badger directory.
type disk struct {
	batch    int                // of redemptions in a round
	duration time.Duration      // of the refreshes in a round
	store    *badgerstore.Store // of the engine
	rules    *loadtest.Rules
	gateway  *gateway // with a store of its own

	allowed, allowedHTTP []loadtest.Prepared // to be redeemed once
	held, heldHTTP       []loadtest.Prepared // to be refreshed repeatedly
}

// openDisk prepares both stores. It does not start the gateway.
func (b *bench) openDisk(ctx context.Context) (d *disk, err error) {
	d = &disk{batch: b.sizes.redeem, duration: b.duration}
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	if d.gateway, err = b.newGateway("wait off"); err != nil {
		return nil, err
	}
	// A batch for each round, and one for the round before the first.
	n, issuer := b.sizes.redeem*(b.rounds+1), d.gateway.issuer
	if d.allowedHTTP, err = loadtest.PrepareBadger(ctx, d.gateway.store, issuer, n, loadtest.Approved); err != nil {
		return nil, err
	}
	d.heldHTTP, err = loadtest.PrepareBadger(ctx, d.gateway.store, issuer, writers, loadtest.Connected)
	if err != nil {
		return nil, err
	}
	if d.store, err = badgerstore.Open(badgerstore.Options{Dir: dir}); err != nil {
		return nil, err
	}
	if d.rules, err = loadtest.NewRules(ctx, d.store, issuer); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	d.allowed, err = d.rules.Prepare(ctx, n, loadtest.Approved)
	if err == nil {
		d.held, err = d.rules.Prepare(ctx, writers, loadtest.Connected)
	}
	if err != nil {
		d.close()
	}
	return d, err
}

// close closes the engine, and then its store.
func (d *disk) close() {
	d.rules.Close()
	d.store.Close()
}

// redeem redeems a batch of codes with the engine.
func (d *disk) redeem(ctx context.Context) (loadtest.Result, error) {
	batch := d.allowed[:d.batch]
	d.allowed = d.allowed[d.batch:]
	var next atomic.Int64
	return together(ctx, func(int) (bool, error) {
		i := int(next.Add(1) - 1)
		if i >= len(batch) {
			return false, nil
		}
		return true, d.rules.Redeem(ctx, &batch[i])
	})
}

// refresh lets each device refresh repeatedly with the engine.
func (d *disk) refresh(ctx context.Context) (loadtest.Result, error) {
	until := time.Now().Add(d.duration)
	return together(ctx, func(w int) (bool, error) {
		if time.Now().After(until) {
			return false, nil
		}
		return true, d.rules.Refresh(ctx, &d.held[w])
	})
}

// redeemHTTP is redeem over HTTP, with one connection for each writer.
func (d *disk) redeemHTTP(ctx context.Context) (loadtest.Result, error) {
	// A code gives tokens once (RFC 8628 §3.4): each round has its own.
	batch := d.allowedHTTP[:d.batch]
	d.allowedHTTP = d.allowedHTTP[d.batch:]
	return loadtest.Run(ctx, loadtest.Load{
		Addr: d.gateway.addr, Conns: writers, PID: d.gateway.PID, Device: loadtest.Redemptions(d.gateway.host, batch),
	})
}

// refreshHTTP is refresh over HTTP, with the same number of connections.
func (d *disk) refreshHTTP(ctx context.Context) (loadtest.Result, error) {
	return loadtest.Run(ctx, loadtest.Load{
		Addr: d.gateway.addr, Conns: writers, PID: d.gateway.PID, Duration: d.duration,
		Device: loadtest.Refreshes(d.gateway.host, d.heldHTTP),
	})
}

// together calls do repeatedly in each of the writers, until it returns false there.
func together(ctx context.Context, do func(writer int) (more bool, err error)) (r loadtest.Result, err error) {
	var count atomic.Int64
	// The first error of each writer; no writer waits for another.
	errs := make([]error, writers)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for more := true; more && errs[w] == nil && ctx.Err() == nil; {
				if more, errs[w] = do(w); more {
					count.Add(1)
				}
			}
		})
	}
	wg.Wait()
	r.Requests, r.Elapsed = int(count.Load()), time.Since(began)
	return r, errors.Join(append(errs, ctx.Err())...)
}

// rawBadger is Badger without a gateway, on the same disk.
type rawBadger struct {
	db       *badger.DB    // empty at first
	count    atomic.Int64  // of the keys so far
	duration time.Duration // of each write
}

// recordSize is the size of a connected grant with the claims of its person, in bytes. It
// is written as one value, and Badger does not compress the log that it syncs.
const recordSize = 800

// openRaw creates an empty database.
func (b *bench) openRaw() (*rawBadger, error) {
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	// The tables are as small as the gateway's.
	db, err := badger.Open(badger.DefaultOptions(dir).WithSyncWrites(true).WithLogger(nil).WithMemTableSize(8 << 20))
	return &rawBadger{db: db, duration: b.duration}, err
}

// write writes new records until the duration is over. Before each it checks that the
// key does not exist, as a gateway must.
func (r *rawBadger) write(ctx context.Context) (loadtest.Result, error) {
	value := make([]byte, recordSize)
	until := time.Now().Add(r.duration)
	return together(ctx, func(int) (bool, error) {
		if time.Now().After(until) {
			return false, nil
		}
		return true, r.put(fmt.Appendf(nil, "g%14d", r.count.Add(1)), value)
	})
}

// put writes one record in a transaction of its own, which Badger syncs to the disk.
func (r *rawBadger) put(key, value []byte) error {
	return r.db.Update(func(txn *badger.Txn) error {
		if _, err := txn.Get(key); !errors.Is(err, badger.ErrKeyNotFound) {
			return fmt.Errorf("a new key: %w", err)
		}
		return txn.Set(key, value)
	})
}
