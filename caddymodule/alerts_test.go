package caddymodule

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/bounded"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// labelsOf are the labels of each metric, with those that Prometheus adds.
func labelsOf(t *testing.T) map[string][]string {
	t.Helper()
	described := make(chan *prometheus.Desc, 100)
	for _, c := range collectors {
		c.Describe(described)
	}
	close(described)
	all := map[string][]string{}
	for d := range described {
		parts := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([^}]*)\}`).FindStringSubmatch(d.String())
		all[parts[1]] = append(strings.Split(parts[2], ","), "instance", "le")
	}
	return all
}

// valuesOf are the values that a label may have, where they are ours.
var valuesOf = map[string][]string{
	"event": deviceauth.EventNames(), "answer": deviceauth.PollAnswers(), "reason": deviceauth.TokenReasons(),
	"operation": bounded.Operations(),
	"decision": func() (all []string) {
		for decision := range decisions {
			all = append(all, string(decision))
		}
		return all
	}(),
}

type alertRules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

var (
	inExpr    = regexp.MustCompile(`(caddy_\w+?)(?:_bucket|_count|_sum)?(?:\{([^}]*)\}|\[|\)| )`)
	labelled  = regexp.MustCompile(`(\w+)(?:=~|!=|=)"([^"]*)"`)
	grouping  = regexp.MustCompile(`by \(([^)]*)\)`)
	inSummary = regexp.MustCompile(`\$labels\.(\w+)`)
)

// The alert rules use existing metrics, labels and values, and describe the problem.
func TestAlertsUseExistingMetrics(t *testing.T) {
	var all alertRules
	if err := yaml.Unmarshal([]byte(read(t, "../examples/alerts.yml")), &all); err != nil {
		t.Fatal(err)
	}
	labels, count := labelsOf(t), 0
	for _, rule := range all.Groups[0].Rules {
		count++
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" || rule.Labels["severity"] == "" {
			t.Errorf("%s lacks a summary, a description or a severity", rule.Alert)
		}
		asked := inExpr.FindAllStringSubmatch(rule.Expr+" ", -1)
		if len(asked) == 0 {
			t.Errorf("%s asks for nothing: %s", rule.Alert, rule.Expr)
		}
		var known []string
		for _, metric := range asked {
			if labels[metric[1]] == nil {
				t.Errorf("%s: there is no %s", rule.Alert, metric[1])
			}
			known = append(known, labels[metric[1]]...)
			for _, match := range labelled.FindAllStringSubmatch(metric[2], -1) {
				for value := range strings.SplitSeq(match[2], "|") {
					if !slices.Contains(valuesOf[match[1]], value) {
						t.Errorf("%s: %s is never %q", rule.Alert, match[1], value)
					}
				}
				if !slices.Contains(labels[metric[1]], match[1]) {
					t.Errorf("%s: %s has no label %s", rule.Alert, metric[1], match[1])
				}
			}
		}
		var used []string
		for _, list := range grouping.FindAllStringSubmatch(rule.Expr, -1) {
			used = append(used, strings.Split(list[1], ", ")...)
		}
		for _, name := range inSummary.FindAllStringSubmatch(rule.Annotations["summary"], -1) {
			used = append(used, name[1])
		}
		for _, name := range used {
			if !slices.Contains(known, name) {
				t.Errorf("%s: no label %s", rule.Alert, name)
			}
		}
	}
	if count < 10 {
		t.Errorf("only %d rules", count)
	}
}

func TestPromtoolAcceptsTheAlerts(t *testing.T) {
	promtool := needs.Program(t, "promtool", "promtool")
	if out, err := exec.Command(promtool, "check", "rules", "../examples/alerts.yml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
