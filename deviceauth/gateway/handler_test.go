package gateway_test

import (
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

func TestHandlerNeedsACookieKey(t *testing.T) {
	s := gatewaytest.New(t)
	h, err := gateway.NewHandler(gateway.HandlerConfig{Engine: s.Engine, Keys: s.Keys})
	if h != nil || err == nil || !strings.Contains(err.Error(), "CookieKey: the key is missing") {
		t.Errorf("got %v, %v", h, err)
	}
}
