//go:build race

package main

// underRace reports whether the server is built with the race detector, which
// costs memory and time.
const underRace = true
