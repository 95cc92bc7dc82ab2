package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
)

// The command that asks a running Caddy for what its store holds.

func backupCommand(c *adminClient) *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: "backup <file>", Short: "Writes a backup of a running badger store; - is standard output", Args: cobra.ExactArgs(1)}
	cmd.Flags().BoolVar(&force, "force", false, "Overwrite the file if it is there")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		name := args[0]
		if err := mayWrite(name, force); err != nil {
			return err
		}
		answer, err := c.ask(http.MethodGet, "backup")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		from := &progress{Reader: answer.Body}
		if name == "-" {
			return pour(c.out, from)
		}
		return writeWhole(name, from, force)
	}
	return cmd
}

// mayWrite refuses to replace what is there.
func mayWrite(name string, force bool) error {
	if name == "-" {
		if isTerminal(os.Stdout) && !force {
			return errors.New("standard output is a terminal, and a backup is secret; redirect it, or pass --force")
		}
		return nil
	}
	switch info, err := os.Stat(name); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file; want the name of one, or - for standard output", name)
	case !force:
		return fmt.Errorf("%s is there already; --force overwrites it", name)
	}
	return nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// pour copies a backup, and says at its end whether it was whole.
func pour(to io.Writer, from *progress) error {
	if err := badgerstore.CheckBackup(io.TeeReader(from, to)); err != nil {
		return fmt.Errorf("the backup broke off; do not use what was written: %w", err)
	}
	if _, err := io.Copy(to, from); err != nil { // the line break behind its end
		return err
	}
	from.done()
	return nil
}

// writeWhole makes a file of its own, and gives it its name when it is whole.
func writeWhole(name string, from *progress, force bool) error {
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
	if err := mayWrite(name, force); err != nil { // somebody else made it meanwhile
		return fmt.Errorf("nothing was kept of it: %w", err)
	}
	return os.Rename(f.Name(), name)
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
	file       *os.File // that is read; nil: none that is ours to close
	size, read int64    // size 0: nobody knows
	told       time.Time
}

// Close closes the file.
func (p *progress) Close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
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
	if !isTerminal(os.Stderr) {
		return
	}
	of := ""
	if p.size > 0 {
		of = fmt.Sprintf(" of %.1f", float64(p.size)/(1<<20))
	}
	fmt.Fprintf(os.Stderr, "\r%.1f%s MiB %s", float64(p.read)/(1<<20), of, end)
}
