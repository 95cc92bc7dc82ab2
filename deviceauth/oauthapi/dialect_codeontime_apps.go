package oauthapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// codeOnTimeApps is the path of the App Management API of Code On Time applications.
// It lists and changes registered clients, and requires the initial access token.
const codeOnTimeApps = codeOnTime + "/apps"

// An app is a client in the App Management API. Members are pointers because a PATCH
// leaves those unchanged that it omits.
type app struct {
	Links         links             `json:"_links,omitempty"`
	Name          *string           `json:"name,omitempty"`
	Author        *string           `json:"author,omitempty"`
	ID            string            `json:"client_id,omitempty"`
	Secret        string            `json:"client_secret,omitempty"` // only in the response that creates the app
	RedirectURI   *string           `json:"redirect_uri,omitempty"`
	Authorization *appAuthorization `json:"authorization,omitempty"`
	Trusted       *bool             `json:"trusted,omitempty"` // approved: people are not warned
}

// An appAuthorization are the ways in which an app logs people in: with a device
// code, in the browser of the same computer, as a page of its own origin, or as a
// server that keeps a secret.
type appAuthorization struct {
	Device bool `json:"device"`
	Native bool `json:"native"`
	SPA    bool `json:"spa"`
	Server bool `json:"server"`
}

// appsRoute returns the route of the collection of apps: it lists them and creates
// one.
func (s *vendorDialect) appsRoute() endpoint.Route {
	// The registration endpoint of RFC 7591 creates the same records.
	return endpoint.Route{Methods: map[string]endpoint.Func{
		http.MethodGet: s.managing(s.listApps), http.MethodPost: s.managing(s.createApp),
	}, CORS: endpoint.ClientOrigins, Fail: s.registerError}
}

// appRoute returns the route of a single app: the path of the collection, followed by
// its client_id.
func (s *vendorDialect) appRoute() endpoint.Route {
	return endpoint.Route{Methods: map[string]endpoint.Func{
		http.MethodGet: s.managing(s.showApp), http.MethodPatch: s.managing(s.changeApp),
		http.MethodDelete: s.managing(s.deleteApp),
	}, CORS: endpoint.ClientOrigins, Fail: s.registerError}
}

// managing requires the initial access token (RFC 7591 §3) before a method of the API.
func (s *vendorDialect) managing(do endpoint.Func) endpoint.Func {
	return func(r *http.Request) (*endpoint.Response, error) {
		// It is also required if registration is open: to read and change other
		// clients is another right.
		if err := s.cfg.Engine.CheckManagementToken(bearerToken(r)); err != nil {
			return nil, err
		}
		return do(r)
	}
}

// listApps handles GET of the collection.
func (s *vendorDialect) listApps(r *http.Request) (*endpoint.Response, error) {
	clients, err := s.cfg.Engine.RegisteredClients(r.Context())
	if err != nil {
		return nil, err
	}
	apps := make([]app, len(clients))
	for i, c := range clients {
		apps[i] = s.appOf(c)
	}
	// The format of a collection in this product: links, the count, and the items.
	path := s.path(codeOnTimeApps)
	return endpoint.JSON(http.StatusOK, map[string]any{
		"_links":     links{"self": {Href: path}, "create": {Href: path, Method: http.MethodPost}},
		"count":      len(apps),
		"collection": apps,
	}), nil
}

// createApp handles POST to the collection: it registers a client as RFC 7591 does,
// and returns 201 with its URL.
func (s *vendorDialect) createApp(r *http.Request) (*endpoint.Response, error) {
	asked, err := readApp(r)
	if err != nil {
		return nil, err
	}
	// A new client is created by changing an empty one, so that both have the same
	// checks.
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
	// The secret is only in this response: the store has its digest.
	body := s.appOf(made)
	return endpoint.JSON(http.StatusCreated, body).Set("Location", body.Links["self"].Href), nil
}

// showApp handles GET of an app. It omits the secret, of which only a digest is
// stored.
func (s *vendorDialect) showApp(r *http.Request) (*endpoint.Response, error) {
	client, err := s.cfg.Engine.RegisteredClient(r.Context(), s.appID(r))
	if err != nil {
		return nil, err
	}
	return endpoint.JSON(http.StatusOK, s.appOf(client)), nil
}

// changeApp handles PATCH of an app: members that the body omits are not changed.
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

// deleteApp handles DELETE of an app. The client's grants end with it.
func (s *vendorDialect) deleteApp(r *http.Request) (*endpoint.Response, error) {
	if err := s.cfg.Engine.RemoveClient(r.Context(), s.appID(r), "the holder of the registration token"); err != nil {
		return nil, err
	}
	return endpoint.NewResponse(http.StatusNoContent, "", nil).Set("Cache-Control", "no-store"), nil
}

// appID returns the client_id in the path of a request.
func (s *vendorDialect) appID(r *http.Request) string {
	return strings.TrimPrefix(r.URL.Path, s.path(codeOnTimeApps)+"/")
}

// appOf returns a registered client in the form of the API. The secret is empty, and
// so omitted, unless the client is new.
func (s *vendorDialect) appOf(c *deviceauth.Registered) app {
	m, self := c.Metadata, s.path(codeOnTimeApps)+"/"+c.ID
	// The API has one member for redirect URIs; several are separated by spaces, so that
	// the operator who sets trusted sees all of them.
	uri := strings.Join(m.RedirectURIs, " ")
	return app{
		Links: links{
			"self": {Href: self}, "edit": {Href: self, Method: http.MethodPatch},
			"delete": {Href: self, Method: http.MethodDelete},
		},
		Name: &m.Name, Author: &m.Author, ID: c.ID, Secret: c.Secret.Reveal(), RedirectURI: &uri,
		Authorization: authorizationOf(m), Trusted: &c.Approved,
	}
}

// authorizationOf derives from the metadata how an app logs people in.
func authorizationOf(m deviceauth.ClientMetadata) *appAuthorization {
	// A server is a client with a secret, regardless of the rest.
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

// apply applies an app to a client.
func (a app) apply(c *deviceauth.Registered) error {
	// A copy: a change that is refused must have no effect.
	m := c.Metadata
	for _, change := range []struct{ from, to *string }{{a.Name, &m.Name}, {a.Author, &m.Author}} {
		if change.from != nil {
			*change.to = *change.from
		}
	}
	// The API has one member for redirect URIs; several are separated by white space.
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
	// The operator approved what people are shown, so a change of it must be approved
	// again.
	c.Approved = c.Approved && checked.ShowsLike(c.Metadata)
	if a.Trusted != nil {
		c.Approved = *a.Trusted
	}
	c.Metadata = checked
	return nil
}

// apply translates the kinds of an app to grant types and an authentication method
// (RFC 7591 §2). An app that is native and also something else counts as native:
// loopback and private-use redirect URIs are then allowed (RFC 8252 §7).
func (a *appAuthorization) apply(m *deviceauth.ClientMetadata) {
	// Refresh tokens depend on the scope offline_access, not on the kind of app.
	m.GrantTypes, m.ResponseTypes = []string{grantRefreshToken}, nil
	if a.Device {
		m.GrantTypes = append(m.GrantTypes, grantDeviceCode)
	}
	if a.Native || a.SPA || a.Server {
		m.GrantTypes = append(m.GrantTypes, grantAuthorizationCode)
	}
	m.ApplicationType, m.AuthMethod = "web", "none"
	// RFC 8252 §8.4: a native app cannot keep a secret.
	if a.Native {
		m.ApplicationType = "native"
	}
	if a.Server {
		m.AuthMethod = "client_secret_basic"
	}
}
