package response

// These are the cookies of the pages. Guards remove them from requests to a backend.
const (
	SessionCookie = "device_session" // the session of the signed-in person
	FlowCookie    = "device_flow"    // the state of a person's steps through the pages
	SignInCookie  = "device_signin_" // prefix; each pending sign-in has a cookie of its own
)
