package deviceclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// TestMain lets the test's binary be the other process: it holds a lock until
// it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("DEVICECLIENT_HOLD"); path != "" {
		_, err := holdAt(context.Background(), path, nil)
		fmt.Println(err)
		select {}
	}
	os.Exit(needs.RunWaiting(m))
}

func holdAt(ctx context.Context, path string, note func(string, ...any)) (*os.File, error) {
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return lockFile(ctx, folder, filepath.Base(path), note)
}

func TestLockKeepsOtherProcessesOutAndEndsWithItsOwn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "DEVICECLIENT_HOLD="+path)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _, _ := bufio.NewReader(out).ReadLine(); string(line) != "<nil>" {
		t.Fatalf("the other process says %q", line)
	}
	shown := make(chan string, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // the wait is reported after a second
	defer cancel()
	if _, err := holdAt(ctx, path, func(text string, _ ...any) { shown <- text }); !errors.Is(err,
		context.DeadlineExceeded) {
		t.Errorf("beside another process: %v", err)
	}
	if len(shown) != 1 {
		t.Error("nobody was told what is waited for")
	}
	other.Process.Kill()
	other.Wait()
	file, err := holdAt(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
}
