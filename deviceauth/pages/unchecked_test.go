package pages

import (
	"strings"
	"testing"
)

// protocol 52
func TestOperatorsQuestionSaysThatAClientIsNotChecked(t *testing.T) {
	const form = `<input name="ticket" value="{{.Data.Ticket}}">`
	for page, ok := range map[string]bool{
		form: false, `{{template "unchecked" .}}` + form: true,
	} {
		p, err := newRenderer(Brand{Templates: write(t, map[string]string{"confirm.html": page})}, "/device",
			"api.example.com")
		if err != nil {
			t.Fatal(err)
		}
		err = p.checkWarning()
		if ok != (err == nil) || !ok && !strings.Contains(err.Error(), `confirm.html`) {
			t.Errorf("%s: %v", page, err)
		}
	}
}
