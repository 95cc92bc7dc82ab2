package deviceclient

import (
	"context"
	"os"
	"time"
)

// lockFile waits until this process holds the lock of a file. It uses a lock of the
// system (flock, LockFileEx) instead of the existence of a file: the lock ends with
// its process in any case, so there are no stale locks.
func lockFile(ctx context.Context, folder *os.Root, name string, note func(string, ...any)) (*os.File, error) {
	file, err := folder.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tell := time.AfterFunc(time.Second, func() { note("Waiting for another device-login that is under way…") })
	defer tell.Stop()
	for {
		held, err := tryLock(file)
		if held && err == nil {
			return file, nil
		}
		if err == nil {
			err = pause(ctx)
		}
		if err != nil {
			file.Close()
			return nil, err
		}
	}
}

// pause waits for a time that a person does not notice. A blocking lock call could
// not be cancelled.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
