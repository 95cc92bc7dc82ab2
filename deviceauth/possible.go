package deviceauth

import "strings"

// Possible reports whether a text can be a user code at all.
func (e *Engine) Possible(code string) bool {
	canonical, ok := ParseUserCode(code)
	if !ok || len(canonical) != strings.Count(e.cfg.UserCode.pattern, "*") {
		return false
	}
	for _, c := range string(canonical) {
		if !strings.ContainsRune(e.cfg.UserCode.set, c) {
			return false
		}
	}
	return true
}
