package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBackupThatBrokeOffReplacesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backup")
	whole := `{"format":"caddy-deviceauth backup 1"}` + "\n" +
		`{"name":"keyring","document":"a2V5cw=="}` + "\n" + `{"end":1}` + "\n"
	if err := writeWhole(file, &progress{Reader: strings.NewReader(whole)}, false); err != nil {
		t.Fatal(err)
	}
	failed := strings.Replace(whole, `{"end":1}`, `{"error":"the disk is gone"}`, 1)
	for _, broken := range []string{"", whole[:60], failed} {
		if err := writeWhole(file, &progress{Reader: strings.NewReader(broken)}, true); err == nil {
			t.Errorf("%q is kept", broken)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != whole {
		t.Errorf("the good one is now %q, %v", text, err)
	}
	if left, _ := filepath.Glob(file + "*"); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}
