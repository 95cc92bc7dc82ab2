//go:build !unix

package redisstore

import "syscall"

// idle checks nothing on this platform.
func idle(syscall.RawConn) error { return nil }
