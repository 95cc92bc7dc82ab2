package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// outputFormats are the outputs of device-login, by the value of --output.
var outputFormats = map[string]func(*oauth2.Token) (string, error){
	"header": header,
	"token":  func(t *oauth2.Token) (string, error) { return printable(t.AccessToken) },
	"json":   tokenResponse,
	"curl": func(t *oauth2.Token) (string, error) {
		line, err := header(t)
		return `header = "` + quoted.Replace(line) + `"`, err
	},
}

// quoted escapes a string for a curl configuration file, as in curl's manual.
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// header returns the Authorization header with the token (RFC 6750 §2.1).
func header(t *oauth2.Token) (string, error) {
	token, err := printable(t.AccessToken)
	return "Authorization: Bearer " + token, err
}

// printable refuses characters that RFC 6749 appendix A does not permit in a
// token or scope. With a line break, a server could add lines to a curl
// configuration; and JSON encoding does not escape some characters that
// control a terminal.
func printable(token string) (string, error) {
	if strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("the server's answer has characters that no token or scope can have")
	}
	return token, nil
}

// tokenResponse returns the token response (RFC 6749 §5.1), with the remaining
// lifetime in seconds.
func tokenResponse(t *oauth2.Token) (string, error) {
	all := fmt.Sprint(t.AccessToken, t.RefreshToken, t.TokenType, t.Extra("id_token"), t.Extra("scope"))
	if _, err := printable(all); err != nil {
		return "", err
	}
	response := map[string]any{"access_token": t.AccessToken, "token_type": t.TokenType}
	// expires_in in the server's response is relative to the time of issue.
	if !t.Expiry.IsZero() {
		response["expires_in"] = int(time.Until(t.Expiry).Seconds())
	}
	if t.RefreshToken != "" {
		response["refresh_token"] = t.RefreshToken
	}
	// Both are optional members, and are omitted if the server sent none.
	for _, name := range []string{"id_token", "scope"} {
		if value := t.Extra(name); value != nil && value != "" {
			response[name] = value
		}
	}
	text, err := json.MarshalIndent(response, "", "  ")
	return string(text), err
}
