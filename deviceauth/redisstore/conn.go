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

// A dialer connects to a server.
type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// dial returns the dialer that connects to a server, with TLS if there is a
// configuration. Each connection checks the lengths in replies, see replyLimit, and
// lets the library check it before it is used again, see tlsConn.
func dial(config *tls.Config) dialer {
	// The probes are as frequent as the library's own, so that a NAT keeps idle connections.
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3}}
	connect := dialer.DialContext
	if config != nil {
		connect = dialTLS(dialer, config)
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

// A limitedConn fails as soon as a reply announces something that is too long.
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

// What a reply may announce: far more than any record has, and less than the memory and the
// stack of a small machine. Most lists are pages; the largest ones are the grants of one
// person.
const (
	maxBulk  = 64 << 20 // bytes of a string
	maxCount = 1 << 20  // elements of an array, a set or a map
	maxDepth = 32       // arrays within arrays
)

var errReplyTooLong = errors.New("redis store: the server announces a reply that is too long")

// A replyLimit follows the replies of a server (RESP2 and RESP3) and checks the lengths that
// they announce. The library allocates what is announced before it reads it, and reads
// arrays within arrays recursively: a broken server or proxy could end the process with a
// single line.
type replyLimit struct {
	payload int64   // remaining bytes of a string
	line    []byte  // the beginning of the current line
	open    []int64 // the remaining elements of the arrays that the current line is in
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
		// One byte more than a length can have shows that a line is longer.
		l.line = append(l.line, line[:min(len(line), maxLengthLine+1-len(l.line))]...)
		if p = rest; !complete {
			return nil
		}
		err := l.checkLine()
		if l.line = l.line[:0]; err != nil {
			return err
		}
	}
	return nil
}

// checkLine checks a complete line, and sets what follows it.
func (l *replyLimit) checkLine() error {
	if len(l.line) == 0 {
		return nil
	}
	most := int64(maxCount)
	switch l.line[0] {
	case '$', '=', '!': // strings
		most = maxBulk
	case '*', '~', '>', '%', '|': // arrays, sets, pushes, maps, attributes
	default:
		l.elementRead()
		return nil
	}
	if len(l.line) > maxLengthLine {
		return errReplyTooLong
	}
	size, err := strconv.ParseInt(string(bytes.TrimSuffix(l.line[1:], []byte{'\r'})), 10, 64)
	if errors.Is(err, strconv.ErrRange) || size > most {
		return errReplyTooLong
	}
	switch {
	case err != nil || size < 0: // the library reports it, or it is null
		l.elementRead()
	case most == maxBulk:
		l.payload = size + 2 // with CR LF
		l.elementRead()
	case size == 0:
		l.elementRead()
	case len(l.open) == maxDepth:
		return errReplyTooLong
	case l.line[0] == '%' || l.line[0] == '|':
		l.open = append(l.open, 2*size)
	default:
		l.open = append(l.open, size)
	}
	return nil
}

// elementRead counts an element of the innermost array, and the arrays that end with it.
func (l *replyLimit) elementRead() {
	for last := len(l.open) - 1; last >= 0; last-- {
		if l.open[last]--; l.open[last] > 0 {
			return
		}
		l.open = l.open[:last]
	}
}
