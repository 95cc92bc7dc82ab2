package deviceauth

// UserCodeCounts returns how many counts of wrong user codes are kept.
func (s *PollState) UserCodeCounts() int { return s.userCodes.Len() }

// ClientDocument is the name of the document that has a client.
var ClientDocument = clientDocument
