package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// away is a store that cannot be asked.
type away struct{ deviceauth.Store }

func (away) ByUserCode(context.Context, deviceauth.UserCode) (*deviceauth.Grant, error) {
	return nil, errors.New("connection refused")
}
func (away) Create(context.Context, *deviceauth.Grant) error { return errors.New("connection refused") }

func TestStrangersDoNotFillTheLog(t *testing.T) {
	for name, test := range map[string]struct {
		does        func(*gatewaytest.Site)
		least, most int // lines; one more for each second that it takes where strangers cause them
	}{
		"by refused sign-ins": {func(s *gatewaytest.Site) {
			b := s.Browser()
			b.Open("/device/sign-in?with=work")
			b.Open("/device/callback?error=access_denied&state=" + s.Upstream.Begun.State)
		}, 10, 20},
		"by sign-ins that are unavailable": {func(s *gatewaytest.Site) {
			s.Upstream.Down = true
			s.Browser().Open("/device/sign-in?with=work")
		}, 1, 1},
		"by asking a store that is away": {func(s *gatewaytest.Site) {
			s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv")
			s.Post("/oauth2/token", gatewaytest.Form, "client_id=tv&grant_type=refresh_token&refresh_token=x")
		}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Store = away{Store: c.Store} })
			var log bytes.Buffer
			s.Reconfigure(func(c *gateway.HandlerConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			for range 100 {
				test.does(s)
			}
			if lines := strings.Count(log.String(), "\n"); lines < test.least || lines > test.most {
				t.Errorf("%d lines:\n%s", lines, log.String())
			}
		})
	}
}
