package pages

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// checkWarning checks that the pages with the questions warn of a client that
// introduced itself and is unchecked, even if an operator's templates replace ours:
// older templates would show such a client like any other.
func (p *renderer) checkWarning() error {
	device := deviceView{Name: "Agent", Unchecked: true}
	english := p.languages.byIndex(0)
	for name, data := range map[string]any{
		"confirm": confirmView{deviceView: device, Ticket: sampleTicket},
		"program": programView{deviceView: device, Target: target{Kind: targetHere}, Ticket: sampleTicket},
	} {
		// In English, which has all texts; other languages use the same key.
		var body bytes.Buffer
		if err := p.execute(&body, english, name, newMessage("confirm.title", "Agent"), data, account{}); err != nil {
			return err
		}
		if !strings.Contains(body.String(), html.EscapeString(english.say("unchecked.title", p.brand.Name))) {
			return fmt.Errorf("brand templates: %s.html does not say of a client that introduced itself that nobody "+
				"has checked it: add {{template \"unchecked\" .}}, or leave registration out", name)
		}
	}
	return nil
}
