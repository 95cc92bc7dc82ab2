// Package limit bounds what strangers may use of what all share: requests that wait
// ([Pending]), wrong guesses ([Attempts]), and what may be done in a minute ([PerMinute]).
// How fast a device may poll is not one of these limits: see PollState of deviceauth.
// It counts in the memory of one process. It does not know what is limited, and refuses
// nothing: it tells its callers, the rules of package deviceauth, how long to wait.
package limit
