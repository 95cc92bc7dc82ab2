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

// The command backup, which requests the records of the store from a running
// Caddy. A Badger database can be opened by only one process, so the command
// cannot read the directory itself.

// backupCommand returns `device-auth backup <file>`. It writes to a new file,
// or to standard output for `-`.
func backupCommand(c *adminClient) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "backup <file>", Short: "Writes a backup of a running badger store; - is standard output",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&force, "force", false, "Overwrite the file if it is there")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		name := args[0]
		// The file is checked before the request, so that a wrong name costs
		// the server nothing.
		if err := mayWrite(name, force); err != nil {
			return err
		}
		res, err := c.ask(http.MethodGet, "backup")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		// The progress is measured while reading, so that it works for a file
		// and for standard output alike.
		from := &progress{Reader: res.Body}
		if name == "-" {
			return copyChecked(c.out, from)
		}
		return writeWhole(name, from, force)
	}
	return cmd
}

// mayWrite refuses to replace a file, and to write a backup to a terminal,
// unless force is set. A backup contains the private signing keys, which would
// stay in the scrollback of a terminal. Standard output that is redirected or
// piped is accepted.
func mayWrite(name string, force bool) error {
	if name == "-" {
		if isTerminal(os.Stdout) && !force {
			return errors.New("standard output is a terminal, and a backup is secret; redirect it, or pass --force")
		}
		return nil
	}
	// Devices and pipes are refused even with force: a rename would replace
	// them by a file.
	switch info, err := os.Stat(name); {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Lstat(name); err == nil && !force {
			return fmt.Errorf("%s is a symbolic link to nothing; --force replaces it", name)
		}
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

// isTerminal reports whether a file is a character device, as a terminal is on
// all systems.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// copyChecked copies a backup to standard output and checks that it is
// complete. The output cannot be taken back, so the error says not to use it.
// The check reads all lines, and TeeReader copies what it reads.
func copyChecked(to io.Writer, from *progress) error {
	if err := badgerstore.CheckBackup(io.TeeReader(from, to)); err != nil {
		return fmt.Errorf("the backup broke off; do not use what was written: %w", err)
	}
	if _, err := io.Copy(to, from); err != nil { // the line break after the last record
		return err
	}
	from.done()
	return nil
}

// writeWhole writes a backup to a temporary file in the same directory, and
// renames it when it is complete and on disk. So an incomplete backup never
// replaces a good one.
func writeWhole(name string, from *progress, force bool) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600: only its owner can read it
	if err != nil {
		return err
	}
	// After the rename there is nothing to remove, and the error is ignored.
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(f, from); err != nil {
		return fmt.Errorf("the backup broke off, and nothing was kept of it: %w", err)
	}
	// The file is read back from its beginning, so that its own content is
	// checked.
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := badgerstore.CheckBackup(f); err != nil {
		return fmt.Errorf("nothing was kept of it: %w", err)
	}
	// The data must be on disk before the rename: after a power failure the
	// name must not refer to an incomplete backup.
	if err := f.Sync(); err != nil {
		return err
	}
	from.done()
	if err := mayWrite(name, force); err != nil { // another process may have created the file meanwhile
		return fmt.Errorf("nothing was kept of it: %w", err)
	}
	return os.Rename(f.Name(), name)
}

// warnOpen warns of a file with secrets that all users of the machine may
// read. The file is used all the same: the secrets are exposed already, and a
// restore must not fail because of that. A group may read it, such as the
// group of Caddy's user. Windows has no such mode bits.
func warnOpen(to io.Writer, f *os.File) {
	info, err := f.Stat()
	if err == nil && runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode()&0o007 != 0 {
		fmt.Fprintf(to, "Warning: %s holds secrets and is open to every user (mode %#o); run chmod 600 on it.\n",
			f.Name(), info.Mode().Perm())
	}
}

// A progress shows on a terminal how much of a copy has been read.
type progress struct {
	io.Reader
	file       *os.File // the file that is read; nil: a stream that the caller closes
	size, read int64    // in bytes; size 0: unknown
	printed    time.Time
}

// Close closes the file, if there is one.
func (p *progress) Close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

// Read implements io.Reader. It updates the display at most five times a
// second.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if p.read += int64(n); time.Since(p.printed) > 200*time.Millisecond {
		p.print("")
	}
	return n, err
}

// done shows the final amount, and ends the line.
func (p *progress) done() { p.print("\n") }

// print prints the amount in place of the previous one. It writes only to
// standard error, and only if that is a terminal, so that neither a backup on
// standard output nor a log is disturbed.
func (p *progress) print(end string) {
	p.printed = time.Now()
	if !isTerminal(os.Stderr) {
		return
	}
	// The size of a backup that is being created is unknown, and omitted.
	of := ""
	if p.size > 0 {
		of = fmt.Sprintf(" of %.1f", float64(p.size)/(1<<20))
	}
	fmt.Fprintf(os.Stderr, "\r%.1f%s MiB %s", float64(p.read)/(1<<20), of, end)
}
