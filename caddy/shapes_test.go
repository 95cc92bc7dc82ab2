package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A requestShape is what a program of somebody else's sends to begin a login, and
// to poll: to the letter, as its source has it.
type requestShape struct {
	program   string
	ask, poll string // path, with CLIENT and CODE
	body      string // of both, with PARAMS for what else stands in the query
	header    http.Header
}

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// Programs that take GitHub's device flow for what it documents by example.
var requestShapes = []requestShape{
	{ // microsoft/vscode, extensions/github-authentication/src/flows.ts
		program: "VS Code",
		ask:     "/login/device/code?client_id=CLIENT&scope=openid%20products%3Aread",
		poll:    "/login/oauth/access_token?client_id=CLIENT&device_code=CODE&grant_type=" + deviceGrant,
		header:  http.Header{"Accept": {"application/json"}},
	},
	{ // ludeeus/aiogithubapi, device.py, which Home Assistant's integration logs in with
		program: "Home Assistant",
		ask:     "/login/device/code?client_id=CLIENT&scope=",
		poll:    "/login/oauth/access_token?client_id=CLIENT&device_code=CODE&grant_type=" + deviceGrant,
		header: http.Header{
			"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"AioGitHubAPI/24.6.0"},
		},
	},
	{ // the same with a Content-Type of forms, and an answer that is one
		program: "a script with an empty form",
		ask:     "/login/device/code?client_id=CLIENT",
		poll:    "/login/oauth/access_token?client_id=CLIENT&device_code=CODE&grant_type=" + deviceGrant,
		header:  http.Header{"Accept": {"application/json"}, "Content-Type": {"application/x-www-form-urlencoded"}},
	},
	{ // desktop/desktop and others: a JSON body
		program: "a JSON body",
		ask:     "/login/device/code",
		poll:    "/login/oauth/access_token",
		body:    `{"client_id":"CLIENT","scope":"openid","device_code":"CODE","grant_type":"` + deviceGrant + `"}`,
		header:  http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}},
	},
}

// protocol 2, 13
func TestRequestsInTheShapesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	g := startWith(t, "dialect github\n\t\twait off\n\t\tinterval 1s")
	for _, shape := range requestShapes {
		t.Run(shape.program, func(t *testing.T) {
			response := g.sends(t, shape, shape.ask, "")
			code, _ := response["device_code"].(string)
			if code == "" || response["user_code"] == "" || response["verification_uri"] != g.url+"/device" {
				t.Fatalf("asked for a code: %v", response)
			}
			if response = g.sends(t, shape, shape.poll, code); response["error"] != "authorization_pending" {
				t.Errorf("polled: %v", response)
			}
		})
	}
	// Elsewhere the query is not looked at.
	standard := requestShape{header: http.Header{}}
	if response := g.sends(t, standard, "/oauth2/device_authorization?client_id=CLIENT",
		""); response["error"] != "invalid_client" {
		t.Errorf("the standard endpoint takes the query: %v", response)
	}
}

// sends posts to a path as the shape does.
func (g *gateway) sends(t *testing.T, shape requestShape, path, code string) (members map[string]any) {
	t.Helper()
	fill := strings.NewReplacer("CLIENT", "cool-gadget", "CODE", code)
	r, err := http.NewRequest(http.MethodPost, g.url+fill.Replace(path), strings.NewReader(fill.Replace(shape.body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = shape.header
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatalf("%s: %v: %s", path, err, text)
	}
	return members
}
