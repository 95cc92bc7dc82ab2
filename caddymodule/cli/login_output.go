package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// spellings are what device-login can print, by the value of --output.
var spellings = map[string]func(*oauth2.Token) (string, error){
	"header": header,
	"token":  func(t *oauth2.Token) (string, error) { return printable(t.AccessToken) },
	"json":   tokenResponse,
	"curl": func(t *oauth2.Token) (string, error) {
		line, err := header(t)
		return `header = "` + quoted.Replace(line) + `"`, err
	},
}

// quoted escapes as curl's configuration files want it.
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func header(t *oauth2.Token) (string, error) {
	token, err := printable(t.AccessToken)
	return "Authorization: Bearer " + token, err
}

// printable refuses what RFC 6749 §A does not allow in a token or scope: with a
// line break a server could write further lines into a curl configuration, and
// JSON leaves a part of the characters that a terminal obeys as they are.
func printable(token string) (string, error) {
	if strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("the server's answer has characters that no token or scope can have")
	}
	return token, nil
}

// tokenResponse is the server's answer (RFC 6749 §5.1), with the time that is
// left of the token.
func tokenResponse(t *oauth2.Token) (string, error) {
	if _, err := printable(fmt.Sprint(t.AccessToken, t.RefreshToken, t.TokenType, t.Extra("id_token"), t.Extra("scope"))); err != nil {
		return "", err
	}
	response := map[string]any{"access_token": t.AccessToken, "token_type": t.TokenType}
	if !t.Expiry.IsZero() {
		response["expires_in"] = int(time.Until(t.Expiry).Seconds())
	}
	if t.RefreshToken != "" {
		response["refresh_token"] = t.RefreshToken
	}
	for _, name := range []string{"id_token", "scope"} {
		if value := t.Extra(name); value != nil && value != "" {
			response[name] = value
		}
	}
	text, err := json.MarshalIndent(response, "", "  ")
	return string(text), err
}
