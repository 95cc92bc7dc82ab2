package oauthapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// codeOnTimeApps is the App Management API of Code On Time's applications: it lists and
// changes the registered clients, for requests with the initial access token.
const codeOnTimeApps = codeOnTime + "/apps"

// An app is a client as the App Management API has it. Members that a PATCH leaves out
// stay as they are, so that they are pointers.
type app struct {
	Links         links             `json:"_links,omitempty"`
	Name          *string           `json:"name,omitempty"`
	Author        *string           `json:"author,omitempty"`
	ID            string            `json:"client_id,omitempty"`
	Secret        string            `json:"client_secret,omitempty"` // told once, of a new one
	RedirectURI   *string           `json:"redirect_uri,omitempty"`
	Authorization *appAuthorization `json:"authorization,omitempty"`
	Trusted       *bool             `json:"trusted,omitempty"` // approved: people are not warned that it is unchecked
}

// An appAuthorization says how an app logs people in: by a device's code, in the browser
// of the same computer, as a page of its own origin, or as a server that keeps a secret.
type appAuthorization struct {
	Device bool `json:"device"`
	Native bool `json:"native"`
	SPA    bool `json:"spa"`
	Server bool `json:"server"`
}

// appsRoute is the collection of apps: it lists them and adds one.
func (s *vendorDialect) appsRoute() endpoint.Route {
	// The registration endpoint of RFC 7591 and this one make the same records.
	return endpoint.Route{Methods: map[string]endpoint.Func{
		http.MethodGet: s.managing(s.listApps), http.MethodPost: s.managing(s.createApp),
	}, CORS: endpoint.ClientOrigins, Fail: s.registerError}
}

// appRoute is one app, below the path of the collection by its client_id.
func (s *vendorDialect) appRoute() endpoint.Route {
	return endpoint.Route{Methods: map[string]endpoint.Func{
		http.MethodGet: s.managing(s.showApp), http.MethodPatch: s.managing(s.changeApp),
		http.MethodDelete: s.managing(s.deleteApp),
	}, CORS: endpoint.ClientOrigins, Fail: s.registerError}
}

// managing requires the initial access token (RFC 7591 §3) before a method of the API.
func (s *vendorDialect) managing(do endpoint.Func) endpoint.Func {
	return func(r *http.Request) (*endpoint.Response, error) {
		// Also where registration is open: to see and change other clients is another right.
		if err := s.cfg.Engine.CheckManagementToken(bearerToken(r)); err != nil {
			return nil, err
		}
		return do(r)
	}
}

// listApps is GET of the collection.
func (s *vendorDialect) listApps(r *http.Request) (*endpoint.Response, error) {
	clients, err := s.cfg.Engine.RegisteredClients(r.Context())
	if err != nil {
		return nil, err
	}
	apps := make([]app, len(clients))
	for i, c := range clients {
		apps[i] = s.appOf(c)
	}
	// The shape of a collection in this product: links, the count, and the items.
	path := s.path(codeOnTimeApps)
	return endpoint.JSON(http.StatusOK, map[string]any{
		"_links":     links{"self": {Href: path}, "create": {Href: path, Method: http.MethodPost}},
		"count":      len(apps),
		"collection": apps,
	}), nil
}

// createApp is POST to the collection: it registers a client as RFC 7591 would, and
// answers 201 with its address.
func (s *vendorDialect) createApp(r *http.Request) (*endpoint.Response, error) {
	asked, err := readApp(r)
	if err != nil {
		return nil, err
	}
	// A new client is an empty one that is changed, so that both have the same checks.
	client := &deviceauth.Registered{}
	if err := asked.apply(client); err != nil {
		return nil, err
	}
	made, err := s.cfg.Engine.Register(r.Context(), deviceauth.RegisterRequest{
		Token: bearerToken(r), Metadata: client.Metadata, From: s.cfg.ClientIP(r), Approved: client.Approved,
	})
	if err != nil {
		return nil, err
	}
	// The secret is in this answer alone: the store has its digest.
	body := s.appOf(made)
	return endpoint.JSON(http.StatusCreated, body).Set("Location", body.Links["self"].Href), nil
}

// showApp is GET of one app. Its secret is left out: only a digest of it is stored.
func (s *vendorDialect) showApp(r *http.Request) (*endpoint.Response, error) {
	client, err := s.cfg.Engine.RegisteredClient(r.Context(), s.appID(r))
	if err != nil {
		return nil, err
	}
	return endpoint.JSON(http.StatusOK, s.appOf(client)), nil
}

// changeApp is PATCH of one app: members that the body leaves out stay.
func (s *vendorDialect) changeApp(r *http.Request) (*endpoint.Response, error) {
	asked, err := readApp(r)
	if err != nil {
		return nil, err
	}
	client, err := s.cfg.Engine.ManageClient(r.Context(), s.appID(r), asked.apply)
	if err != nil {
		return nil, err
	}
	return endpoint.JSON(http.StatusOK, s.appOf(client)), nil
}

// deleteApp is DELETE of one app. The client's grants end with it.
func (s *vendorDialect) deleteApp(r *http.Request) (*endpoint.Response, error) {
	if err := s.cfg.Engine.RemoveClient(r.Context(), s.appID(r), "the holder of the registration token"); err != nil {
		return nil, err
	}
	return endpoint.NewResponse(http.StatusNoContent, "", nil).Set("Cache-Control", "no-store"), nil
}

// appID is the client that the path of a request names.
func (s *vendorDialect) appID(r *http.Request) string {
	return strings.TrimPrefix(r.URL.Path, s.path(codeOnTimeApps)+"/")
}

// appOf is a registered client as the API has it. The secret is empty, and left out, unless
// the client is new.
func (s *vendorDialect) appOf(c *deviceauth.Registered) app {
	m, self := c.Metadata, s.path(codeOnTimeApps)+"/"+c.ID
	// The API knows one redirect URI; a client that registered by RFC 7591 may have more, of
	// which the first is shown.
	uri := ""
	if len(m.RedirectURIs) > 0 {
		uri = m.RedirectURIs[0]
	}
	return app{
		Links: links{
			"self": {Href: self}, "edit": {Href: self, Method: http.MethodPatch},
			"delete": {Href: self, Method: http.MethodDelete},
		},
		Name: &m.Name, Author: &m.Author, ID: c.ID, Secret: c.Secret.Reveal(), RedirectURI: &uri,
		Authorization: authorizationOf(m), Trusted: &c.Approved,
	}
}

// authorizationOf tells from the metadata how an app logs people in.
func authorizationOf(m deviceauth.ClientMetadata) *appAuthorization {
	// A server is a client with a secret, whatever else it is.
	a := &appAuthorization{Server: m.AuthMethod != "none"}
	for _, grantType := range m.GrantTypes {
		a.Device = a.Device || grantType == grantDeviceCode
		code := grantType == grantAuthorizationCode && !a.Server
		a.Native = a.Native || code && m.ApplicationType == "native"
		a.SPA = a.SPA || code && m.ApplicationType != "native"
	}
	return a
}

// readApp reads the body of a POST or PATCH.
func readApp(r *http.Request) (a app, err error) {
	body, err := readJSON(r)
	if err != nil {
		return a, err
	}
	var wrong *json.UnmarshalTypeError
	if err := json.Unmarshal(body, &a); errors.As(err, &wrong) && wrong.Field != "" {
		return a, deviceauth.NewError("invalid_client_metadata",
			deviceauth.Quotable(wrong.Field)+": want another type than "+deviceauth.Quotable(wrong.Value))
	} else if err != nil {
		return a, deviceauth.NewError("invalid_client_metadata", "want a JSON object with an app")
	}
	return a, nil
}

// apply changes a client as an app says.
func (a app) apply(c *deviceauth.Registered) error {
	// A copy: what is refused must change nothing.
	m := c.Metadata
	for _, change := range []struct{ from, to *string }{{a.Name, &m.Name}, {a.Author, &m.Author}} {
		if change.from != nil {
			*change.to = *change.from
		}
	}
	// The operator approved what people are shown; a change of it has to be approved again.
	if a.Name != nil || a.Author != nil || a.RedirectURI != nil {
		c.Approved = false
	}
	if a.Trusted != nil {
		c.Approved = *a.Trusted
	}
	// The API has one member for it: several URIs are separated by white space.
	if a.RedirectURI != nil {
		m.RedirectURIs = strings.Fields(*a.RedirectURI)
	}
	if a.Authorization != nil {
		a.Authorization.apply(&m)
	}
	checked, err := m.Complete()
	if err != nil {
		return err
	}
	c.Metadata = checked
	return nil
}

// apply turns the kinds of an app into grant types and an authentication method (RFC 7591
// §2). An app that is native and something else, too, is native: loopback and private
// redirect URIs are then allowed (RFC 8252 §7).
func (a *appAuthorization) apply(m *deviceauth.ClientMetadata) {
	// Refresh tokens are given by the scope offline_access, not by the kind of app.
	m.GrantTypes, m.ResponseTypes = []string{grantRefreshToken}, nil
	if a.Device {
		m.GrantTypes = append(m.GrantTypes, grantDeviceCode)
	}
	if a.Native || a.SPA || a.Server {
		m.GrantTypes = append(m.GrantTypes, grantAuthorizationCode)
	}
	m.ApplicationType, m.AuthMethod = "web", "none"
	// RFC 8252 §8.4: a native client has no secret that stays one.
	if a.Native {
		m.ApplicationType = "native"
	}
	if a.Server {
		m.AuthMethod = "client_secret_basic"
	}
}
