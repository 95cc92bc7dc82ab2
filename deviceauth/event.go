package deviceauth

import "net/netip"

// The events of a grant's life, by stable names, for an audit log.
const (
	EventAuthorized    = "device_authorized" // a device was given a code
	EventTurnedAway    = "device_refused"    // a device was given none
	EventApproved      = "device_approved"   // a person said yes
	EventDenied        = "device_denied"     // a person said no
	EventBarred        = "person_barred"     // a person outside the allow rules signed in, or was withdrawn
	EventSignInRefused = "sign_in_refused"   // a sign-in came to nothing, by the upstream's word or for what it said
	EventGuessing      = "guesses_stopped"   // somebody typed too many wrong codes
	EventRedeemed      = "code_redeemed"     // a device was given its tokens
	EventRefreshed     = "token_refreshed"   // a device was given new tokens
	EventReplayed      = "token_replayed"    // a spent code or refresh token ended the grant
	EventRevoked       = "grant_revoked"     // a grant was ended by a request
	EventRenamed       = "device_renamed"    // a person gave their device a name, or took it away
	EventSessionsEnded = "sessions_ended"    // a person was signed out of the pages, by the operator or at the upstream
	EventMoved         = "decision_refused"  // a session was in another network than its person's sign-ins
	EventPaused        = "logins_paused"     // the operator stopped connecting devices
	EventResumed       = "logins_resumed"    // the operator goes on connecting them
)

// An Event is one line of the audit log. It holds no code and no token.
type Event struct {
	Name     string
	Grant    *Grant     // nil where no grant is concerned
	Person   *Person    // whom it concerns, where a person is known
	By       string     // the operator's name, where one said so and is known
	Upstream string     // of a sign-in that was refused
	ClientID string     // of a device that was refused, where the client is known
	From     netip.Addr // where a request without a grant came from
	Reason   string     // why, where there is more to say
}

func (e *Engine) tell(name string, g *Grant, p *Person) {
	event := Event{Name: name, Grant: g, Person: p}
	if g != nil {
		event.ClientID, event.From, event.Reason = g.ClientID, g.From, g.Reason
	}
	e.report(event)
}

// SignInRefused tells the audit log of a sign-in that came to nothing.
func (e *Engine) SignInRefused(upstream string, from netip.Addr, why *Refusal) {
	e.report(Event{Name: EventSignInRefused, Upstream: upstream, From: e.Address(from), Reason: why.Code})
}

// DecisionRefused tells the audit log of a session that could decide nothing where
// it was: its person is on the way, or somebody has taken its cookie.
func (e *Engine) DecisionRefused(s *Session, from netip.Addr) {
	e.report(Event{Name: EventMoved, Person: s.Person, From: e.Address(from), Reason: errMoved.Code})
}

func (e *Engine) report(event Event) {
	if e.cfg.Events != nil {
		e.cfg.Events(event)
	}
}
