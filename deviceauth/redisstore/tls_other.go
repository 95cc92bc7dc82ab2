//go:build !unix

package redisstore

import "syscall"

// idle cannot be found out here.
func idle(syscall.RawConn) error { return nil }
