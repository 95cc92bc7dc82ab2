package deviceauth

import (
	"net/netip"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// The names of audit log events, which are stable.
const (
	EventAuthorized    = "device_authorized" // a device received a code
	EventTurnedAway    = "device_refused"    // a device was refused a code
	EventApproved      = "device_approved"   // a person approved a grant
	EventDenied        = "device_denied"     // a person denied a grant
	EventBarred        = "person_barred"     // a person outside the allow rules signed in, or is no longer permitted
	EventSignInRefused = "sign_in_refused"   // a sign-in failed: refused by the upstream, or its response was invalid
	EventGuessing      = "guesses_stopped"   // a person or network entered too many wrong codes
	EventRedeemed      = "code_redeemed"     // a device received its tokens
	EventRefreshed     = "token_refreshed"   // a device received new tokens
	EventReplayed      = "token_replayed"    // a used code or refresh token ended the grant
	EventRevoked       = "grant_revoked"     // a grant was ended by a request
	EventRenamed       = "device_renamed"    // a person gave their device a name, or removed it
	EventSessionsEnded = "sessions_ended"    // a person was signed out of the pages, by the operator or at the upstream
	EventMoved         = "decision_refused"  // a session tried to decide from another network than its sign-ins
	EventPaused        = "logins_paused"     // the operator stopped connecting devices
	EventResumed       = "logins_resumed"    // the operator resumed connecting devices

	EventClientRegistered = "client_registered" // a client introduced itself (RFC 7591)
	EventClientApproved   = "client_approved"   // the operator vouched for such a client
	EventClientChanged    = "client_changed"    // such a client changed its metadata
	EventClientRemoved    = "client_removed"    // such a client was removed, with its grants
)

// An Event is an entry of the audit log. It contains no code and no token.
type Event struct {
	Name     string
	Grant    *Grant     // nil if no grant is concerned
	Person   *Person    // the person concerned, if known
	By       string     // the name of the operator who caused the event, if known
	Upstream string     // of a sign-in that was refused
	ClientID string     // of the grant's client, or of a refused client if it is known
	From     netip.Addr // the address from which the device requested the grant; else the address of the request
	Browser  netip.Addr // the address of the person's browser, when a person changed a grant
	Tried    string     // the unknown client id of a refused request, made [text.Plain] and truncated
	Rule     string     // for a person who was barred: the rule, in the words of the configuration
	Reason   string     // the reason, if there is more to say
}

// EventNames lists the names of all events.
func EventNames() []string {
	return []string{
		EventAuthorized, EventTurnedAway, EventApproved, EventDenied, EventBarred, EventSignInRefused, EventGuessing,
		EventRedeemed, EventRefreshed, EventReplayed, EventRevoked, EventRenamed, EventSessionsEnded, EventMoved,
		EventPaused, EventResumed, EventClientRegistered, EventClientApproved, EventClientChanged,
		EventClientRemoved,
	}
}

// maxEventText bounds what an event quotes, in characters.
const maxEventText = 100

// quoted returns text from outside the server in the form in which an event may
// contain it: converted by [text.Plain], truncated, and without credentials.
func quoted(raw string, most int) string {
	raw = strings.ToValidUTF8(raw[:min(len(raw), 4*most)], "") // limits the work of the next line
	all := []rune(text.WithoutCredentials(text.Plain(raw)))
	return string(all[:min(len(all), most)])
}

// emitByPerson emits an event for what a person did to a grant, with the address of their
// browser.
func (e *Engine) emitByPerson(name string, g *Grant, p *Person, browser netip.Addr) {
	event := e.about(name, g, p)
	event.Browser = e.Address(browser)
	e.emitEvent(event)
}

// emitBarred emits an event for a person who is not permitted, with the rule. c is the
// client concerned, or nil; browser is invalid when a device made the request.
func (e *Engine) emitBarred(g *Grant, p *Person, c *Client, browser netip.Addr) {
	event := e.about(EventBarred, g, p)
	event.Browser, event.Rule = e.Address(browser), quoted(e.rule(g, p, c), 5*maxEventText)
	if c != nil {
		event.ClientID = c.ID
	}
	e.emitEvent(event)
}

func (e *Engine) emit(name string, g *Grant, p *Person) { e.emitEvent(e.about(name, g, p)) }

func (e *Engine) about(name string, g *Grant, p *Person) Event {
	event := Event{Name: name, Grant: g, Person: p}
	if g != nil {
		event.ClientID, event.From, event.Reason = g.ClientID, g.From, g.Reason
	}
	return event
}

// SignInRefused emits an event for a sign-in that failed.
func (e *Engine) SignInRefused(upstream string, from netip.Addr, why *Error) {
	e.emitEvent(Event{Name: EventSignInRefused, Upstream: upstream, From: e.Address(from), Reason: why.Code})
}

// DecisionRefused emits an event for a session that may not decide from its current
// network: its person has moved, or its cookie was stolen.
func (e *Engine) DecisionRefused(s *Session, from netip.Addr) {
	e.emitEvent(Event{Name: EventMoved, Person: s.Person, From: e.Address(from), Reason: errOtherNetwork.Code})
}

func (e *Engine) emitEvent(event Event) {
	if e.cfg.Events != nil {
		e.cfg.Events(event)
	}
}
