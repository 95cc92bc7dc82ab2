package caddymodule

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// members lists what may stand in the JSON of a value of this type: a path for
// each, with [] for a list.
func members(t reflect.Type, path string) (all []string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return members(t.Elem(), path+"[]")
	case t.Kind() == reflect.Struct && t.NumField() > 0:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if t.Field(i).IsExported() && name != "" && name != "-" {
				all = append(all, members(t.Field(i).Type, strings.TrimPrefix(path+"."+name, "."))...)
			}
		}
		return all
	case path == "":
		return nil
	}
	return []string{path}
}

// Every member that the JSON of a module may have is in the reference, and no
// other.
func TestReferenceHasTheModulesMembers(t *testing.T) {
	reference := read(t, "../docs/json.md")
	sections := regexp.MustCompile("(?m)^## `([^`]+)`$").FindAllStringSubmatch(reference, -1)
	if len(sections) < 7 {
		t.Fatalf("only %d modules", len(sections))
	}
	for _, heading := range sections {
		info, err := caddy.GetModule(heading[1])
		if err != nil {
			t.Errorf("docs/json.md: %v", err)
			continue
		}
		_, section, _ := strings.Cut(reference, heading[0]+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		var documented []string
		for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
			documented = append(documented, row[1])
		}
		known := members(reflect.TypeOf(info.New()), "")
		slices.Sort(known)
		slices.Sort(documented)
		if !slices.Equal(known, documented) {
			t.Errorf("%s: the module knows\n%v\nthe reference\n%v", info.ID, known, documented)
		}
	}
	for _, id := range caddy.Modules() {
		if strings.Contains(id, "device_") && !strings.Contains(reference, "## `"+id+"`\n") {
			t.Errorf("docs/json.md has no section for %s", id)
		}
	}
}
