package oauthapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

func read(contentType, body string) (params, error) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return readParams(r, false)
}

// again encodes the parameters as a form and as JSON, and requires that both decode
// to the same.
func again(t *testing.T, p params) {
	form, object := url.Values{}, map[string]any{}
	want := params{}
	for name, values := range p {
		if !known[name] || len(values) == 0 {
			continue
		}
		want[name], form[name], object[name] = values, values, values[0]
		if len(values) > 1 {
			object[name] = values
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	for contentType, body := range map[string]string{"application/x-www-form-urlencoded": form.Encode(),
		"application/json": string(text)} {
		if got, err := read(contentType, body); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s %q: got %v, %v, want %v", contentType, body, got, err, want)
		}
	}
}

// refused wants an error to be fit for a client.
func refused(t *testing.T, err error) {
	refusal := deviceauth.AsError(err)
	if refusal == nil {
		t.Fatalf("%v would be a fault of ours", err)
	}
	for _, c := range refusal.Description {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			t.Errorf("%q is no error_description (RFC 6749 §5.2)", refusal.Description)
		}
	}
}

// protocol 2, 3, 4
func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		"client_id=tv&scope=a+b", "client_id=a&client_id=b", "resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb",
		"client_id=", "a;b", "%zz=1",
		"client_id=%00", "client_id=\xff", "client_id=%ff", "=", "&&&", "scope=%F0%9F%93%BA", "_links=x&_links=y",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, err := read("application/x-www-form-urlencoded", body)
		if err != nil {
			refused(t, err)
			return
		}
		again(t, p)
	})
}

// protocol 2, 3, 4
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"client_id":"tv","scope":"a b"}`, `{"client_id":"a","client_id":"b"}`,
		`{"resource":["https://a","https://b"]}`, `{"client_id":null}`,
		`{"client_id":1}`, `{"_links":{"self":{"href":"/x"}},"device_code":"dc_"}`, `{"client_id":"\u0000"}`,
		`{"client_id":"\ud800"}`, `[]`, `{}`, `{}{}`, `{"a":`, "",
		`{"Client_ID":"tv"}`, "\ufeff{}", strings.Repeat(`{"a":`, 500),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, err := read("application/json", body)
		if err != nil {
			refused(t, err)
			return
		}
		if body = strings.TrimPrefix(body, "\ufeff"); body != "" && !json.Valid([]byte(body)) {
			t.Errorf("%q is no JSON, and is read as %v", body, p)
		}
		again(t, p)
	})
}

func noClient(string) bool { return false }

// protocol 5
func FuzzBasic(f *testing.F) {
	for _, seed := range []string{"Basic dHY6", "basic  bWV0ZXI6czMlM0FjcmV0", "Basic", "Basic %%%", "Bearer x",
		"Basic Og==", "Basic OjpA"} {
		f.Add(seed, "a:b", "ü %&")
	}
	f.Fuzz(func(t *testing.T, header, id, secret string) {
		parseBasic(header, noClient) // whatever comes: no panic
		pair := url.QueryEscape(id) + ":" + url.QueryEscape(secret)
		got, ok := parseBasic("Basic "+base64.StdEncoding.EncodeToString([]byte(pair)), noClient)
		if !ok || got.ClientID != id || got.Secret.Reveal() != secret {
			t.Errorf("%q, %q: got %q, %q, %v", id, secret, got.ClientID, got.Secret.Reveal(), ok)
		}
	})
}
