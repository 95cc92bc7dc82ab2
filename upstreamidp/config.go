// Package upstreamidp vouches: it signs people in at an OpenID Connect
// provider, the upstream, and says who they are. What they may do is decided
// in package deviceauth; package httpapi takes their browsers there and back.
package upstreamidp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Config says which provider, and who we are to it.
type Config struct {
	ID           string            // short name; prefixes subjects
	Issuer       string            // the provider's issuer URL
	Name         string            // label of the sign-in button; default: the id
	ClientID     string            // ours at the provider
	ClientSecret deviceauth.Secret // empty: a public client
	Scopes       []string          // default: openid profile email; openid is always asked for
	UserClaim    string            // the claim that becomes Person.User; default: the subject
	HTTPClient   *http.Client      // default: one that waits 10 s and reads at most 1 MiB
}

var validID = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// Check says what is wrong with a configuration, without asking anybody.
func (c Config) Check() error {
	u, err := url.Parse(c.Issuer)
	switch {
	case !validID.MatchString(c.ID):
		return fmt.Errorf("upstream id %q: want lower-case letters, digits, - and _", c.ID)
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("upstream %s: issuer %q: want an URL such as https://login.example.com, without query and fragment", c.ID, c.Issuer)
	case u.Scheme != "https" && (u.Scheme != "http" || !deviceauth.Loopback(u.Hostname())):
		return fmt.Errorf("upstream %s: issuer %q: want https, or http on a loopback host", c.ID, c.Issuer)
	case c.ClientID == "":
		return fmt.Errorf("upstream %s: client_id is missing", c.ID)
	}
	return nil
}

func (c *Config) fill() {
	if c.Name == "" {
		c.Name = c.ID
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"openid", "profile", "email"}
	}
	if !slices.Contains(c.Scopes, "openid") {
		c.Scopes = append([]string{"openid"}, c.Scopes...)
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Timeout: 10 * time.Second, Transport: bounded{http.DefaultTransport}}
	}
}

// bounded keeps a provider from filling our memory.
type bounded struct{ http.RoundTripper }

const maxAnswer = 1 << 20

var errAnswerTooLarge = errors.New("the provider's answer is larger than 1 MiB")

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = &boundedBody{answer.Body, maxAnswer}
	}
	return answer, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
