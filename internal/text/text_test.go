package text_test

import (
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

func TestWithoutCredentials(t *testing.T) {
	t.Parallel()
	code, jwt := "dc_"+strings.Repeat("x", 64), "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
	for raw, want := range map[string]string{
		code: "dc_[hidden]", "a=" + code + "&b=" + jwt: "a=dc_[hidden]&b=eyJ[hidden]",
		"http://x/?a%3D" + code: "http://x/?a%3Ddc_[hidden]", "%20" + jwt: "%20eyJ[hidden]",
		"%22" + code:        "%22dc_[hidden]",
		"/v2/" + jwt + "/x": "/v2/eyJ[hidden]/x", "smart_thermostat_display_unit": "smart_thermostat_display_unit",
		"c_ABCDEFGHIJKLMNOPQRSTUVWXYZ": "c_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "rt_short": "rt_short", "": "",
	} {
		if got := text.WithoutCredentials(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}
