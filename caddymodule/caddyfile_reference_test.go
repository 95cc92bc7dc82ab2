package caddymodule

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// blocks are all blocks that the parser has words for, each with a Caddyfile
// that has an unknown word in it.
var blocks = map[string]string{
	"device_login": "{\n\tdevice_login {\n\t\tno_such_word\n\t}\n}",
	"upstream":     in("upstream a https://a.example {\n\t\t\tno_such_word\n\t\t}"),
	"client":       in("client a {\n\t\t\tno_such_word\n\t\t}"),
	"lifetime":     in("lifetime no_such_word 1s"),
	"pending":      in("pending no_such_word 1"),
	"brand":        in("brand a {\n\t\t\tno_such_word\n\t\t}"),
	"registration": in("registration {\n\t\t\tno_such_word\n\t\t}"),
	"paths":        in("paths {\n\t\t\tno_such_word\n\t\t}"),
	"store badger": in("store badger {\n\t\t\tno_such_word\n\t\t}"),
	"store redis":  in("store redis redis://localhost {\n\t\t\tno_such_word\n\t\t}"),
	"device_auth":  "http://localhost {\n\tdevice_auth {\n\t\tno_such_word\n\t}\n}",
}

func in(line string) string { return "{\n\tdevice_login {\n\t\t" + line + "\n\t}\n}" }

// parserWords are the words that the parser lists for a block.
func parserWords(t *testing.T, name, text string) []string {
	t.Helper()
	_, err := adapt(text)
	if err == nil {
		t.Fatalf("%s: accepted", name)
	}
	list := regexp.MustCompile(`want one of: ([a-z0-9_, ]+), at`).FindStringSubmatch(err.Error())
	if list == nil {
		t.Fatalf("%s: %v", name, err)
	}
	return strings.Split(list[1], ", ")
}

// Any line of a block panics if its table has a field whose type package block does not
// know (see block.Words). So a line of each table is enough to find that, also for words
// that no test uses. A table within a table has its own line here.
func TestTablesHaveFieldsOfKnownTypes(t *testing.T) {
	tables := maps.Clone(blocks)
	tables["lifetime of a client"] = in("client a {\n\t\t\tlifetime no_such_word 1s\n\t\t}")
	for name, text := range tables {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if wrong := recover(); wrong != nil {
					t.Error(wrong)
				}
			}()
			parserWords(t, name, text)
		})
	}
	// A table that is missing above would be found here.
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			made += strings.Count(read(t, file), "block.Block{")
		}
	}
	if made != len(tables) {
		t.Errorf("there are %d tables, and %d are read", made, len(tables))
	}
}

// Every word that the parser knows is in the reference, and no other.
func TestReferenceHasTheParsersWords(t *testing.T) {
	reference := read(t, "../docs/caddyfile.md")
	for name, text := range blocks {
		known := parserWords(t, name, text)
		_, section, found := strings.Cut(reference, "\n## `"+name+"`\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if !found {
			t.Errorf("docs/caddyfile.md has no section for %s", name)
		}
		var documented []string
		for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)").FindAllStringSubmatch(section, -1) {
			documented = append(documented, row[1])
		}
		slices.Sort(documented)
		if !slices.Equal(known, documented) {
			t.Errorf("%s: the parser knows\n%v, the reference\n%v", name, known, documented)
		}
	}
	for _, heading := range regexp.MustCompile("(?m)^## `([^`]+)`").FindAllStringSubmatch(reference, -1) {
		if blocks[heading[1]] == "" {
			t.Errorf("docs/caddyfile.md has a section for %s, which nothing checks", heading[1])
		}
	}
}

// Every word of the reference is in a good golden file and in a bad one.
func TestEveryWordHasAGoldenFile(t *testing.T) {
	golden := func(folder string) (text string) {
		files, err := filepath.Glob("testdata/" + folder + "/*.caddyfiletest")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			input, _, _ := strings.Cut(read(t, file), divider)
			text += input
		}
		return text
	}
	good, bad := golden("good"), golden("bad")
	for section := range strings.SplitSeq(read(t, "../docs/caddyfile.md"), "\n## ") {
		for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)").FindAllStringSubmatch(section, -1) {
			used := regexp.MustCompile(`(?m)^\s*(lifetime |pending )?` + row[1] + `\b`)
			if !used.MatchString(good) || !used.MatchString(bad) {
				t.Errorf("%s: in a good file: %v, in a bad one: %v",
					row[1], used.MatchString(good), used.MatchString(bad))
			}
		}
	}
}
