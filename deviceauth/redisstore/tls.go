package redisstore

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
)

// The library looks at a connection that was idle before it is used again, and drops
// one that the server has closed. It cannot do so with TLS, since what arrives there
// may be none of the server's data. So after a restart the first commands would fail,
// one for each connection that was kept. Here the connection itself says whether it
// is still good.

// dialTLS connects as the library would, with connections that it can look at.
// It handshakes before it returns, within dialTimeout. A connection without a
// descriptor is returned as it is, and is not looked at.
func dialTLS(config *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: config}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		under, ok := conn.(*tls.Conn).NetConn().(syscall.Conn)
		if !ok {
			return conn, nil
		}
		raw, err := under.SyscallConn()
		if err != nil {
			conn.Close()
			return nil, err
		}
		return &tlsConn{Conn: conn.(*tls.Conn), raw: raw}, nil
	}
}

type tlsConn struct {
	*tls.Conn
	raw syscall.RawConn
}

// SyscallConn implements [syscall.Conn], by which the library looks at a connection
// that is idle. An error says that it is not to be used again: it is closed, or there
// is something to read, which can only be its end.
func (c *tlsConn) SyscallConn() (syscall.RawConn, error) { return c.raw, idle(c.raw) }
