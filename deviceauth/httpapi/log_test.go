package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// away is a store that cannot be asked.
type away struct{ deviceauth.Store }

func (away) ByUserCode(context.Context, deviceauth.UserCode) (*deviceauth.Grant, error) {
	return nil, errors.New("connection refused")
}
func (away) Create(context.Context, *deviceauth.Grant) error { return errors.New("connection refused") }

func TestStrangersDoNotFillTheLog(t *testing.T) {
	for name, test := range map[string]struct {
		does        func(*site)
		least, most int // lines; one more for each second that it takes where strangers cause them
	}{
		"by refused sign-ins": {func(s *site) {
			b := s.browser()
			b.open("/device/sign-in?with=work")
			b.open("/device/callback?error=access_denied&state=" + s.signIn.begun.State)
		}, 10, 20},
		"by sign-ins that are unavailable": {func(s *site) {
			s.signIn.down = true
			s.browser().open("/device/sign-in?with=work")
		}, 1, 1},
		"by asking a store that is away": {func(s *site) {
			s.post("/oauth2/device_authorization", form, "client_id=tv")
			s.post("/oauth2/token", form, "client_id=tv&grant_type=refresh_token&refresh_token=x")
		}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *deviceauth.Config) { c.Store = away{c.Store} })
			var log bytes.Buffer
			s.again(func(c *httpapi.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			for range 100 {
				test.does(s)
			}
			if lines := strings.Count(log.String(), "\n"); lines < test.least || lines > test.most {
				t.Errorf("%d lines:\n%s", lines, log.String())
			}
		})
	}
}
