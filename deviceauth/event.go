package deviceauth

import (
	"net/netip"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// The events of a grant's life, by stable names, for an audit log.
const (
	EventAuthorized    = "device_authorized" // a device was given a code
	EventTurnedAway    = "device_refused"    // a device was given none
	EventApproved      = "device_approved"   // a person said yes
	EventDenied        = "device_denied"     // a person said no
	EventBarred        = "person_barred"     // a person outside the allow rules signed in, or was withdrawn
	EventSignInRefused = "sign_in_refused"   // a sign-in failed, by the upstream's word or for what it said
	EventGuessing      = "guesses_stopped"   // a person or network typed too many wrong codes
	EventRedeemed      = "code_redeemed"     // a device was given its tokens
	EventRefreshed     = "token_refreshed"   // a device was given new tokens
	EventReplayed      = "token_replayed"    // a spent code or refresh token ended the grant
	EventRevoked       = "grant_revoked"     // a grant was ended by a request
	EventRenamed       = "device_renamed"    // a person gave their device a name, or took it away
	EventSessionsEnded = "sessions_ended"    // a person was signed out of the pages, by the operator or at the upstream
	EventMoved         = "decision_refused"  // a session was in another network than its person's sign-ins
	EventPaused        = "logins_paused"     // the operator stopped connecting devices
	EventResumed       = "logins_resumed"    // the operator goes on connecting them

	EventClientRegistered = "client_registered" // a client introduced itself (RFC 7591)
	EventClientApproved   = "client_approved"   // the operator vouched for a client that did
	EventClientChanged    = "client_changed"    // a client that did says something else of itself
	EventClientRemoved    = "client_removed"    // a client that did was removed, with its grants
)

// An Event is one line of the audit log. It holds no code and no token.
type Event struct {
	Name     string
	Grant    *Grant     // nil where no grant is concerned
	Person   *Person    // whom it concerns, where a person is known
	By       string     // the operator's name, where one said so and is known
	Upstream string     // of a sign-in that was refused
	ClientID string     // of a device that was refused, where the client is known
	From     netip.Addr // of a grant, where its device asked from; else where the request is from
	Browser  netip.Addr // where the person's browser was, of what a person did to a grant
	Tried    string     // of a device that was refused: the client id that no client has, made [text.Plain] and cut
	Rule     string     // of a person who was barred: what keeps them out, in the configuration's words
	Reason   string     // why, where there is more to say
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

// quoted returns a text from outside as an event may have it, without credentials.
func quoted(raw string, most int) string {
	raw = strings.ToValidUTF8(raw[:min(len(raw), 4*most)], "") // before anything looks at all of it
	all := []rune(text.WithoutCredentials(text.Plain(raw)))
	return string(all[:min(len(all), most)])
}

// by tells what a person did to a grant, with where their browser was.
func (e *Engine) by(name string, g *Grant, p *Person, browser netip.Addr) {
	event := e.about(name, g, p)
	event.Browser = e.Address(browser)
	e.emitEvent(event)
}

// barring tells of a person who was kept out, with the rule. c is the client that it
// was about, or nil; browser is not valid where a device asked.
func (e *Engine) barring(g *Grant, p *Person, c *Client, browser netip.Addr) {
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

// SignInRefused tells the audit log of a sign-in that failed.
func (e *Engine) SignInRefused(upstream string, from netip.Addr, why *Error) {
	e.emitEvent(Event{Name: EventSignInRefused, Upstream: upstream, From: e.Address(from), Reason: why.Code})
}

// DecisionRefused tells the audit log of a session that could decide nothing where
// it was: its person has moved, or its cookie was stolen.
func (e *Engine) DecisionRefused(s *Session, from netip.Addr) {
	e.emitEvent(Event{Name: EventMoved, Person: s.Person, From: e.Address(from), Reason: errOtherNetwork.Code})
}

func (e *Engine) emitEvent(event Event) {
	if e.cfg.Events != nil {
		e.cfg.Events(event)
	}
}
