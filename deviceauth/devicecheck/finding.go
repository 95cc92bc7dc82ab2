package devicecheck

import "fmt"

// pass returns a finding that needs no remedy. The text says what was found, because
// an operator compares it with the expected value even where all is well.
func pass(format string, args ...any) finding {
	return finding{status: Pass, detail: fmt.Sprintf(format, args...)}
}

// skip returns the finding of a check that makes no sense for this deployment, or
// that needs a result that an earlier check did not have. The text says which.
func skip(format string, args ...any) finding {
	return finding{status: Skipped, detail: fmt.Sprintf(format, args...)}
}

// A message is what was found, still without a remedy. A warning or failure cannot be
// written without a remedy, because warn and fail are the only way from a message to
// a finding.
type message string

// found returns a message. Arguments that come from the network must go through
// quote.
func found(format string, args ...any) message { return message(fmt.Sprintf(format, args...)) }

// fail returns a failure: an RFC is broken, or the deployment cannot work.
func (t message) fail(mend string, args ...any) finding {
	return finding{status: Fail, detail: string(t), remedy: fmt.Sprintf(mend, args...)}
}

// warn returns a warning: the deployment works, but not as it should.
func (t message) warn(mend string, args ...any) finding {
	return finding{status: Warn, detail: string(t), remedy: fmt.Sprintf(mend, args...)}
}
