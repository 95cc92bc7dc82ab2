package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
)

// Commands that use the directory of a store while no Caddy uses it. Defaults
// come from the configuration, so that an encrypted store stays encrypted.

// restoreCommand returns `device-auth restore <file>`, which creates a new
// store from a backup. By default every device must be connected anew:
// otherwise a device that was revoked after the backup would be connected
// again.
func restoreCommand(c *adminClient) *cobra.Command {
	var dir, keyFile string
	var keep, unencrypted bool
	cmd := &cobra.Command{
		Use: "restore <file>", Short: "Makes a new badger store of a backup; - is standard input",
		Args: cobra.ExactArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "",
		"The directory of the new store, which must not be there yet (default: the configuration's)")
	flags.StringVar(&keyFile, "encryption-key-file", "",
		"File with the encryption key of the new store (default: the configuration's key)")
	flags.BoolVar(&unencrypted, "unencrypted", false,
		"Do not encrypt the new store, though the old one or the configuration's is")
	flags.BoolVar(&keep, "keep-grants", false,
		"Keep devices connected: none was cut off since the backup was made")
	cmd.MarkFlagsMutuallyExclusive("encryption-key-file", "unencrypted")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		// One stream cannot be both the backup and the key.
		if err := oneStdin(args[0], keyFile, c.config); err != nil {
			return err
		}
		to, err := c.storeOptions(cmd, dir, keyFile)
		if err != nil {
			return err
		}
		if unencrypted {
			to.EncryptionKey, to.Unencrypted = "", true
		}
		from, err := backupFile(cmd, args[0])
		if err != nil {
			return err
		}
		defer from.Close()
		// Restore loads into a temporary directory next to this one, and
		// renames it when the backup is complete.
		done, err := badgerstore.Restore(cmd.Context(), to, from, keep)
		if errors.Is(err, badgerstore.ErrWasEncrypted) {
			return fmt.Errorf("%w; want --encryption-key-file, "+
				"a configuration with encryption_key, or --unencrypted", err)
		}
		if err != nil {
			return err
		}
		from.done()
		printRestored(cmd.OutOrStdout(), to, done)
		return nil
	}
	return cmd
}

// printRestored prints the result of a restore. It says whether the store is
// encrypted, which is often assumed but rarely checked.
func printRestored(out io.Writer, to badgerstore.Options, done badgerstore.Restored) {
	encrypted := "encrypted"
	if to.EncryptionKey == "" {
		encrypted = "not encrypted"
	}
	fmt.Fprintf(out, "%s (%s): %d documents restored, %d devices stay connected, %d grants ended\n",
		to.Dir, encrypted, done.Documents, done.Kept, done.Ended)
}

// backupFile opens a backup; `-` is standard input, whose size is unknown.
func backupFile(cmd *cobra.Command, name string) (*progress, error) {
	if name == "-" {
		return &progress{Reader: cmd.InOrStdin()}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	warnOpen(cmd.ErrOrStderr(), f)
	from := &progress{Reader: f, file: f}
	// Without a size the display has the amount that was read, and no total.
	if info, err := f.Stat(); err == nil {
		from.size = info.Size()
	}
	return from, nil
}

// storeOptions returns the directory and the encryption key of the flags, with
// those of the configuration as defaults. A configuration with another kind of
// store is no error if --dir is set.
func (c *adminClient) storeOptions(cmd *cobra.Command, dir, keyFile string) (badgerstore.Options, error) {
	o := badgerstore.Options{Dir: dir}
	if keyFile != "" {
		var err error
		if o.EncryptionKey, err = keyIn(cmd, keyFile); err != nil {
			return o, err
		}
	}
	// With both flags no configuration is needed, for example on another
	// machine.
	if dir != "" && keyFile != "" {
		return o, nil
	}
	s, err := c.store()
	switch {
	case errors.Is(err, errOtherStore) && dir != "":
		return o, nil
	case err != nil:
		return o, err
	}
	// A flag always takes precedence over the configuration.
	o.Dir = cmp.Or(dir, s.Dir)
	o.EncryptionKey = cmp.Or(o.EncryptionKey, s.EncryptionKey)
	return o, nil
}

// rekeyCommand returns `device-auth rekey`, which changes the encryption key
// of a store. The new key comes from a file, because other users of the
// machine can see arguments.
func rekeyCommand(c *adminClient) *cobra.Command {
	var dir, oldFile, newFile string
	cmd := &cobra.Command{Use: "rekey", Short: "Changes the encryption key of a badger store", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&dir, "dir", "", "The directory of the store (default: the configuration's)")
	cmd.Flags().StringVar(&oldFile, "old-key-file", "",
		"File with the key until now (default: the configuration's key)")
	cmd.Flags().StringVar(&newFile, "new-key-file", "", "File with the key from now on")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if newFile == "" {
			return errors.New("want --new-key-file, the file with the key from now on")
		}
		// The old key, the new key and the configuration can each be read from
		// standard input, but only one of them.
		if err := oneStdin(oldFile, newFile, c.config); err != nil {
			return err
		}
		from, err := c.storeOptions(cmd, dir, oldFile)
		if err != nil {
			return err
		}
		to, err := keyIn(cmd, newFile)
		if err != nil {
			return err
		}
		if err := badgerstore.Rekey(from.Dir, from.EncryptionKey, to); err != nil {
			return err
		}
		// The database has the new key now, but the configuration still the
		// old one.
		fmt.Fprintln(cmd.OutOrStdout(),
			from.Dir+" has a new encryption key; the configuration has to name it, as encryption_key")
		return nil
	}
	return cmd
}

// oneStdin refuses a second `-` among the files: standard input can be read
// only once.
func oneStdin(files ...string) error {
	if at := slices.Index(files, "-"); at >= 0 && slices.Contains(files[at+1:], "-") {
		return errors.New("standard input cannot be two files; one - is enough")
	}
	return nil
}

// maxKeyFile is far above the size of a file with a key, and ends the read of a device such
// as /dev/zero.
const maxKeyFile = 64 << 10

// keyIn reads an encryption key from a file; `-` is standard input. An empty
// file is an error, because an empty key would mean a store without
// encryption.
func keyIn(cmd *cobra.Command, file string) (deviceauth.Secret, error) {
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		warnOpen(cmd.ErrOrStderr(), f)
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxKeyFile+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxKeyFile {
		return "", fmt.Errorf("%s: this is no file with a key: it has more than %d bytes", file, maxKeyFile)
	}
	// Editors and echo end a file with a line break, which is not part of the
	// key.
	key := strings.TrimSpace(string(text))
	if key == "" {
		return "", fmt.Errorf("%s: the file has no key", file)
	}
	return deviceauth.Secret(key), nil
}
