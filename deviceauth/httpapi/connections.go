package httpapi

import (
	"net/http"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// connectionsView is the list of a person's devices.
type connectionsView struct {
	Devices []connection
	Ticket  string
}

// A connection is one device of a person.
type connection struct {
	deviceView
	ID          string
	Since, Used time.Time
	whence
}

// The flow's next page after a sign-in, where it is not the question.
const nextConnections = "connections"

// ConnectionsURL is where people see their devices.
func (h *Handler) ConnectionsURL() string { return h.origin + h.cfg.Paths.Device + "/connections" }

// connectionsPage shows a person's devices.
func (h *Handler) connectionsPage(r *http.Request) (*answer, error) {
	s, err := h.session(r)
	if err != nil {
		return nil, err
	}
	if s == nil {
		cookies, err := h.keepFlow(r, flow{ID: h.flow(r).ID, Next: nextConnections})
		if err != nil {
			return nil, err
		}
		return redirect(h.cfg.Paths.Device + "/sign-in").cookies(cookies...), nil
	}
	grants, err := h.cfg.Engine.Connections(r.Context(), s.Person)
	if err != nil {
		return nil, err
	}
	var v connectionsView
	for _, g := range grants {
		v.Devices = append(v.Devices, connection{h.device(g), g.ID.String(), g.Redeemed, g.Used(), whenceOf(g)})
	}
	if v.Ticket, err = h.ticket(ticket{Session: s.ID}); err != nil {
		return nil, err
	}
	return h.page(r, http.StatusOK, "connections", text("devices.title"), v)
}

// disconnect cuts off one device, or all of them. Whose they are is asked of
// the grants, not of the form.
func (h *Handler) disconnect(r *http.Request) (*answer, error) {
	if err := h.form(r); err != nil {
		return nil, err
	}
	s, _, err := h.presented(r)
	if err != nil {
		return nil, err
	}
	if h.cfg.Engine.Stayed(s, h.cfg.ClientIP(r)) != nil {
		return h.movedSignIn(r)
	}
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
		id, err := deviceauth.ParseID(text)
		if err != nil {
			return nil, errStale
		}
		if err := h.cfg.Engine.Disconnect(r.Context(), s.Person, id); err != nil {
			return nil, err
		}
	}
	return redirect(h.cfg.Paths.Device + "/connections"), nil
}
