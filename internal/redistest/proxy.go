package redistest

import (
	"net"
	"sync"
	"testing"
)

// A Proxy stands before a server, and can have it hang: connections are taken, those
// that are there stay, and nothing is answered. It ends with the test.
type Proxy struct {
	listener net.Listener
	to       string

	mu   sync.Mutex
	open *sync.Cond
	hung bool
	all  []net.Conn
}

// Hanging starts a proxy before an address. It lets everything through until
// [Proxy.Hang].
func Hanging(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, to: to}
	p.open = sync.NewCond(&p.mu)
	t.Cleanup(p.close)
	go p.accept()
	return p
}

// URL is the proxy's address, as of a Redis.
func (p *Proxy) URL() string { return "redis://" + p.listener.Addr().String() }

// Hang lets nothing through from now on, until Resume.
func (p *Proxy) Hang() { p.set(true) }

// Resume lets everything through again, what has been waiting too.
func (p *Proxy) Resume() { p.set(false) }

func (p *Proxy) set(hung bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hung = hung
	p.open.Broadcast()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *Proxy) serve(client net.Conn) {
	p.keep(client)
	p.wait()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		client.Close()
		return
	}
	p.keep(server)
	go p.copy(server, client)
	p.copy(client, server)
}

// keep notes a connection that the end of the test is to close.
func (p *Proxy) keep(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, conn)
}

// wait returns when the proxy lets something through.
func (p *Proxy) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.hung {
		p.open.Wait()
	}
}

func (p *Proxy) copy(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.wait()
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

func (p *Proxy) close() {
	p.listener.Close()
	p.Resume()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.all {
		conn.Close()
	}
}
