package caddymodule

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// The table of docs/http.md has each identity header that backends get by default, and
// its placeholder.
func TestIdentityHeadersAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	var headers, names []string
	row := regexp.MustCompile("(?m)^\\| (?:`(Remote-\\w+)`)? *\\|.*`\\{http\\.auth\\.user\\.(\\w+)\\}` \\|$")
	for _, cells := range row.FindAllStringSubmatch(string(text), -1) {
		if cells[1] != "" {
			headers = append(headers, cells[1])
		}
		names = append(names, cells[2])
	}
	var reserved []string
	for name := range (guard.Options{}).ReservedHeaders() {
		if strings.HasPrefix(strings.ToLower(name), "remote-") {
			reserved = append(reserved, strings.ToLower(name))
		}
	}
	slices.Sort(reserved)
	documented := strings.Fields(strings.ToLower(strings.Join(headers, " ")))
	if slices.Sort(documented); !slices.Equal(documented, reserved) {
		t.Errorf("the table has %q, backends get %q", documented, reserved)
	}
	slices.Sort(names)
	if known := slices.Sorted(maps.Keys(placeholders)); !slices.Equal(names, known) {
		t.Errorf("the table has %q, the placeholders are %q", names, known)
	}
}
