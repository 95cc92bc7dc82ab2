package caddymodule

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// observed returns a logger and the lines that it has logged.
func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, lines := observer.New(zapcore.DebugLevel)
	return zap.New(core), lines
}

func TestGuardWithoutAudienceIsWarnedAbout(t *testing.T) {
	one, two := []string{"https://a.example.com"}, []string{"https://a.example.com", "https://b.example.com"}
	tests := map[string]struct {
		audiences []string
		guards    []*Guard
		warned    int64 // of so many guards
	}{
		"one audience":           {one, []*Guard{{}}, 0},
		"several, named":         {two, []*Guard{{Audience: one}, {Audience: two}}, 0},
		"several, and not named": {two, []*Guard{{Audience: one}, {}, {Scopes: []string{"read"}}}, 2},
		"several, and no guard":  {two, nil, 0},
	}
	for name, test := range tests {
		log, lines := observed()
		(&App{log: log, guards: test.guards}).warnOfOpenGuards(test.audiences)
		var warned int64
		for _, line := range lines.All() {
			warned += line.ContextMap()["guards"].(int64)
		}
		if warned != test.warned || lines.Len() > 1 {
			t.Errorf("%s: %v", name, lines.All())
		}
	}
}

func TestHostsAreCovered(t *testing.T) {
	for matcher, want := range map[string]bool{
		"*": true, "connect.example.com": true, "CONNECT.example.com": true, "*.example.com": true,
		"connect.example.com:443": true, "{env.HOST}": true,
		"example.com": false, "*.com": false, "api.example.com": false, "*.connect.example.com": false,
	} {
		if got := coversHost(matcher, "connect.example.com"); got != want {
			t.Errorf("%s: %v", matcher, got)
		}
	}
}
