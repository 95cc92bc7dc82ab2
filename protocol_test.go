package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	promise  = regexp.MustCompile(`(?m)^(\d+)\. `)
	citation = regexp.MustCompile(`(?m)^// protocol (\d+(?:, \d+)*)\b.*\n(?://.*\n)*func (?:Test|Fuzz)`)
	claimed  = regexp.MustCompile(`(?m)^// protocol `)
)

// Every promise of docs/protocol.md has a test that cites it, right above its
// name, and no test cites a promise that is not made.
func TestEveryPromiseHasATest(t *testing.T) {
	text, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var made []string
	for _, m := range promise.FindAllStringSubmatch(string(text), -1) {
		made = append(made, m[1])
		if m[1] != strconv.Itoa(len(made)) {
			t.Errorf("promise %s comes after %d others", m[1], len(made)-1)
		}
	}
	cited := citations(t)
	for _, number := range made {
		if len(cited[number]) == 0 {
			t.Errorf("promise %s has no test", number)
		}
		delete(cited, number)
	}
	for number, files := range cited {
		t.Errorf("%s cites promise %s, which is not made", strings.Join(files, ", "), number)
	}
}

// citations returns the files with tests that cite a promise, by its number.
func citations(t *testing.T) map[string][]string {
	cited := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found := citation.FindAllStringSubmatch(string(text), -1)
		if all := len(claimed.FindAllString(string(text), -1)); all != len(found) {
			t.Errorf("%s: %d of its %d citations stand above no test", path, all-len(found), all)
		}
		for _, m := range found {
			for number := range strings.SplitSeq(m[1], ", ") {
				cited[number] = append(cited[number], path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return cited
}

var named = regexp.MustCompile(`\bTest[A-Z]\w+`)

// A test that a document names is there.
func TestDocumentsNameTestsThatAreThere(t *testing.T) {
	var all strings.Builder
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			text, readErr := os.ReadFile(path)
			all.Write(text)
			return readErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			if !strings.Contains(all.String(), "func "+name+"(") {
				t.Errorf("%s names %s, which is not there", file, name)
			}
		}
	}
}
