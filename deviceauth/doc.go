// Package deviceauth implements the rules of the OAuth 2.0 Device Authorization Grant
// (RFC 8628): which client may request what, what a person's answer does, and which
// response and tokens a device receives.
//
// It depends only on the standard library and on small internal packages, and neither
// on HTTP nor on a database: packages oauthapi and pages serve HTTP, a [Store] stores
// grants, and a [Signer] signs tokens. The whole life of a device is one record,
// [Grant]; the protocol is the methods of that record, and testdata/transitions.txt
// is the table of what they do. An [Engine] applies the rules with a clock and a
// store.
package deviceauth
