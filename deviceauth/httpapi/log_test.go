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
	for name, does := range map[string]func(*site){
		"by refused sign-ins": func(s *site) {
			b := s.browser()
			b.open("/device/sign-in?with=work")
			b.open("/device/callback?error=access_denied&state=" + s.signIn.begun.State)
		},
		"by sign-ins that are unavailable": func(s *site) {
			s.signIn.down = true
			s.browser().open("/device/sign-in?with=work")
		},
		"by asking a store that is away": func(s *site) {
			s.post("/oauth2/device_authorization", form, "client_id=tv")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *deviceauth.Config) { c.Store = away{c.Store} })
			var log bytes.Buffer
			s.again(func(c *httpapi.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			for range 100 {
				does(s)
			}
			if lines := strings.Count(log.String(), "\n"); lines < 10 || lines > 20 { // one more for each second that it took
				t.Errorf("%d lines", lines)
			}
		})
	}
}
