// Package deviceauth decides. It holds the rules of the OAuth 2.0 Device
// Authorization Grant (RFC 8628): who may ask for what, what a person's answer
// does, and what a device is told and given.
//
// It depends on the standard library and on small parts below internal, and knows
// neither HTTP nor a database: packages oauthapi and pages speak for it, a [Store] remembers for it, a
// [Signer] signs for it. A device's whole life is one record, [Grant]; the
// protocol is the methods of that record, and testdata/transitions.txt is the
// table of what they do. An [Engine] ties the rules to a clock and a store.
package deviceauth
