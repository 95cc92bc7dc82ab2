package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/devicecheck"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The documentation names every event, and no other.
func TestEventsAreDocumented(t *testing.T) {
	docs := read(t, "../docs/events.md")
	names := regexp.MustCompile(`Event\w+ += "(\w+)"`).FindAllStringSubmatch(read(t, "../deviceauth/event.go"), -1)
	if len(names) < 10 {
		t.Fatalf("only %d events", len(names))
	}
	known := map[string]bool{}
	for _, name := range names {
		known[name[1]] = true
		if !slices.Contains(deviceauth.EventNames(), name[1]) {
			t.Errorf("EventNames lacks %s", name[1])
		}
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
	members := regexp.MustCompile(`(?:add\(|eventMember\{name: )"(\w+)"`).FindAllStringSubmatch(read(t, "audit.go"), -1)
	if len(members) < 10 {
		t.Errorf("audit.go has the members %v", members)
	}
	for _, member := range members {
		if !strings.Contains(docs, "`"+member[1]+"`") {
			t.Errorf("docs/events.md does not name the member %s", member[1])
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
		name := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String())[1]
		if !strings.Contains(docs, "| `"+name+"` |") {
			t.Errorf("docs/events.md does not name %s", name)
		}
	}
	for _, row := range rows {
		if !strings.Contains(all, `"`+row[1]+`"`) {
			t.Errorf("docs/events.md names %s, which there is not", row[1])
		}
	}
}

// The documentation names every check of devicecheck, in order.
func TestChecksAreDocumented(t *testing.T) {
	var documented []string
	_, table, _ := strings.Cut(read(t, "../docs/check.md"), "| check | finds |")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z.]+)` \\|").FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1])
	}
	if !slices.Equal(documented, devicecheck.Names()) {
		t.Errorf("docs/check.md has\n%v, and there are\n%v", documented, devicecheck.Names())
	}
}

// What the troubleshooting page quotes is a message of the code, of the pages or
// of Caddy.
func TestTroubleshootingQuotesMessages(t *testing.T) {
	texts := read(t, "../deviceauth/pages/templates/languages/en.json")
	// A message that is broken over several lines is one text.
	const concatenation = `["` + "`" + `] ?\+\n\s*["` + "`" + `]`
	joined := regexp.MustCompile(concatenation)
	for _, folder := range []string{".", "../deviceauth", "../internal/badgerdb", "../upstreamidp"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				texts += joined.ReplaceAllString(read(t, path), "")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ofOthers := map[string]bool{ // Caddy and the system
		"unrecognized global option: device_login": true, "module not registered": true, "trusted_proxies": true,
		"address already in use": true, "badger store: mkdir": true, ": permission denied": true,
		"certificate signed by unknown authority": true, "listen tcp :443: bind: permission denied": true,
	}
	rows := regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(read(t, "../docs/troubleshooting.md"), -1)
	quotes := 0
	for _, row := range rows {
		for _, quote := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			quotes++
			for part := range strings.SplitSeq(quote[1], "…") {
				if part = strings.TrimSpace(part); !ofOthers[part] && !strings.Contains(texts, part) {
					t.Errorf("nobody says %q", part)
				}
			}
		}
	}
	if quotes < 30 {
		t.Errorf("only %d quotes", quotes)
	}
}

// around returns the Caddyfiles that a piece of one may belong to. A piece that
// is whole begins with global options.
func around(text string) []string {
	if strings.HasPrefix(text, "{") {
		return []string{text}
	}
	server := "{\n\tdevice_login {\n\t\tissuer https://a.example\n" +
		"\t\tupstream a https://b.example {\n\t\t\tclient_id a\n%s\t\t}\n%s\t}\n}"
	site := fmt.Sprintf(server, "", "") + "\nhttps://b.example {\n" + text + "}"
	return []string{fmt.Sprintf(server, "", text), fmt.Sprintf(server, text, ""), site}
}

// Every Caddyfile in the documentation adapts as it is.
func TestCaddyfilesOfTheDocsAdapt(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../README.md") {
		fences := regexp.MustCompile("(?s)```caddyfile\n(.*?)```")
		for _, block := range fences.FindAllStringSubmatch(read(t, page), -1) {
			found++
			if strings.HasPrefix(block[1], "# not runnable here") {
				continue
			}
			errs := []error{}
			for _, whole := range around(block[1]) {
				_, err := adapt(whole)
				errs = append(errs, err)
			}
			if !slices.Contains(errs, nil) {
				t.Errorf("%s:\n%s\n%v", page, block[1], errors.Join(errs...))
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d Caddyfiles", found)
	}
}

// What the examples of a container and a unit are to have, since nothing builds them.
func TestExamplesOfDeploymentAreWhole(t *testing.T) {
	for name, wants := range map[string][]string{
		"Dockerfile": {
			"COPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n",
			`CMD ["/usr/bin/caddy", "device-auth", "health", "--config", "/etc/caddy/Caddyfile"]`,
		},
		"caddy-deviceauth.service": {"\nRestart=on-failure\n", "\nStateDirectory=caddy\n"},
	} {
		for _, want := range wants {
			if !strings.Contains(read(t, "../examples/"+name), want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	}
}

// The dashboard shows every metric, and asks for nothing that there is not.
func TestDashboardUsesExistingMetrics(t *testing.T) {
	text := read(t, "../examples/grafana-dashboard.json")
	if !json.Valid([]byte(text)) {
		t.Fatal("the dashboard is no JSON")
	}
	labels := labelsOf(t)
	for name := range labels {
		if !strings.Contains(text, name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	values := read(t, "metrics.go") + read(t, "../deviceauth/event.go") + read(t, "../deviceauth/admin_grants.go")
	metric := regexp.MustCompile(`(caddy_\w+?)(?:_bucket|_count)?(?:\{([^}]*)\}|,)`)
	for _, asked := range metric.FindAllStringSubmatch(text, -1) {
		known, ok := labels[asked[1]]
		if !ok {
			t.Errorf("there is no %s", asked[1])
		}
		for _, match := range regexp.MustCompile(`(\w+)=~?\\"([^"\\]*)\\"`).FindAllStringSubmatch(asked[2], -1) {
			if !slices.Contains(known, match[1]) {
				t.Errorf("%s has no label %s", asked[1], match[1])
			}
			for value := range strings.SplitSeq(match[2], "|") {
				if value != "$instance" && !strings.Contains(values, `"`+value+`"`) {
					t.Errorf("%s is never %q", match[1], value)
				}
			}
		}
	}
}
