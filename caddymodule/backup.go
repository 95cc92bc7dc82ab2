package caddymodule

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
)

// The commands that move a store: backup asks a running Caddy, restore and
// rekey work on a directory that no Caddy uses.

func backupCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{Use: "backup <file>", Short: "Writes a backup of a running badger store", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		answer, err := c.ask(http.MethodGet, "backup")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		return writeWhole(args[0], &progress{Reader: answer.Body})
	}}
}

// writeWhole makes a file of its own, and gives it its name when it is whole.
func writeWhole(name string, from *progress) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // readable by its owner alone
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(f, from); err != nil {
		return fmt.Errorf("the backup broke off, and nothing was kept of it: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := badgerstore.CheckBackup(f); err != nil {
		return fmt.Errorf("nothing was kept of it: %w", err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	from.done()
	return os.Rename(f.Name(), name)
}

func restoreCommand() *cobra.Command {
	var dir, keyFile string
	var keep bool
	cmd := &cobra.Command{Use: "restore <file>", Short: "Makes a new badger store of a backup", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&dir, "dir", defaultStore(), "The directory of the new store, which must not be there yet")
	cmd.Flags().StringVar(&keyFile, "encryption-key-file", "", "File with the encryption key of the new store")
	cmd.Flags().BoolVar(&keep, "keep-grants", false, "Keep devices connected: none was cut off since the backup was made")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		key, err := keyIn(cmd, keyFile)
		if err != nil {
			return err
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		warnOpen(cmd.ErrOrStderr(), f)
		from := &progress{Reader: f}
		if info, err := f.Stat(); err == nil {
			from.size = info.Size()
		}
		done, err := badgerstore.Restore(context.Background(), badgerstore.Options{Dir: dir, EncryptionKey: key}, from, keep)
		if err != nil {
			return err
		}
		from.done()
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d documents restored, %d devices stay connected, %d grants ended\n", dir, done.Documents, done.Kept, done.Ended)
		return nil
	}
	return cmd
}

func rekeyCommand() *cobra.Command {
	var dir, oldFile, newFile string
	cmd := &cobra.Command{Use: "rekey", Short: "Changes the encryption key of a badger store", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&dir, "dir", defaultStore(), "The directory of the store")
	cmd.Flags().StringVar(&oldFile, "old-key-file", "", "File with the key until now")
	cmd.Flags().StringVar(&newFile, "new-key-file", "", "File with the key from now on")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := keyIn(cmd, oldFile)
		if err != nil {
			return err
		}
		to, err := keyIn(cmd, newFile)
		if err != nil {
			return err
		}
		if err := badgerstore.Rekey(dir, from, to); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), dir+" has a new encryption key")
		return nil
	}
	return cmd
}

// keyIn reads an encryption key from a file; no file is no key.
func keyIn(cmd *cobra.Command, file string) (deviceauth.Secret, error) {
	if file == "" {
		return "", nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	warnOpen(cmd.ErrOrStderr(), f)
	text, err := io.ReadAll(f)
	return deviceauth.Secret(strings.TrimSpace(string(text))), err
}

// warnOpen tells of a file with secrets that everybody may read. It is read all
// the same: the damage is done, and a restore must not fail for it. A group may
// read it, such as the one that Caddy runs in.
func warnOpen(to io.Writer, f *os.File) {
	info, err := f.Stat()
	if err == nil && runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode()&0o007 != 0 {
		fmt.Fprintf(to, "Warning: %s holds secrets and is open to every user (mode %#o); run chmod 600 on it.\n",
			f.Name(), info.Mode().Perm())
	}
}

// progress tells a terminal how far a copy has got.
type progress struct {
	io.Reader
	size, read int64 // size 0: nobody knows
	told       time.Time
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if p.read += int64(n); time.Since(p.told) > 200*time.Millisecond {
		p.tell("")
	}
	return n, err
}

func (p *progress) done() { p.tell("\n") }

func (p *progress) tell(end string) {
	p.told = time.Now()
	if info, err := os.Stderr.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	of := ""
	if p.size > 0 {
		of = fmt.Sprintf(" of %.1f", float64(p.size)/(1<<20))
	}
	fmt.Fprintf(os.Stderr, "\r%.1f%s MiB %s", float64(p.read)/(1<<20), of, end)
}
