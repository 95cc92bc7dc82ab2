package redisstore

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
)

// go-redis checks an idle connection before it uses it again, and drops one that the
// server has closed. It cannot do so with TLS, where unread bytes need not be data of
// the server. So after a restart of the server the first command on each idle
// connection would fail. The connections of this file make the check themselves.

// dialTLS returns a dial function like the library's, whose connections the library
// can check. It completes the handshake within dialTimeout. A connection without a
// file descriptor is returned as it is, and is not checked.
func dialTLS(under *net.Dialer, config *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := tls.Dialer{NetDialer: under, Config: config}
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

// SyscallConn implements [syscall.Conn], which the library calls to check an idle
// connection. Its error means that the connection must not be used again: it is
// closed, or it has unread data, which on an idle connection is nearly always the
// alert that closes it.
func (c *tlsConn) SyscallConn() (syscall.RawConn, error) { return c.raw, idle(c.raw) }
