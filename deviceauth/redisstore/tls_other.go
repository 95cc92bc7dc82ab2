//go:build !unix

package redisstore

import "syscall"

// idle cannot be told here.
func idle(syscall.RawConn) error { return nil }
