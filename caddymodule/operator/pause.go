package operator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// showPause returns whether the device login is paused, since when, by whom and why.
func showPause(s Server, r *http.Request) (any, error) {
	p, err := s.Engine.Paused(r.Context())
	return adminapi.Pause{Paused: p.On(), Pause: p}, err
}

// pauseRequest is the body of a request to pause or resume. Query parameters are an
// alternative.
type pauseRequest struct {
	Note string `json:"note"` // why, for other operators
	By   string `json:"by"`   // the operator's name
}

// MaxBody is the maximum length of the body of a request in bytes.
const MaxBody = 4 << 10 // a note is a sentence or two

// readPauseRequest reads the note and the operator's name from the query or the body.
// The body may be empty; its members take precedence.
func readPauseRequest(r *http.Request) (req pauseRequest, err error) {
	asked, err := query(r, "note", "by")
	if err != nil {
		return req, err
	}
	req = pauseRequest{Note: asked.Get("note"), By: asked.Get("by")}
	// The admin endpoint has no limit for bodies.
	body := json.NewDecoder(http.MaxBytesReader(nil, r.Body, MaxBody))
	body.DisallowUnknownFields()
	if err := body.Decode(&req); err != nil && !errors.Is(err, io.EOF) {
		return req, badRequest(`want nothing, or a JSON object such as {"note":"why","by":"who"}: %v`, err)
	}
	if len(req.Note)+len(req.By) > MaxBody {
		return req, badRequest("the note is too long: want at most %d bytes", MaxBody)
	}
	return pauseRequest{Note: text.Plain(req.Note), By: operatorName(req.By, r)}, nil
}

// pause stops connecting new devices; connected devices are not affected. The pause
// is stored: other gateways with the same store follow within seconds.
func pause(s Server, r *http.Request) (any, error) {
	req, err := readPauseRequest(r)
	if err != nil {
		return nil, err
	}
	p, err := s.Engine.Pause(r.Context(), req.By, req.Note)
	if err == nil {
		caddy.Log().Named("device_login").Warn("connecting devices is paused",
			zap.String("by", p.By), zap.String("note", p.Note))
	}
	return adminapi.Pause{Paused: p.On(), Pause: p}, err
}

// resume ends a pause.
func resume(s Server, r *http.Request) (any, error) {
	req, err := readPauseRequest(r)
	if err != nil {
		return nil, err
	}
	if err = s.Engine.Resume(r.Context(), req.By); err == nil {
		caddy.Log().Named("device_login").Info("devices can be connected", zap.String("by", req.By))
	}
	return adminapi.Pause{}, err
}
