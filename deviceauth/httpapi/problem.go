package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// What a person can do wrong, or what can go wrong for them.
var (
	errForeign     = deviceauth.Refuse("foreign", "This form was sent from another site.")
	errStale       = deviceauth.Refuse("stale", "This page is out of date: you signed in or out since, or it was open too long.")
	errStaleSignIn = deviceauth.Refuse("stale_sign_in", "This sign-in was begun in another browser, is over, or took more than ten minutes.")
	errNoUpstream  = deviceauth.Refuse("no_upstream", "There is no such way to sign in.")
)

// unavailable is an upstream that cannot be asked. It heals by itself.
type unavailable struct {
	label string
	err   error
}

func (u *unavailable) Error() string { return "sign-in at " + u.label + ": " + u.err.Error() }
func (u *unavailable) Unwrap() error { return u.err }

// problemView is a page that says what is the case and the way on.
type problemView struct{ Text, Way, Address string }

func (h *Handler) problem(status int, title, text, way, path string) (*answer, error) {
	return h.pages.render(status, "problem", title, problemView{text, way, h.cfg.Paths.Device + path})
}

// notice is what the page of a refusal says.
type notice struct {
	status           int
	title, text, way string
	path             string
}

var notices = map[string]notice{
	// The same for wrong, expired and used codes: it tells a guesser nothing.
	"unknown_code":  {http.StatusNotFound, "That code does not work", "Check the code on your device. It may have expired, or may have been used already; then start again on the device.", "Type a code", ""},
	"not_permitted": {http.StatusForbidden, "This account may not connect devices", "You are signed in, but this account is not among those that may connect devices here. Ask whoever runs this service, or use another account.", "Use another account", "/sign-in?switch=1"},
	"decided":       {http.StatusConflict, "This request has been answered", "Somebody has answered it already, or it has expired. Nothing was changed.", "Connect another device", ""},
	"other_network": {http.StatusForbidden, "This device is in another network", "It may be connected only from its own network. If somebody sent you this code, do not use it.", "Type another code", ""},
	"not_connected": {http.StatusNotFound, "This device is not connected", "It is not among the devices of this account. Nothing was changed.", "Your devices", "/connections"},
	"foreign":       {http.StatusForbidden, "That did not come from this page", "", "Start again", ""},
	"stale":         {http.StatusForbidden, "This page is out of date", "", "Start again", ""},
	"stale_sign_in": {http.StatusBadRequest, "This sign-in is over", "", "Sign in again", "/sign-in"},
	"no_upstream":   {http.StatusNotFound, "There is no such way to sign in", "", "Choose another", "/sign-in"},
}

// pageError turns an error into a page, and is the one place where a fault
// behind a page is logged.
func (h *Handler) pageError(r *http.Request, err error) *answer {
	a, renderErr := h.explain(r, err)
	if renderErr != nil {
		h.fault(r, renderErr)
		return newAnswer(http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte("Something went wrong here. Please try again.\n")).set("Retry-After", retryAfter)
	}
	return a
}

// throttled says how long to wait.
func (h *Handler) throttled(wait time.Duration) (*answer, error) {
	minutes := int((wait + time.Minute - 1) / time.Minute)
	text := fmt.Sprintf("Too many codes were wrong. Please wait %d minutes, then type the one that your device shows.", minutes)
	if minutes == 1 {
		text = "Too many codes were wrong. Please wait a minute, then type the one that your device shows."
	}
	a, err := h.problem(http.StatusTooManyRequests, "Please wait", text, "Type a code", "")
	if err != nil {
		return nil, err
	}
	return a.set("Retry-After", strconv.Itoa(wholeSeconds(wait))), nil
}

func (h *Handler) explain(r *http.Request, err error) (*answer, error) {
	var throttled *deviceauth.Throttled
	if errors.As(err, &throttled) {
		return h.throttled(throttled.Wait)
	}
	refusal := deviceauth.Refused(err)
	if refusal != nil {
		n, known := notices[refusal.Code]
		if !known {
			n = notice{status: http.StatusBadRequest, title: "That did not work", way: "Start again"}
		}
		if n.text == "" {
			n.text = refusal.Description
		}
		return h.problem(n.status, n.title, n.text, n.way, n.path)
	}
	h.fault(r, err)
	title, text, way, path := "Something went wrong here", "It is not your fault, and nothing was changed. Please try again in a moment.", "Try again", ""
	var down *unavailable
	if errors.As(err, &down) {
		title, text, path = "Sign-in is unavailable", down.label+" cannot be reached right now. Your device goes on waiting; please try again in a moment.", "/sign-in"
	}
	a, err := h.problem(http.StatusServiceUnavailable, title, text, way, path)
	if err != nil {
		return nil, err
	}
	return a.set("Retry-After", retryAfter), nil
}
