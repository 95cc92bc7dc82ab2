package block

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestTypeOfAFieldSaysWhatItsWordTakes(t *testing.T) {
	t.Parallel()
	var fields struct {
		text    string
		secret  *string
		list    []string
		on      bool
		number  int
		length  caddy.Duration
		off     *caddy.Duration
		one     string
		reading int
	}
	table := Block{What: "x", Many: []string{"list"}, Words: Words{
		"text": &fields.text, "secret": Secret(&fields.secret, io.EOF), "list": &fields.list, "on": &fields.on,
		"number": &fields.number, "length": &fields.length, "off": &fields.off,
		"one":    OneOf(&fields.one, "a", "b"),
		"reader": func(*caddyfile.Dispenser) error { fields.reading++; return nil },
	}}
	d := caddyfile.NewTestDispenser("x {\ntext a\nsecret b\nlist c d\nlist e\non\nnumber 3\nlength 2s\noff off\n" +
		"one b\nreader\n}")
	d.Next()
	if err := table.Read(d); err != nil {
		t.Fatal(err)
	}
	if fields.text != "a" || *fields.secret != "b" || len(fields.list) != 3 || !fields.on || fields.number != 3 ||
		fields.length != caddy.Duration(2*time.Second) || *fields.off != 0 || fields.one != "b" || fields.reading != 1 {
		t.Errorf("%+v", fields)
	}
	d = caddyfile.NewTestDispenser(`secret ""`)
	if d.Next(); !errors.Is(Field(d, Secret(&fields.secret, io.EOF)), io.EOF) {
		t.Error("an empty secret is accepted")
	}
}

func TestUnknownTypeIsFoundByAnyLine(t *testing.T) {
	t.Parallel()
	var text string
	d := caddyfile.NewTestDispenser("x {\ntext a\n}")
	d.Next()
	for name, use := range map[string]func(to any){
		"Field": func(to any) { Field(d, to) },
		"another line of the block": func(to any) {
			table := Block{What: "x", Words: Words{"text": &text, "other": to}}
			table.Read(d)
		},
		"Checked": func(to any) { Checked(to, nil) },
		"FirstOf": func(to any) { FirstOf(nil, to) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: a field of an unknown type is accepted", name)
				}
			}()
			use(new(float64))
		}()
	}
}
