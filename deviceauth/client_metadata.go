package deviceauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// ClientMetadata is the metadata of a client that registers (RFC 7591 §2), or of its
// metadata document. A value that is not supported is refused with the name of the
// member; unknown members are ignored (RFC 7591 §2).
type ClientMetadata struct {
	RedirectURIs    []string `json:"redirect_uris,omitempty"`
	AuthMethod      string   `json:"token_endpoint_auth_method,omitempty"`
	GrantTypes      []string `json:"grant_types,omitempty"`
	ResponseTypes   []string `json:"response_types,omitempty"`
	Name            string   `json:"client_name,omitempty"`
	URI             string   `json:"client_uri,omitempty"`
	LogoURI         string   `json:"logo_uri,omitempty"`
	Scope           string   `json:"scope,omitempty"`
	Contacts        []string `json:"contacts,omitempty"`
	TermsURI        string   `json:"tos_uri,omitempty"`
	PolicyURI       string   `json:"policy_uri,omitempty"`
	SoftwareID      string   `json:"software_id,omitempty"`
	SoftwareVersion string   `json:"software_version,omitempty"`
	ApplicationType string   `json:"application_type,omitempty"` // OpenID Connect Registration §2: web or native

	// Author is a member only in the App Management API of Code On Time.
	Author string `json:"author,omitempty"`
}

// Limits for client metadata.
const (
	maxClientURIs = 10   // redirect URIs
	maxClientURI  = 512  // bytes of each other URI
	maxClientText = 100  // characters of each name, contact and version
	maxScopes     = 4096 // bytes of scope; the response to a registration lists all scopes of the client
	maxContacts   = 5
)

// The grant types that a client may register for.
const (
	grantCode    = "authorization_code"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
	grantRefresh = "refresh_token"
)

// badMetadata returns the error invalid_client_metadata (RFC 7591 §3.2.2).
func badMetadata(member, why string, args ...any) error {
	return NewError("invalid_client_metadata", Quotable(member)+": "+fmt.Sprintf(why, args...))
}

// ParseClientMetadata parses and checks client metadata. Refusals:
// invalid_client_metadata with the member that is wrong, invalid_redirect_uri.
func ParseClientMetadata(document []byte) (m ClientMetadata, err error) {
	var wrong *json.UnmarshalTypeError
	err = json.Unmarshal(document, &m)
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return m, badMetadata(wrong.Field, "want another type than %s", Quotable(wrong.Value))
	case err != nil:
		return m, NewError("invalid_client_metadata", "want a JSON object with client metadata (RFC 7591)")
	}
	return m, m.complete()
}

// Complete returns the metadata with the defaults of RFC 7591 §2. Refusals are those of
// [ParseClientMetadata].
func (m ClientMetadata) Complete() (ClientMetadata, error) { return m, m.complete() }

// complete checks the metadata, and sets the defaults of RFC 7591 §2.
func (m *ClientMetadata) complete() error {
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{grantCode}
	}
	if len(m.ResponseTypes) == 0 && m.has(grantCode) {
		m.ResponseTypes = []string{"code"}
	}
	orDefault(&m.AuthMethod, "client_secret_basic")
	m.GrantTypes, m.ResponseTypes = unique(m.GrantTypes), unique(m.ResponseTypes)
	m.RedirectURIs = unique(m.RedirectURIs)
	m.Name, m.Author = clientText(m.Name), clientText(m.Author)
	if err := m.checkFlows(); err != nil {
		return err
	}
	return m.checkTexts()
}

// origins returns the origins of pages that act as the client: those of the redirect
// URIs of a public client that are at a web server.
func (m *ClientMetadata) origins() (list []string) {
	for _, uri := range m.RedirectURIs {
		u, err := url.Parse(uri)
		if m.AuthMethod == "none" && err == nil && (u.Scheme == "https" || u.Scheme == "http") {
			list = append(list, u.Scheme+"://"+u.Host)
		}
	}
	return unique(list)
}

// unique returns a list without duplicates.
func unique(list []string) (kept []string) {
	for _, s := range list {
		if !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
		if len(kept) > 2*maxClientURIs { // more than any check lets through
			break
		}
	}
	return kept
}

// shown returns a digest of the metadata that an approval covers: what the consent
// page shows (names, URIs and scope), the redirect URIs, and whether the client may
// use the device grant.
func (m ClientMetadata) shown() Digest {
	text, err := json.Marshal(
		[]any{m.Name, m.Author, m.URI, m.LogoURI, m.RedirectURIs, m.has(grantDevice), m.Scope})
	if err != nil { // cannot happen with strings
		return Digest{}
	}
	return digest(text)
}

// ShowsLike reports whether people are shown the same as with other metadata, so that an
// approval of the operator stays valid.
func (m ClientMetadata) ShowsLike(other ClientMetadata) bool { return m.shown() == other.shown() }

func (m *ClientMetadata) has(grantType string) bool { return slices.Contains(m.GrantTypes, grantType) }

// checkFlows checks the members that select the flows of the client.
func (m *ClientMetadata) checkFlows() error {
	for _, grantType := range m.GrantTypes {
		if !slices.Contains([]string{grantCode, grantDevice, grantRefresh}, grantType) {
			return badMetadata("grant_types", "want %s, %s or %s", grantCode, grantDevice, grantRefresh)
		}
	}
	if !m.has(grantCode) && !m.has(grantDevice) {
		return badMetadata("grant_types", "want %s or %s among them", grantCode, grantDevice)
	}
	for _, responseType := range m.ResponseTypes {
		if responseType != "code" {
			return badMetadata("response_types", "want code alone")
		}
	}
	if !slices.Contains([]string{"none", "client_secret_basic", "client_secret_post"}, m.AuthMethod) {
		return badMetadata("token_endpoint_auth_method", "want none, client_secret_basic or client_secret_post")
	}
	switch {
	case m.has(grantCode) && len(m.RedirectURIs) == 0:
		return NewError("invalid_redirect_uri", "redirect_uris: want one or more for authorization_code")
	case !m.has(grantCode) && len(m.RedirectURIs) > 0:
		return NewError("invalid_redirect_uri", "redirect_uris: want none without authorization_code")
	case len(m.RedirectURIs) > maxClientURIs:
		return NewError("invalid_redirect_uri", fmt.Sprintf("redirect_uris: want at most %d", maxClientURIs))
	}
	for _, uri := range m.RedirectURIs {
		if err := checkRedirect(uri); err != nil {
			return NewError("invalid_redirect_uri", Quotable(err.Error()))
		}
		if scheme, _, _ := strings.Cut(uri, ":"); !isKnownScheme(scheme) {
			return NewError("invalid_redirect_uri",
				"redirect "+Quotable(uri)+
					": a private-use scheme has a dot, such as com.example.app (RFC 8252 section 7.1)")
		}
	}
	return nil
}

// checkTexts checks the members that are shown to people or only stored.
func (m *ClientMetadata) checkTexts() error {
	for member, uri := range map[string]string{
		"client_uri": m.URI, "logo_uri": m.LogoURI, "tos_uri": m.TermsURI, "policy_uri": m.PolicyURI,
	} {
		u, err := url.Parse(uri)
		if uri != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || !isPlainHost(u) ||
			!text.IsPrintable(uri) || len(uri) > maxClientURI) {
			return badMetadata(member, "want an https URL of at most %d bytes", maxClientURI)
		}
	}
	for member, value := range map[string]string{
		"software_id": m.SoftwareID, "software_version": m.SoftwareVersion,
	} {
		if len(value) > 4*maxClientText || !text.IsPrintable(value) {
			return badMetadata(member, "want printable ASCII of at most %d bytes", 4*maxClientText)
		}
	}
	if len(m.Scope) > maxScopes || !text.IsPrintable(m.Scope) {
		return badMetadata("scope", "want printable ASCII of at most %d bytes", maxScopes)
	}
	if m.ApplicationType != "" && m.ApplicationType != "web" && m.ApplicationType != "native" {
		return badMetadata("application_type", "want web or native")
	}
	if len(m.Contacts) > maxContacts {
		return badMetadata("contacts", "want at most %d", maxContacts)
	}
	for i, contact := range m.Contacts {
		m.Contacts[i] = clientText(contact)
	}
	return nil
}

// clientText makes text of a client fit to be shown.
func clientText(text string) string { return strings.TrimSpace(quoted(text, maxClientText)) }

// checkRedirects refuses redirect URIs of the issuer itself.
func (m *ClientMetadata) checkRedirects(issuer string) error {
	for _, uri := range m.RedirectURIs {
		if leadsTo(issuer, uri) {
			return NewError("invalid_redirect_uri", "redirect "+Quotable(uri)+": that is the issuer itself")
		}
	}
	return nil
}

// scopes returns the scope of the client: the allowed part of the scope that it
// requests, or everything allowed if it requests none. A server may grant less than
// was requested (RFC 7591 §2).
func (m *ClientMetadata) scopes(allowed Scope) (Scope, error) {
	asked, err := ParseScope(m.Scope)
	if err != nil {
		return "", badMetadata("scope", "want scopes separated by spaces (RFC 6749 section 3.3)")
	}
	if asked == "" {
		return allowed, nil
	}
	var given []string
	for _, scope := range asked.List() {
		if allowed.Has(scope) {
			given = append(given, scope)
		}
	}
	if len(given) == 0 {
		return "", badMetadata("scope", "want some of: %s", allowed)
	}
	return NewScope(given...), nil
}
