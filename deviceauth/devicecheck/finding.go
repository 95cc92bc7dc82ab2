package devicecheck

import "fmt"

// well needs no mending.
func well(format string, args ...any) finding {
	return finding{status: Pass, said: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) finding {
	return finding{status: Skipped, said: fmt.Sprintf(format, args...)}
}

// message is what was found, until it is said how to mend it.
type message string

func found(format string, args ...any) message { return message(fmt.Sprintf(format, args...)) }

// fails says that an RFC is broken, or that it cannot work.
func (t message) fails(mend string, args ...any) finding {
	return finding{status: Fail, said: string(t), mend: fmt.Sprintf(mend, args...)}
}

// warns says that it works, but not as it should.
func (t message) warns(mend string, args ...any) finding {
	return finding{status: Warn, said: string(t), mend: fmt.Sprintf(mend, args...)}
}
