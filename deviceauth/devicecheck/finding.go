package devicecheck

import "fmt"

// pass needs no mending. The text says what was found, because an operator
// compares it with what was expected even where all is in order.
func pass(format string, args ...any) finding {
	return finding{status: Pass, detail: fmt.Sprintf(format, args...)}
}

// A check is skipped where its question makes no sense for this deployment, or
// where it needs what an earlier check did not find. The text says which.
func skip(format string, args ...any) finding {
	return finding{status: Skipped, detail: fmt.Sprintf(format, args...)}
}

// message is what was found, until it is said how to mend it. So a warning or
// failure cannot be written without a remedy: the only way from a message to a
// finding is through warn or fail.
type message string

// The format's arguments that come from the network go through quote.
func found(format string, args ...any) message { return message(fmt.Sprintf(format, args...)) }

// fail says that an RFC is broken, or that it cannot work.
func (t message) fail(mend string, args ...any) finding {
	return finding{status: Fail, detail: string(t), remedy: fmt.Sprintf(mend, args...)}
}

// warn says that it works, but not as it should.
func (t message) warn(mend string, args ...any) finding {
	return finding{status: Warn, detail: string(t), remedy: fmt.Sprintf(mend, args...)}
}
