package redisstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"syscall"
	"time"
)

// dial returns the function that connects to a server, with TLS if there is a
// configuration. Each connection checks the length of bulk strings, see replyLimit, and
// lets the library check it before it is used again, see tlsConn.
func dial(config *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	connect := (&net.Dialer{Timeout: dialTimeout, KeepAlive: 5 * time.Minute}).DialContext
	if config != nil {
		connect = dialTLS(config)
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := connect(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if checkable, ok := conn.(checkableConn); ok {
			return &limitedConn{checkableConn: checkable}, nil
		}
		return conn, nil
	}
}

// A checkableConn is a connection that the library can check before it uses it again.
type checkableConn interface {
	net.Conn
	syscall.Conn
}

// A limitedConn fails as soon as a reply announces a bulk string that is too long.
type limitedConn struct {
	checkableConn
	limit replyLimit
}

// Read implements [net.Conn].
func (c *limitedConn) Read(p []byte) (int, error) {
	n, err := c.checkableConn.Read(p)
	if limitErr := c.limit.check(p[:n]); limitErr != nil {
		return 0, limitErr
	}
	return n, err
}

// maxBulk is far above the size of any record, and below what the memory of a small
// machine has.
const maxBulk = 64 << 20

var errReplyTooLong = errors.New("redis store: the server announces a reply of more than 64 MiB")

// A replyLimit follows the replies of a server (RESP2 and RESP3) and finds the lengths
// of bulk strings. The library allocates the announced length before it reads the
// string: a broken server or proxy could end the process with a single line.
type replyLimit struct {
	payload int64  // remaining bytes of a bulk string
	line    []byte // the beginning of the current line; longer than any length
}

// maxLengthLine is the size of a type, the longest number, and CR LF.
const maxLengthLine = 1 + 20 + 2

// check reads the next bytes of the replies.
func (l *replyLimit) check(p []byte) error {
	for len(p) > 0 {
		if l.payload > 0 {
			n := min(l.payload, int64(len(p)))
			p, l.payload = p[n:], l.payload-n
			continue
		}
		line, rest, complete := bytes.Cut(p, []byte{'\n'})
		l.line = append(l.line, line[:min(len(line), maxLengthLine-len(l.line))]...)
		if p = rest; !complete {
			return nil
		}
		size := bulkLength(l.line)
		if l.line = l.line[:0]; size > maxBulk {
			return errReplyTooLong
		}
		if size >= 0 {
			l.payload = size + 2 // with CR LF
		}
	}
	return nil
}

// bulkLength returns the length that a line announces; -1: it announces none.
func bulkLength(line []byte) int64 {
	if len(line) == 0 || bytes.IndexByte([]byte("$=!"), line[0]) < 0 {
		return -1
	}
	size, err := strconv.ParseInt(string(bytes.TrimSuffix(line[1:], []byte{'\r'})), 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return maxBulk + 1
	case err != nil:
		return -1 // the library reports it
	}
	return size
}
