//go:build unix

package redisstore

import (
	"errors"
	"io"
	"syscall"
)

var errUnread = errors.New("redis store: the connection has something to read")

// idle returns nil if a connection is open and has no unread data. MSG_PEEK leaves
// unread data in the socket. The data on an idle connection can also be TLS's own,
// such as a session ticket; the connection is dropped then, too, which costs a
// handshake.
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
		return true // do not wait until the connection is readable
	})
	return errors.Join(err, state)
}
