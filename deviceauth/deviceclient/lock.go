package deviceclient

import (
	"context"
	"os"
	"time"
)

// lockFile waits until this process alone holds a file. The lock is the system's
// (flock, LockFileEx), and not a file that is there or not: it ends with its
// process, however that ends, so there is no stale one to be guessed at.
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

// pause is short enough for a person not to notice. The system could wait by
// itself, but not be interrupted.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
