package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Names in the documents for contributors are those of the code.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	declared, files := declaredNames(t), fileNames(t)
	word := regexp.MustCompile("`([A-Za-z]\\w*(?:\\.[A-Za-z]\\w*)?)`")
	found := 0
	for _, file := range []string{"CONTRIBUTING.md", "docs/architecture.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range word.FindAllStringSubmatch(string(text), -1) {
			first, second, _ := strings.Cut(match[1], ".")
			switch {
			case declared[first] && (second == "" || declared[second]):
				found++
			case !files[match[1]] && !strings.HasSuffix(match[1], "_") && match[1] != "device_login.stores":
				t.Errorf("%s names %s, which is declared nowhere", file, match[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d names are found", found)
	}
}

// fileNames are the names of all files and directories, without their paths.
func fileNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(_ string, file fs.DirEntry, err error) error {
		if err == nil {
			names[file.Name()] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// declaredNames are the names of packages, and of what they declare with all fields and methods.
func declaredNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for path := range goFiles(t) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		names[file.Name.Name] = true
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				names[n.Name.Name] = true
				return false // what is declared within is nobody's to look for
			case *ast.TypeSpec:
				names[n.Name.Name] = true
			case *ast.ValueSpec:
				for _, name := range n.Names {
					names[name.Name] = true
				}
			case *ast.Field:
				for _, name := range n.Names {
					names[name.Name] = true
				}
			}
			return true
		})
	}
	return names
}
