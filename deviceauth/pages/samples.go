package pages

import (
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A sample is one variant of a page, to test templates with.
type sample struct {
	name  string
	title Message
	data  any
}

// sampleTicket is the value of a hidden field, without which a form cannot be
// submitted.
const sampleTicket = "sealed-sample"

// samples cover everything that a template can be asked to show.
var samples = func() []sample {
	french, _ := newScopeText(deviceauth.ScopeText{
		Scope: "read", Texts: []deviceauth.LocalizedText{{Language: "fr", Text: "Lire"}},
	})
	// One with our text, one without a text, one with an operator's text in another
	// language.
	scopes := []scopeView{{Key: "scope.email"}, {Scope: "write"}, {Texts: french}}
	device := deviceView{Name: "Gadget", Maker: "Maker", Logo: "/logo.svg", Says: "living-room", Scopes: scopes}
	choices := []choice{{Label: "Work", Address: "/"}, {Label: "Home", Address: "/", Down: true}}
	// Everything that a question can show, and then with each kind of warning.
	question := confirmView{
		deviceView: device, Code: "BCDF-GHJK", Asked: time.Now(),
		askedFrom: askedFrom{From: "192.0.2.7", Place: "Lisbon"}, Here: "198.51.100.9",
		Person: "Alice", Email: "alice@example.com", Ticket: sampleTicket,
	}
	elsewhere, refused := question, question
	elsewhere.Unchecked, elsewhere.Host, refused.Unchecked = true, "client.example.com", true
	elsewhere.Elsewhere, refused.Elsewhere, refused.Refused = true, true, true
	return []sample{
		{name: "code", title: newMessage("code.title"), data: codeView{Form: sampleTicket}},
		{name: "code", title: newMessage("code.title"), data: codeView{
			Code: "BCDF-GHJK", Mask: "****-****", Problem: "code.malformed", Form: sampleTicket,
		}},
		{name: "sign-in", title: newMessage("sign_in.title"), data: signInView{}},
		{name: "sign-in", title: newMessage("sign_in.title"),
			data: signInView{Choices: choices[:1], Automatic: true, Devices: true}},
		{name: "sign-in", title: newMessage("sign_in.title"), data: signInView{Choices: choices, Program: true}},
		{name: "sign-in", title: newMessage("sign_in.fresh_title"),
			data: signInView{Choices: choices, Fresh: "Gadget"}},
		{name: "sign-in", title: newMessage("sign_in.fresh_title"), data: signInView{Choices: choices, Moved: true}},
		{name: "confirm", title: newMessage("confirm.title", "Gadget"), data: confirmView{}},
		{name: "confirm", title: newMessage("confirm.title", "Gadget"), data: question},
		{name: "confirm", title: newMessage("confirm.title", "Gadget"), data: elsewhere},
		{name: "confirm", title: newMessage("confirm.title", "Gadget"), data: refused},
		{name: "check", title: newMessage("check.title"), data: checkView{confirmView: elsewhere, Problem: true}},
		{name: "program", title: newMessage("confirm.title", "Gadget"),
			data: programView{Target: target{Kind: targetHere}}},
		{name: "program", title: newMessage("confirm.title", "Gadget"), data: programView{
			deviceView: device, Target: target{Kind: targetSite, Name: "app.example.com"}, Warned: true,
			Person: "Alice", Email: "alice@example.com", Ticket: sampleTicket,
		}},
		{name: "program", title: newMessage("confirm.title", "Gadget"), data: programView{
			deviceView: device, Target: target{Kind: targetApp, Name: "com.example.app:"}, Warned: true,
			Person: "Alice", Email: "alice@example.com", Ticket: sampleTicket,
		}},
		{name: "return", title: newMessage("return.title", "Gadget"),
			data: returnView{Address: "https://app.example.com/", Automatic: true}},
		{name: "return", title: newMessage("return.title", "Gadget"), data: returnView{Address: "com.example.app:/cb"}},
		{name: "return", title: newMessage("return.title", "Gadget"),
			data: returnView{Address: "https://app.example.com/", Refused: "app.example.com"}},
		{name: "done", title: newMessage("done.allowed_title", "Gadget"),
			data: outcome{Said: "allowed", Device: "Gadget"}},
		{name: "done", title: newMessage("done.denied_title", "Gadget"),
			data: outcome{Said: "denied", Device: "Gadget"}},
		{name: "done", title: newMessage("done.denied_title", "Gadget"),
			data: outcome{Said: "reported", Device: "Gadget"}},
		{name: "connections", title: newMessage("devices.title"), data: connectionsView{}},
		{name: "connections", title: newMessage("devices.title"), data: connectionsView{
			Devices: []connection{
				{deviceView: device}, {deviceView: device, ID: "x", Given: "Kitchen", CodeTail: "GHJK"},
			},
			Ticket: sampleTicket,
		}},
		{name: "problem", title: newMessage("fault.title"), data: problemView{Text: "x"}},
		{name: "problem", title: newMessage("fault.title"),
			data: problemView{Text: "x", Way: "way.again", Address: "/", Ask: true}},
	}
}()
