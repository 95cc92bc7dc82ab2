package oauthapi

import (
	"bytes"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

func TestAuthorizationAnswerIsWhatEncodingJSONWrites(t *testing.T) {
	t.Parallel()
	full := authorizationResponse{
		DeviceCode: "dc", UserCode: "BCDF-GHJK", URI: "https://login.example/device",
		Complete: "https://login.example/device?user_code=BCDF-GHJK", ExpiresIn: 600, Interval: 5,
	}
	for name, change := range map[string]func(*authorizationResponse){
		"all of RFC 8628":    func(*authorizationResponse) {},
		"code is typed":      func(a *authorizationResponse) { a.Complete = "" },
		"no numbers":         func(a *authorizationResponse) { a.ExpiresIn, a.Interval = 0, 0 },
		"escapes":            func(a *authorizationResponse) { a.URI = "https://login.example/ë?a=\"<&>\xff" },
		"verification_url":   func(a *authorizationResponse) { a.URL = a.URI },
		"message":            func(a *authorizationResponse) { a.Message = "Type BCDF-GHJK." },
		"redirect and token": func(a *authorizationResponse) { a.RedirectURI, a.Token = a.URI, &tokenRequest{} },
	} {
		t.Run(name, func(t *testing.T) {
			body := full
			change(&body)
			if got, want := body.EncodeJSON(), response.JSON(&body); !bytes.Equal(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
