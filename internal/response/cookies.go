package response

// The cookies of the pages. Guards take them off what a backend is sent.
const (
	SessionCookie = "device_session" // who is signed in
	FlowCookie    = "device_flow"    // where on the way they are
	SignInCookie  = "device_signin_" // begins the name of each sign-in that was begun
)
