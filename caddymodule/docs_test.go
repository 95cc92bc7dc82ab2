package caddymodule

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/blackbox"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Whoever listens for an event finds it in the documentation, and nothing that
// there is not.
func TestEventsAreDocumented(t *testing.T) {
	docs := read(t, "../docs/events.md")
	names := regexp.MustCompile(`Event\w+ += "(\w+)"`).FindAllStringSubmatch(read(t, "../deviceauth/event.go"), -1)
	if len(names) < 10 {
		t.Fatalf("only %d events", len(names))
	}
	known := map[string]bool{}
	for _, name := range names {
		known[name[1]] = true
		if !regexp.MustCompile("\n\\| [^|]*`" + name[1] + "`").MatchString(docs) {
			t.Errorf("docs/events.md does not name %s", name[1])
		}
	}
	events, _, _ := strings.Cut(docs, "| member |")
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(events, -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			if !known[strings.Trim(name, "`")] {
				t.Errorf("docs/events.md names %s, which there is not", name)
			}
		}
	}
	for _, name := range factNames {
		if !strings.Contains(docs, "`"+name+"`") {
			t.Errorf("docs/events.md does not name the member %s", name)
		}
	}
}

func TestMetricsAreDocumented(t *testing.T) {
	docs := read(t, "../docs/events.md")
	rows := regexp.MustCompile("(?m)^\\| `(caddy_\\w+)` \\|").FindAllStringSubmatch(docs, -1)
	described := make(chan *prometheus.Desc, 100)
	for _, c := range collectors {
		c.Describe(described)
	}
	close(described)
	all := ""
	for d := range described {
		all += d.String()
		if name := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]; !strings.Contains(docs, "| `"+name+"` |") {
			t.Errorf("docs/events.md does not name %s", name)
		}
	}
	for _, row := range rows {
		if !strings.Contains(all, `"`+row[1]+`"`) {
			t.Errorf("docs/events.md names %s, which there is not", row[1])
		}
	}
}

// Who reads a check's name in a script finds what it is about.
func TestChecksAreDocumented(t *testing.T) {
	var said []string
	_, table, _ := strings.Cut(read(t, "../docs/check.md"), "| check | finds |")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z.]+)` \\|").FindAllStringSubmatch(table, -1) {
		said = append(said, row[1])
	}
	if !slices.Equal(said, blackbox.Names()) {
		t.Errorf("docs/check.md has\n%v, and there are\n%v", said, blackbox.Names())
	}
}
