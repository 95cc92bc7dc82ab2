package pages

import (
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A sample is one of the faces of a page, to try templates with.
type sample struct {
	name  string
	title Message
	data  any
}

// sampleTicket stands for a sealed field, without which a form cannot be posted.
const sampleTicket = "sealed-sample"

// samples are together all that a template can be asked to show.
var samples = func() []sample {
	french, _ := newScopeText(deviceauth.ScopeText{
		Scope: "read", Texts: []deviceauth.LocalizedText{{Language: "fr", Text: "Lire"}},
	})
	scopes := []scopeView{{Key: "scope.email"}, {Scope: "write"}, {Texts: french}}
	device := deviceView{Name: "Gadget", Maker: "Maker", Logo: "/logo.svg", Says: "living-room", Scopes: scopes}
	choices := []choice{{Label: "Work", Address: "/"}, {Label: "Home", Address: "/", Down: true}}
	question := confirmView{
		deviceView: device, Code: "BCDF-GHJK", Asked: time.Now(),
		askedFrom: askedFrom{From: "192.0.2.7", Place: "Lisbon"}, Here: "198.51.100.9",
		Person: "Alice", Email: "alice@example.com", Ticket: sampleTicket,
	}
	elsewhere, refused := question, question
	elsewhere.Unchecked, elsewhere.Host, refused.Unchecked = true, "client.example.com", true
	elsewhere.Elsewhere, refused.Elsewhere, refused.Refused = true, true, true
	return []sample{
		{"code", newMessage("code.title"), codeView{Form: sampleTicket}},
		{"code", newMessage("code.title"), codeView{
			Code: "BCDF-GHJK", Mask: "****-****", Problem: "code.malformed", Form: sampleTicket,
		}},
		{"sign-in", newMessage("sign_in.title"), signInView{}},
		{"sign-in", newMessage("sign_in.title"), signInView{Choices: choices[:1], Automatic: true, Devices: true}},
		{"sign-in", newMessage("sign_in.fresh_title"), signInView{Choices: choices, Fresh: "Gadget"}},
		{"sign-in", newMessage("sign_in.fresh_title"), signInView{Choices: choices, Moved: true}},
		{"confirm", newMessage("confirm.title", "Gadget"), confirmView{}},
		{"confirm", newMessage("confirm.title", "Gadget"), question},
		{"confirm", newMessage("confirm.title", "Gadget"), elsewhere},
		{"confirm", newMessage("confirm.title", "Gadget"), refused},
		{"check", newMessage("check.title"), checkView{confirmView: elsewhere, Problem: true}},
		{"program", newMessage("confirm.title", "Gadget"), programView{Target: target{Kind: targetHere}}},
		{"program", newMessage("confirm.title", "Gadget"), programView{
			deviceView: device, Target: target{Kind: targetSite, Name: "app.example.com"}, Warned: true,
			Person: "Alice", Email: "alice@example.com", Ticket: sampleTicket,
		}},
		{"program", newMessage("confirm.title", "Gadget"), programView{
			deviceView: device, Target: target{Kind: targetApp, Name: "com.example.app:"}, Warned: true,
			Person: "Alice", Email: "alice@example.com", Ticket: sampleTicket,
		}},
		{"return", newMessage("return.title", "Gadget"), returnView{Address: "https://app.example.com/", Automatic: true}},
		{"return", newMessage("return.title", "Gadget"), returnView{Address: "com.example.app:/cb"}},
		{"done", newMessage("done.allowed_title", "Gadget"), outcome{Said: "allowed", Device: "Gadget"}},
		{"done", newMessage("done.denied_title", "Gadget"), outcome{Said: "denied", Device: "Gadget"}},
		{"done", newMessage("done.denied_title", "Gadget"), outcome{Said: "reported", Device: "Gadget"}},
		{"connections", newMessage("devices.title"), connectionsView{}},
		{"connections", newMessage("devices.title"), connectionsView{
			Devices: []connection{
				{deviceView: device}, {deviceView: device, ID: "x", Given: "Kitchen", CodeTail: "GHJK"},
			},
			Ticket: sampleTicket,
		}},
		{"problem", newMessage("fault.title"), problemView{Text: "x"}},
		{"problem", newMessage("fault.title"), problemView{Text: "x", Way: "way.again", Address: "/", Ask: true}},
	}
}()
