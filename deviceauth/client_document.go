package deviceauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"
)

// hasDocument reports whether a client_id is the URL of a client metadata document on
// an allowed host (draft-ietf-oauth-client-id-metadata-document). The host must have
// the spelling that canonicalHost returns, so that each document belongs to only one
// client.
func (e *Engine) hasDocument(id string) bool {
	if !strings.HasPrefix(id, "https://") || len(id) > maxClientURI || e.cfg.Registration.Fetch == nil {
		return false
	}
	u, err := url.Parse(id)
	if err != nil || u.User != nil || strings.ContainsAny(id, "#?") || u.Path == "" || u.Path == "/" ||
		u.RawPath != "" || path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") || u.String() != id ||
		!isPlainHost(u) || u.Host != canonicalHost(u) {
		return false
	}
	return e.allowsDocumentsOf(u.Host)
}

// allowsDocumentsOf reports whether metadata documents of a host are allowed. A
// pattern without a port does not allow a host with one.
func (e *Engine) allowsDocumentsOf(host string) bool {
	return slices.ContainsFunc(e.cfg.Registration.Documents, func(pattern string) bool {
		return matches(strings.ToLower(pattern), strings.ToLower(host))
	})
}

// documentClient fetches and checks the metadata document of a client. record may be
// nil.
func (e *Engine) documentClient(ctx context.Context, id string, record *clientRecord) (*Client, error) {
	document, err := e.cfg.Registration.Fetch(ctx, id)
	var wrong *DocumentError
	switch {
	case errors.As(err, &wrong):
		return nil, documentError(err.Error())
	case err != nil: // it may succeed later, so the client is not refused
		return nil, &DocumentFault{Reason: err.Error()}
	}
	var members struct {
		ID         string  `json:"client_id"`
		Secret     *string `json:"client_secret"`
		AuthMethod string  `json:"token_endpoint_auth_method"`
	}
	if err := json.Unmarshal(document, &members); err != nil {
		return nil, documentError("it is not a JSON object")
	}
	switch {
	case members.ID != id:
		return nil, documentError("its client_id is another one")
	case members.Secret != nil || members.AuthMethod != "" && members.AuthMethod != "none":
		return nil, documentError("want a public client: token_endpoint_auth_method none, and no client_secret")
	}
	m, err := ParseClientMetadata(document)
	if err != nil {
		return nil, documentError(AsError(err).Description)
	}
	u, err := url.Parse(id)
	if err != nil {
		return nil, err
	}
	m.AuthMethod, m.Author = "none", "" // nothing confirms the author that a document claims
	if record == nil {
		record = &clientRecord{}
	}
	return e.introducedClient(id, u.Host, m, record), nil
}

// A DocumentError means that a client metadata document is invalid, so that fetching
// it again is useless. Any other error of [Registration.Fetch] may be temporary.
type DocumentError struct{ Reason string }

func (e *DocumentError) Error() string { return e.Reason }

// A DocumentFault means that the metadata document of a client cannot be fetched now.
// It may be temporary, so the client is not refused because of it.
type DocumentFault struct{ Reason string }

func (e *DocumentFault) Error() string { return "the client metadata document: " + Quotable(e.Reason) }

// documentError returns the error for a client whose metadata document is refused.
func documentError(why string) error {
	return NewError("invalid_client", "the client metadata document cannot be used: "+Quotable(why))
}
