//go:build unix

package redisstore

import (
	"errors"
	"io"
	"syscall"
)

var errUnread = errors.New("redis store: the connection has something to read")

// idle says why a connection is not open with nothing to read. It takes nothing from it.
// MSG_PEEK leaves what arrived in the socket. Data on an idle connection can be
// TLS's own, such as a session ticket; the connection is dropped then, too,
// which costs a handshake.
func idle(raw syscall.RawConn) error {
	var state error
	err := raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK:
		case err != nil:
			state = err
		case n > 0:
			state = errUnread
		default:
			state = io.EOF
		}
		return true // and does not wait
	})
	return errors.Join(err, state)
}
