package deviceauth

// UserCodeCounts returns how many counts of wrong user codes are kept.
func (l *PollState) UserCodeCounts() int {
	l.userCodes.mu.Lock()
	defer l.userCodes.mu.Unlock()
	return len(l.userCodes.counts)
}

// ClientDocument is the name of the document that has a client.
var ClientDocument = clientDocument
