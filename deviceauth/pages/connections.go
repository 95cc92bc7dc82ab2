package pages

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// connectionsView is the list of a person's devices.
type connectionsView struct {
	Devices []connection
	Ticket  string
}

// A connection is a device of a person, with what distinguishes it from the others.
type connection struct {
	deviceView
	ID          string
	Given       string // the name that the person gave it; empty: none
	CodeTail    string // the last letters of its code; empty: unknown
	Since, Used time.Time
	askedFrom
}

// Label returns a one-line description of the device, for screen readers.
func (c connection) Label() string {
	label := c.Given
	if label == "" {
		label = strings.TrimSpace(c.Name + " " + c.Says)
	}
	if c.CodeTail != "" {
		label += " (…" + c.CodeTail + ")"
	}
	return label
}

// MaxName returns the maximum length of a name.
func (connection) MaxName() int { return text.MaxName }

// nextConnections is the value of flow.Next for the page of connected devices.
const nextConnections = "connections"

// ConnectionsURL returns the URL of the page of connected devices.
func (h *Handler) ConnectionsURL() string { return h.origin + h.cfg.Path + "/connections" }

// connectionsPage shows a person's devices.
func (h *Handler) connectionsPage(r *http.Request) (*endpoint.Response, error) {
	s, err := h.session(r)
	if err != nil {
		return nil, err
	}
	// After the sign-in the person returns to this page, and not to the code page.
	if s == nil {
		f := h.flow(r).anew()
		f.Next = nextConnections
		cookies, err := h.sealFlowCookie(r, f)
		if err != nil {
			return nil, err
		}
		return endpoint.Redirect(h.cfg.Path + "/sign-in").AddCookies(cookies...), nil
	}
	grants, err := h.cfg.Engine.Connections(r.Context(), s.Person)
	if err != nil {
		return nil, err
	}
	var v connectionsView
	// A client that introduced itself is loaded for its name; one that was removed, or
	// whose metadata document cannot be fetched, is shown by its id.
	for _, g := range grants {
		_, err := h.cfg.Engine.LoadClient(r.Context(), g.ClientID)
		if err != nil && deviceauth.AsError(err) == nil && !errors.As(err, new(*deviceauth.DocumentFault)) {
			return nil, err
		}
		v.Devices = append(v.Devices, connection{
			deviceView: h.device(g), ID: g.ID.String(), Given: g.Name, CodeTail: g.CodeTail(),
			Since: g.Decided, Used: g.Used(), askedFrom: askedFromOf(g),
		})
	}
	if v.Ticket, err = h.sealFormToken(formToken{Session: s.ID}); err != nil {
		return nil, err
	}
	return h.page(r, http.StatusOK, "connections", newMessage("devices.title"), v)
}

// disconnect disconnects one device, or all of them. Ownership is checked with the
// grants, not with the form.
func (h *Handler) disconnect(r *http.Request) (*endpoint.Response, error) {
	s, moved, err := h.devicesForm(r)
	if err != nil || moved != nil {
		return moved, err
	}
	// The button of a device has its id, and the one below the list "all".
	ids := []string{r.PostFormValue("device")}
	if ids[0] == "all" {
		grants, err := h.cfg.Engine.Connections(r.Context(), s.Person)
		if err != nil {
			return nil, err
		}
		ids = nil
		for _, g := range grants {
			ids = append(ids, g.ID.String())
		}
	}
	for _, text := range ids {
		// Only a manipulated form has a malformed id.
		id, err := deviceauth.ParseID(text)
		if err != nil {
			return nil, errStale
		}
		// The engine returns not_connected for a grant of another person.
		if err := h.cfg.Engine.Disconnect(r.Context(), s.Person, id, h.cfg.ClientIP(r)); err != nil {
			return nil, err
		}
	}
	return endpoint.Redirect(h.cfg.Path + "/connections"), nil
}

// nameDevice sets the name that a person typed for a device.
func (h *Handler) nameDevice(r *http.Request) (*endpoint.Response, error) {
	s, moved, err := h.devicesForm(r)
	if err != nil || moved != nil {
		return moved, err
	}
	id, err := deviceauth.ParseID(r.PostFormValue("device"))
	// An empty name removes it; a form without the field is not ours.
	if err != nil || !r.PostForm.Has("name") {
		return nil, errStale
	}
	err = h.cfg.Engine.Rename(r.Context(), s.Person, id, r.PostFormValue("name"), h.cfg.ClientIP(r))
	if err != nil {
		return nil, err
	}
	// The fragment scrolls to the device that was named.
	return endpoint.Redirect(h.cfg.Path + "/connections#device-" + id.String()), nil
}

// devicesForm parses a form of the page of devices. If the person is in another
// network than at their sign-in and must sign in again, it returns that page as
// moved.
func (h *Handler) devicesForm(r *http.Request) (s *deviceauth.Session, moved *endpoint.Response, err error) {
	if err := h.readForm(r); err != nil {
		return nil, nil, err
	}
	if s, _, err = h.openFormToken(r); err != nil {
		return nil, nil, err
	}
	// With a stolen cookie, devices can be seen elsewhere, but not disconnected or
	// named.
	if h.cfg.Engine.CheckNetwork(s, h.cfg.ClientIP(r)) != nil {
		f := h.flow(r)
		f.Next = nextConnections
		moved, err = h.movedSignIn(r, s, f)
	}
	return s, moved, err
}
