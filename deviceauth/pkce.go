package deviceauth

// errVerifier is the error for a missing or wrong code_verifier (RFC 7636 §4.6).
var errVerifier = NewError("invalid_grant", "code_verifier is missing, or is not the one of this code's code_challenge")

// parseChallenge parses the code_challenge of a request (RFC 7636 §4.3), which binds
// the code to the client that requested it. It accepts only S256: with plain, the
// default, the request itself contains the verifier. If both parameters are missing
// there is no challenge.
func parseChallenge(challenge, method string) (d Digest, err error) {
	switch {
	case challenge == "" && method == "":
		return d, nil
	case challenge == "":
		return d, NewError("invalid_request", "code_challenge_method is there and code_challenge is missing")
	case method != "S256":
		return d, NewError("invalid_request",
			"code_challenge_method: want S256; without one it is plain, which proves nothing (RFC 7636 section 4.3)")
	case d.UnmarshalText([]byte(challenge)) != nil || d == Digest{}:
		return d, NewError("invalid_request",
			"code_challenge: want the SHA-256 of code_verifier as 43 characters of base64url without padding (RFC "+
				"7636 section 4.2)")
	}
	return d, nil
}

// proves reports whether a code_verifier matches a challenge.
func proves(challenge Digest, verifier string) bool {
	return challenge == Digest{} || digest([]byte(verifier)).equal(challenge)
}
