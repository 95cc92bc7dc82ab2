package cli_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	_ "github.com/deviceauth/caddy-deviceauth/caddymodule" // the stores
	"github.com/deviceauth/caddy-deviceauth/caddymodule/cli"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
)

// rightOption is a configuration to which a store may be added.
const rightOption = "{\n\tdevice_login {\n\t\tissuer https://connect.example.com\n" +
	"\t\tupstream a https://a.example {\n\t\t\tclient_id x\n\t\t}\n\t}\n}\n"

var (
	oldKey = strings.Repeat("ab", 32)
	newKey = strings.Repeat("cd", 32)
)

// runAuth runs the command device-auth.
func runAuth(in string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := &cobra.Command{Use: "device-auth", SilenceUsage: true, SilenceErrors: true}
	cli.DeviceAuthTo(cmd, &out)
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// caddyfileWith is a Caddyfile with a store.
func caddyfileWith(t *testing.T, store string) string {
	return write(t, "Caddyfile", strings.Replace(rightOption, "\t}\n}\n", "\t\tstore "+store+"\n\t}\n}\n", 1))
}

func encrypted(dir, key string) string {
	return "badger " + dir + " {\n\t\t\tencryption_key " + key + "\n\t\t}"
}

// backupOf is a backup of a store with a key, or without.
func backupOf(t *testing.T, key string) string {
	t.Helper()
	options := badgerstore.Options{Dir: filepath.Join(t.TempDir(), "store"), EncryptionKey: deviceauth.Secret(key)}
	s, err := badgerstore.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var text bytes.Buffer
	err = s.UpdateDocument(t.Context(), "a", func([]byte) ([]byte, error) { return []byte("b"), nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), &text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// opensWith reports whether a store opens with a key.
func opensWith(dir, key string) bool {
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir, EncryptionKey: deviceauth.Secret(key)})
	return err == nil && s.Close() == nil
}

// A restoreTest is a restore by the configuration and flags.
type restoreTest struct {
	name, backup string
	store        func(dir string) string // of the configuration
	flags        func(dir string) []string
	key          string // that the new store has
	refused      string
}

func restoreTests(t *testing.T) []restoreTest {
	t.Helper()
	open, secret := backupOf(t, ""), backupOf(t, oldKey)
	keyed := func(dir string) string { return encrypted(dir, oldKey) }
	unkeyed := func(dir string) string { return "badger " + dir }
	memory := func(string) string { return "memory" }
	return []restoreTest{
		{name: "the path and the key", backup: secret, store: keyed, key: oldKey},
		{name: "the path alone", backup: open, store: unkeyed},
		{name: "a key for what had none", backup: open, store: keyed, key: oldKey},
		{
			name: "another directory, and the key", backup: secret, key: oldKey,
			store: func(string) string { return encrypted("/nowhere", oldKey) },
			flags: func(dir string) []string { return []string{"--dir", dir} },
		},
		{
			name: "another key", backup: secret, store: keyed, key: newKey,
			flags: func(string) []string { return []string{"--encryption-key-file", write(t, "key", newKey)} },
		},
		{name: "no key for what had one", backup: secret, store: unkeyed, refused: "--unencrypted"},
		{
			name: "no key on purpose", backup: secret, store: keyed,
			flags: func(string) []string { return []string{"--unencrypted"} },
		},
		{
			name: "an empty key", backup: secret, store: keyed, refused: "has no key",
			flags: func(string) []string { return []string{"--encryption-key-file", write(t, "key", "\n")} },
		},
		{name: "another kind of store", backup: open, store: memory, refused: "memory"},
		{
			name: "a directory beside another kind", backup: open, store: memory,
			flags: func(dir string) []string { return []string{"--dir", dir} },
		},
	}
}

func TestRestoreFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	for _, test := range restoreTests(t) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "new")
			args := []string{"restore", write(t, "backup", test.backup), "--config", caddyfileWith(t, test.store(dir))}
			if test.flags != nil {
				args = append(args, test.flags(dir)...)
			}
			out, err := runAuth("", args...)
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("want %q in: %v", test.refused, err)
				}
				if _, err := os.Stat(dir); err == nil {
					t.Error("something was made")
				}
				return
			}
			if err != nil || !opensWith(dir, test.key) {
				t.Fatalf("with the key it opens: %v; %v\n%s", opensWith(dir, test.key), err, out)
			}
			if encrypted := strings.Contains(out, "(encrypted)"); encrypted != (test.key != "") {
				t.Errorf("it says %s", out)
			}
		})
	}
}

func TestStandardInputIsABackup(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	out, err := runAuth(backupOf(t, oldKey), "restore", "-", "--config", caddyfileWith(t, encrypted(dir, oldKey)))
	if err != nil || !opensWith(dir, oldKey) {
		t.Errorf("%v\n%s", err, out)
	}
	_, err = runAuth("", "restore", "-", "--config", "-")
	if err == nil || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("standard input is two files: %v", err)
	}
}

func TestRekeyFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	if !opensWith(dir, oldKey) {
		t.Fatal("no store")
	}
	config := caddyfileWith(t, encrypted(dir, oldKey))
	_, err := runAuth("", "rekey", "--config", config)
	if err == nil || !strings.Contains(err.Error(), "--new-key-file") {
		t.Errorf("without a new key: %v", err)
	}
	out, err := runAuth(newKey, "rekey", "--config", config, "--new-key-file", "-")
	if err != nil || !opensWith(dir, newKey) {
		t.Errorf("%v\n%s", err, out)
	}
}

// A backup goes to a new file, or to standard output.
func TestBackupOverwritesNothing(t *testing.T) {
	t.Parallel()
	text := backupOf(t, oldKey)
	asked := 0
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		io.WriteString(w, text)
	}))
	defer admin.Close()
	address := strings.TrimPrefix(admin.URL, "http://")
	file := write(t, "backup", "of yesterday")
	_, err := runAuth("", "backup", file, "--address", address)
	if err == nil || !strings.Contains(err.Error(), "--force") || asked > 0 {
		t.Errorf("the file is overwritten: %v, after %d requests", err, asked)
	}
	_, err = runAuth("", "backup", t.TempDir(), "--force", "--address", address)
	if err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a directory: %v", err)
	}
	if out, err := runAuth("", "backup", "-", "--address", address); err != nil || out != text {
		t.Errorf("standard output: %v\n%s", err, out)
	}
	if out, err := runAuth("", "backup", file, "--force", "--address", address); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Errorf("%v, %s", err, got)
	}
	text = text[:len(text)/2]
	_, err = runAuth("", "backup", "-", "--address", address)
	if err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("half a backup: %v", err)
	}
}

// A command asks the admin endpoint that the configuration names, and no other.
func TestCommandsAskTheEndpointOfTheConfiguration(t *testing.T) {
	for _, test := range []struct {
		name, admin, want, refused string
		address                    string
	}{
		{name: "nothing is said", want: "localhost:2019"},
		{name: "an address", admin: "admin localhost:2020", want: "localhost:2020"},
		{name: "a socket", admin: "admin unix//run/caddy.sock", want: "unix//run/caddy.sock"},
		{name: "off", admin: "admin off", refused: "admin off"},
		{name: "off, and an address", admin: "admin off", address: "localhost:3000", want: "localhost:3000"},
		{name: "a mistake", admin: "admim off", refused: "admim"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := write(t, "Caddyfile", "{\n\t"+test.admin+"\n}\n")
			got, err := cli.Endpoint(config, test.address)
			refused := err != nil && strings.Contains(err.Error(), test.refused)
			if got != test.want || (err == nil) != (test.refused == "") || err != nil && !refused {
				t.Errorf("got %q, %v", got, err)
			}
			if test.address == "" { // the same, as the Caddyfile of the current directory
				t.Chdir(filepath.Dir(config))
				if here, err := cli.Endpoint("", ""); here != test.want || (err == nil) != (test.refused == "") {
					t.Errorf("in its directory: %q, %v", here, err)
				}
			}
		})
	}
	t.Run("JSON", func(t *testing.T) {
		if _, err := cli.Endpoint(write(t, "caddy.json", `{"admin":{"disabled":true}}`), ""); err == nil {
			t.Error("an endpoint is asked")
		}
	})
}
