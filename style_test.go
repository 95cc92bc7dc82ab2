package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// The rules of style that a program can check.
const (
	longLine      = "a line above 120 columns" // a tab counts as 4
	longFile      = "a file above 300 lines"   // tests may be longer
	longFunction  = "a function above 50 lines"
	privateName   = "a name that is no word of the trade"
	unkeyed       = "a literal without keys of a struct of its package"
	tooFewComment = "comments on less than 18 % of the lines" // of a package, without its tests
)

func TestStyle(t *testing.T) {
	sources := map[string]map[string][]byte{}
	for path := range goFiles(t) {
		if strings.Contains(path, "testdata/") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(path)
		if sources[dir] == nil {
			sources[dir] = map[string][]byte{}
		}
		sources[dir][path] = text
	}
	for dir, files := range sources {
		for _, f := range styleOf(t, dir, files) {
			t.Errorf("%s: %s", f.at, f.rule)
		}
	}
}

// A finding is a place where a rule is not followed.
type finding struct{ at, rule string }

// styleOf checks the files of one directory.
func styleOf(t *testing.T, dir string, files map[string][]byte) []finding {
	t.Helper()
	fset := token.NewFileSet()
	parsed := map[string]*ast.File{}
	structs := map[string]bool{} // of the package and of its external tests alike
	for path, text := range files {
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed[path] = file
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				_, isStruct := spec.Type.(*ast.StructType)
				structs[spec.Name.Name] = structs[spec.Name.Name] || isStruct
			}
			return true
		})
	}
	var all []finding
	var lines, commented int
	for path, text := range files {
		all = append(all, styleOfLines(path, text)...)
		all = append(all, styleOfNodes(fset, parsed[path], structs)...)
		if !strings.HasSuffix(path, "_test.go") {
			lines += strings.Count(string(text), "\n")
			commented += commentedLines(fset, parsed[path])
		}
	}
	if 100*commented < 18*lines {
		share := 100 * float64(commented) / float64(lines)
		all = append(all, finding{at: fmt.Sprintf("%s (%.1f %%)", dir, share), rule: tooFewComment})
	}
	return all
}

func styleOfLines(path string, text []byte) (all []finding) {
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")
		if utf8.RuneCountInString(line) > 120 {
			all = append(all, finding{at: fmt.Sprintf("%s:%d", path, number), rule: longLine})
		}
	}
	if number > 300 && !strings.HasSuffix(path, "_test.go") {
		all = append(all, finding{at: path, rule: longFile})
	}
	return all
}

// privateWords are in no name, in tests neither: a stranger does not look for them, or they
// say nothing. The RFC's or the trade's word is wanted in their place.
var privateWords = regexp.MustCompile(`(?i)nobody|whoever|anybod|somebod|herald|crier|tidings|sentry|visitor` +
	`|letgo|patience|(?-i:^(came|tend|said|told|untold|heard|holder|mark)$)`)

func styleOfNodes(fset *token.FileSet, file *ast.File, structs map[string]bool) (all []finding) {
	add := func(n ast.Node, rule string) {
		all = append(all, finding{at: fset.Position(n.Pos()).String(), rule: rule})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if fset.Position(n.End()).Line-fset.Position(n.Pos()).Line+1 > 50 {
				add(n, longFunction)
			}
		case *ast.Ident:
			if n.Name != "NoBody" && privateWords.MatchString(n.Name) { // net/http's
				add(n, privateName)
			}
		case *ast.CompositeLit:
			for _, literal := range structLiterals(n, structs) {
				if _, keyed := literal.Elts[0].(*ast.KeyValueExpr); !keyed {
					add(literal, unkeyed)
				}
			}
		}
		return true
	})
	return all
}

// structLiterals returns the literals of named structs that a literal is, or that it
// holds without repeating their type, as those of []T{{…}} do. Empty ones are left out.
func structLiterals(n *ast.CompositeLit, structs map[string]bool) (all []*ast.CompositeLit) {
	if isNamed(n.Type, structs) && len(n.Elts) > 0 {
		return []*ast.CompositeLit{n}
	}
	var element ast.Expr
	switch of := n.Type.(type) {
	case *ast.ArrayType:
		element = of.Elt
	case *ast.MapType:
		element = of.Value
	}
	if !isNamed(element, structs) {
		return nil
	}
	for _, e := range n.Elts {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			e = pair.Value
		}
		if literal, ok := e.(*ast.CompositeLit); ok && literal.Type == nil && len(literal.Elts) > 0 {
			all = append(all, literal)
		}
	}
	return all
}

func isNamed(of ast.Expr, structs map[string]bool) bool {
	if pointer, ok := of.(*ast.StarExpr); ok {
		of = pointer.X
	}
	name, ok := of.(*ast.Ident)
	return ok && structs[name.Name]
}

// commentedLines counts the lines of a file that hold a comment, beside code or alone.
func commentedLines(fset *token.FileSet, file *ast.File) (count int) {
	last := 0
	for _, group := range file.Comments {
		for _, c := range group.List {
			from, to := fset.Position(c.Pos()).Line, fset.Position(c.End()).Line
			count += to - max(from, last+1) + 1
			last = to
		}
	}
	return count
}

func TestStyleIsChecked(t *testing.T) {
	const comments = "// one\n// two\n// three\n// four\n"
	tests := []struct{ name, file, source, want string }{
		{"nothing", "a.go", comments, ""},
		{"120 columns", "a.go", comments + "//\t" + strings.Repeat("é", 114) + "\n", ""},
		{"121 columns", "a.go", comments + "//\t" + strings.Repeat("é", 115) + "\n", longLine},
		{"121 columns of a raw string", "a_test.go", "var x = `\n" + strings.Repeat("x", 121) + "`\n", longLine},
		{"300 lines", "a.go", strings.Repeat("//\n", 299), ""},
		{"301 lines", "a.go", strings.Repeat("//\n", 300), longFile},
		{"301 lines of tests", "a_test.go", strings.Repeat("//\n", 300), ""},
		{"50 lines of a function", "a_test.go", "func f() {\n" + strings.Repeat("f()\n", 48) + "}\n", ""},
		{"51 lines of a function", "a_test.go", "func f() {\n" + strings.Repeat("f()\n", 49) + "}\n", longFunction},
		{"nobody", "a_test.go", "func f(nobodys int) {}\n", privateName},
		{"whoever", "a_test.go", "type byWhoever int\n", privateName},
		{"anybody", "a_test.go", "var x = struct{ Anybody int }{}\n", privateName},
		{"somebody", "a_test.go", "func TestSomebodyElse() {}\n", privateName},
		{"crier", "a_test.go", "type townCrier int\n", privateName},
		{"said", "a_test.go", "var said = 1\n", privateName},
		{"a word that begins like it", "a_test.go", "var tendency, marker = 1, 2\n", ""},
		{"the body that is none", "a_test.go", "var x = http.NoBody\n", ""},
		{"keys", "a_test.go", "type s struct{ a int }\nvar x = []*s{{a: 1}, &s{a: 2}, {}}\n", ""},
		{"no keys", "a_test.go", "type s struct{ a int }\nvar x = s{1}\n", unkeyed},
		{"no keys behind a pointer", "a_test.go", "type s struct{ a int }\nvar x = &s{1}\n", unkeyed},
		{"no keys in a slice", "a_test.go", "type s struct{ a int }\nvar x = []s{{1}}\n", unkeyed},
		{"no keys in a map", "a_test.go", "type s struct{ a int }\nvar x = map[int]*s{1: {1}}\n", unkeyed},
		{"no keys in a function", "a_test.go", "func f() { type s struct{ a int }; _ = s{1} }\n", unkeyed},
		{"a slice with a name", "a_test.go", "type s []int\nvar x = s{1}\n", ""},
		{"a table", "a_test.go", "var x = []struct{ a int }{{1}}\n", ""},
		{"18 %", "a.go", strings.Repeat("// x\n", 18) + strings.Repeat("var _ = 1\n", 81), ""},
		{"less than 18 %", "a.go", strings.Repeat("// x\n", 18) + strings.Repeat("var _ = 1\n", 82), tooFewComment},
		{"comments beside code", "a.go", strings.Repeat("var _ = 1 /* x */ // y\n", 18) +
			strings.Repeat("var _ = 1\n", 82), tooFewComment},
		{"tests without comments", "a_test.go", "var _ = 1\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found := styleOf(t, ".", map[string][]byte{test.file: []byte("package a\n" + test.source)})
			switch {
			case test.want == "" && len(found) != 0, test.want != "" && len(found) != 1:
				t.Errorf("got %v, want one of %q", found, test.want)
			case test.want != "" && found[0].rule != test.want:
				t.Errorf("got %q, want %q", found[0].rule, test.want)
			}
		})
	}
}
