package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write the golden files anew")

// divider separates a Caddyfile from the expected JSON, as in Caddy's own tests.
const divider = "\n----------\n"

// golden runs adapt on every file of a folder, and compares the result with the text
// below the divider.
func golden(t *testing.T, folder string, adapt func(t *testing.T, name, text string) string) {
	files, err := filepath.Glob("testdata/" + folder + "/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(content), divider)
			got := adapt(t, file, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+divider+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != strings.TrimSpace(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func adapt(text string) (string, error) {
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return string(out), err
}

func TestGoodCaddyfilesAdapt(t *testing.T) {
	golden(t, "good", func(t *testing.T, _, text string) string {
		out, err := adapt(text)
		if err != nil {
			t.Fatal(err)
		}
		if formatted := string(caddyfile.Format([]byte(text))); formatted != text+"\n" && formatted != text {
			t.Errorf("caddy fmt would have it\n%s", formatted)
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, []byte(out), "", "\t"); err != nil {
			t.Fatal(err)
		}
		return pretty.String()
	})
}

// A bad file holds a Caddyfile for each mistake, between lines of =, in which a
// comment marks the line that is wrong; below the divider stand the messages, in
// their order. Each names that line, and a word of it.
func TestBadCaddyfilesAreRefusedWithReasons(t *testing.T) {
	golden(t, "bad", func(t *testing.T, _, text string) string {
		var messages []string
		for _, block := range strings.Split(text, "\n====\n") {
			_, err := adapt(block)
			if err == nil {
				t.Errorf("this is accepted:\n%s", block)
				continue
			}
			before, _, wrong := strings.Cut(block, " # wrong")
			at := fmt.Sprintf("Caddyfile:%d", strings.Count(before, "\n")+1)
			if !wrong || !strings.HasSuffix(err.Error(), at) {
				t.Errorf("want %s in: %v", at, err)
			}
			line := before[strings.LastIndexByte(before, '\n')+1:]
			named := func(word string) bool { return strings.Contains(err.Error(), strings.Trim(word, `"`)) }
			if !slices.ContainsFunc(strings.Fields(line), named) {
				t.Errorf("want a word of %q in: %v", line, err)
			}
			messages = append(messages, err.Error())
		}
		return strings.Join(messages, "\n")
	})
}

// Every block of the good and bad files is a seed. A mutation of a seed is
// refused with file and line, or adapts to JSON that can be read again.
func FuzzCaddyfile(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.caddyfiletest")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		text, _, _ := strings.Cut(string(content), divider)
		for _, block := range strings.Split(text, "\n====\n") {
			if _, inner, found := strings.Cut(block, "device_login {"); found {
				f.Add(inner)
			}
		}
	}
	f.Fuzz(func(t *testing.T, inner string) {
		tokens, err := caddyfile.Tokenize([]byte("device_login {"+inner), "Caddyfile")
		if err != nil {
			return // Caddy's own no
		}
		app := new(App)
		if err := app.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			if !strings.Contains(err.Error(), "Caddyfile:") {
				t.Errorf("no file and line in: %v", err)
			}
			return
		}
		text := caddyconfig.JSON(app, nil)
		again := new(App)
		if err := json.Unmarshal(text, again); err != nil {
			t.Fatal(err)
		}
		if twice := caddyconfig.JSON(again, nil); !bytes.Equal(text, twice) {
			t.Errorf("%s is read as %s", text, twice)
		}
	})
}
