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
		"%22" + code:   "%22dc_[hidden]",
		"%253D" + code: "%253Ddc_[hidden]", "token_" + code: "token_dc_[hidden]",
		"1" + code:         "1dc_[hidden]",
		"dc%5F" + code[3:]: "dc%5F[hidden]", "eyAiYWxnIjoiRVMyNTYifQ.eyJzdWIiOiJ4In0.c2ln": "eyA[hidden]",
		"ewogImFsZyI6IkVTMjU2In0.eyJzdWIiOiJ4In0.c2ln": "ewo[hidden]",
		"/ac_controller_livingroom_2":                  "/ac_controller_livingroom_2",
		"abcdc_" + code[3:]:                            "abcdc_" + code[3:],
		"/v2/" + jwt + "/x":                            "/v2/eyJ[hidden]/x",
		"smart_thermostat_display_unit":                "smart_thermostat_display_unit",
		"c_ABCDEFGHIJKLMNOPQRSTUVWXYZ":                 "c_ABCDEFGHIJKLMNOPQRSTUVWXYZ", "rt_short": "rt_short", "": "",
	} {
		if got := text.WithoutCredentials(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}
