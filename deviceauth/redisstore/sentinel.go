package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A failoverClient is a client of the master that Sentinels name. The library has such a
// client, too, but that panics in its own goroutines at a reply of a Sentinel that it does
// not expect.
type failoverClient struct {
	*redis.Client
	sentinels *sentinels
}

// newFailoverClient returns a client that connects to the master that the Sentinels at the
// addresses name.
func newFailoverClient(u *redis.UniversalOptions) *failoverClient {
	ctx, stop := context.WithCancel(context.Background())
	s := &sentinels{name: u.MasterName, connect: u.Dialer, conns: map[*masterConn]string{}, stop: stop}
	s.options = redis.Options{
		Username: u.SentinelUsername, Password: u.SentinelPassword, Dialer: u.Dialer, TLSConfig: u.TLSConfig,
		DialTimeout: u.DialTimeout, ReadTimeout: u.ReadTimeout, WriteTimeout: u.WriteTimeout,
		ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1,
	}
	for _, addr := range u.Addrs {
		s.add(addr)
	}
	o := u.Simple()
	o.Dialer = s.dial
	s.ended.Go(func() { s.watch(ctx) })
	return &failoverClient{Client: redis.NewClient(o), sentinels: s}
}

// Close closes the connections to the master and to the Sentinels.
func (c *failoverClient) Close() error {
	return errors.Join(c.Client.Close(), c.sentinels.close())
}

// sentinels asks Sentinels for the address of their master. It continues to ask the one
// that answered last, so that Sentinels that disagree for a while do not make the client
// change between two masters. So the client may believe a Sentinel that is cut off from
// the others, until that no longer responds. A master with min-replicas-to-write accepts
// no changes during that time.
type sentinels struct {
	name    string
	options redis.Options // for each Sentinel, without the address
	connect dialer
	stop    context.CancelFunc
	ended   sync.WaitGroup

	mu    sync.Mutex
	list  []*sentinel            // the one that answered last is the first
	conns map[*masterConn]string // the open connections, with the address of the master
}

// A sentinel is one Sentinel.
type sentinel struct {
	*redis.SentinelClient
	addr string
}

const (
	askTimeout   = 400 * time.Millisecond // so that three Sentinels are asked within a command's time limit
	askInterval  = time.Second
	maxSentinels = 16
)

// add adds the Sentinel at an address, unless there is one already.
func (s *sentinels) add(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := slices.ContainsFunc(s.list, func(one *sentinel) bool { return one.addr == addr })
	if known || len(s.list) >= maxSentinels {
		return
	}
	o := s.options
	o.Addr = addr
	s.list = append(s.list, &sentinel{SentinelClient: redis.NewSentinelClient(&o), addr: addr})
}

func (s *sentinels) close() (err error) {
	s.stop()
	s.ended.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.list {
		err = errors.Join(err, one.Close())
	}
	return err
}

// master returns the address of the master, and the Sentinel that named it.
func (s *sentinels) master(ctx context.Context) (addr string, from *sentinel, err error) {
	s.mu.Lock()
	list := slices.Clone(s.list)
	s.mu.Unlock()
	for i, one := range list {
		addr, oneErr := one.ask(ctx, s.name)
		if oneErr != nil {
			err = errors.Join(err, fmt.Errorf("the Sentinel at %s: %w", one.addr, oneErr))
			continue
		}
		if i > 0 {
			s.prefer(one)
		}
		return addr, one, nil
	}
	return "", nil, err
}

// prefer makes a Sentinel the first that is asked.
func (s *sentinels) prefer(one *sentinel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.list, one)
	s.list = slices.Insert(slices.Delete(s.list, at, at+1), 0, one)
}

// ask asks the Sentinel for the address of a master.
func (s *sentinel) ask(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	addr, err := s.GetMasterAddrByName(ctx, name).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return "", fmt.Errorf("it knows no master %q", name)
	case err != nil:
		return "", err
	case len(addr) != 2 || !isPort(addr[1]) || addr[0] == "":
		return "", fmt.Errorf("it answers %.60q: want an address and a port", addr)
	}
	return net.JoinHostPort(addr[0], addr[1]), nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port != 0
}

// dial connects to the master, whatever the address that it is given. It is the dialer of
// the client.
func (s *sentinels) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	addr, _, err := s.master(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := s.connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	checkable, ok := conn.(checkableConn)
	if !ok { // on some systems; a Sentinel closes the connections of a master that it replaces
		return conn, nil
	}
	c := &masterConn{checkableConn: checkable, sentinels: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = addr
	return c, nil
}

// A masterConn is a connection to a master.
type masterConn struct {
	checkableConn
	sentinels *sentinels
}

// Close implements [net.Conn].
func (c *masterConn) Close() error {
	c.sentinels.mu.Lock()
	delete(c.sentinels.conns, c)
	c.sentinels.mu.Unlock()
	return c.checkableConn.Close()
}

// watch asks for the master every second until the context ends. It closes the
// connections to a master that was replaced: a master that only the Sentinels cannot
// reach would still accept changes, which are lost later. It also learns of other
// Sentinels.
func (s *sentinels) watch(ctx context.Context) {
	tick := time.NewTicker(askInterval)
	defer tick.Stop()
	for {
		if addr, from, err := s.master(ctx); err == nil {
			s.closeOthers(addr)
			s.discover(ctx, from)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// closeOthers closes the connections to other addresses than the master's.
func (s *sentinels) closeOthers(master string) {
	s.mu.Lock()
	var others []*masterConn
	for c, addr := range s.conns {
		if addr != master {
			others = append(others, c)
		}
	}
	s.mu.Unlock()
	for _, c := range others {
		c.Close()
	}
}

// discover adds the Sentinels that another one knows. What it answers is only a hint.
func (s *sentinels) discover(ctx context.Context, from *sentinel) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	others, _ := from.Sentinels(ctx, s.name).Result()
	for _, other := range others {
		if other["ip"] != "" && isPort(other["port"]) {
			s.add(net.JoinHostPort(other["ip"], other["port"]))
		}
	}
}
