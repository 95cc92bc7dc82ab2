package pages

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// checkWarning wants the questions to say of a client that introduced itself that it is
// unchecked, also where an operator's templates take the place of ours: one from before
// there were such clients would ask about them as about any other.
func (p *renderer) checkWarning() error {
	device := deviceView{Name: "Agent", Unchecked: true}
	english := p.languages.speech(0)
	for name, data := range map[string]any{
		"confirm": confirmView{deviceView: device, Ticket: sampleTicket},
		"program": programView{deviceView: device, Target: target{Kind: targetHere}, Ticket: sampleTicket},
	} {
		// English, because it has every text; the words come from the same key in all languages.
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
