package deviceauth

// UserCodeCounts returns how many counts of wrong user codes are kept.
func (s *PollState) UserCodeCounts() int {
	s.userCodes.mu.Lock()
	defer s.userCodes.mu.Unlock()
	return len(s.userCodes.counts)
}

// ClientDocument is the name of the document that has a client.
var ClientDocument = clientDocument
