package httpapi

import "time"

// A sample is one of the faces of a page, to try templates with.
type sample struct {
	name, title string
	data        any
}

// samples are together all that a template can be asked to show.
var samples = func() []sample {
	device := deviceView{Name: "Gadget", Maker: "Maker", Logo: "/logo.svg", Scopes: []scopeView{{Key: "scope.email"}, {Words: "Read"}}}
	choices := []choice{{Label: "Work", Address: "/"}, {Label: "Home", Address: "/", Down: true}}
	question := confirmView{
		deviceView: device, Code: "BCDF-GHJK", Asked: time.Now(), From: "192.0.2.7", Here: "198.51.100.9", Person: "Alice", Email: "alice@example.com", Ticket: "x",
	}
	refused := question
	refused.Refused = true
	return []sample{
		{"code", "code.title", codeView{}},
		{"code", "code.title", codeView{Code: "BCDF-GHJK", Mask: "****-****", Person: "Alice", Problem: "code.malformed"}},
		{"sign-in", "sign_in.title", signInView{}},
		{"sign-in", "sign_in.title", signInView{Choices: choices[:1], Automatic: true, Devices: true}},
		{"sign-in", "sign_in.fresh_title", signInView{Choices: choices, Fresh: "Gadget"}},
		{"confirm", "confirm.title", confirmView{}},
		{"confirm", "confirm.title", question},
		{"confirm", "confirm.title", refused},
		{"check", "check.title", checkView{confirmView: question, Problem: true}},
		{"done", "done.allowed_title", outcome{Said: "allowed", Device: "Gadget"}},
		{"done", "done.denied_title", outcome{Said: "denied", Device: "Gadget"}},
		{"done", "done.denied_title", outcome{Said: "reported", Device: "Gadget"}},
		{"connections", "devices.title", connectionsView{Person: "Alice", Ticket: "x"}},
		{"connections", "devices.title", connectionsView{Devices: []connection{{deviceView: device}, {deviceView: device}}, Person: "Alice", Ticket: "x"}},
		{"problem", "fault.title", problemView{Text: "x", Way: "way.again", Address: "/"}},
	}
}()
