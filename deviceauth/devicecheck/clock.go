package devicecheck

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Tokens begin and end by the server's clock (RFC 9068 §2.2), and what checks
// them elsewhere has its own.
const (
	clockWarn = 5 * time.Second
	clockFail = time.Minute // what guards and clients forgive at most
)

// A date is how far a host's clock is ahead of ours. The zero date is that of
// a host whose responses had no Date header.
type date struct {
	ahead    time.Duration
	reported bool
}

// ask is get, and looks at the clock by the way. Only some requests are timed,
// one or two per host: enough to compare clocks, and the remaining checks stay
// simple.
func (r *run) ask(address string, headers ...string) *answer {
	start := time.Now()
	a := r.get(address, headers...)
	if a.err != nil {
		return a
	}
	at, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		r.dates[a.at.Host] = date{}
		return a
	}
	// The header has whole seconds, so it stands for half a second later; and
	// was written when the answer began to come back, or Age seconds before
	// where a cache answered (RFC 9111 §5.1).
	age, _ := strconv.Atoi(a.header.Get("Age"))
	at = at.Add(time.Duration(age)*time.Second + time.Second/2)
	r.dates[a.at.Host] = date{ahead: at.Sub(start.Add(a.took / 2)), reported: true}
	return a
}

// clock compares the clocks of the hosts that were asked with this machine's.
// Every host that was asked is judged by itself: the guarded API and the
// authorization server may run on two machines, and a token is issued by the
// one's clock and judged by the other's.
func (r *run) clock() finding {
	var all []finding
	for _, host := range slices.Sorted(maps.Keys(r.dates)) {
		all = append(all, about(host, r.dates[host].judge()))
	}
	return worst(all...)
}

// The header counts whole seconds and the network adds its delay, so anything
// up to clockWarn is taken for equal.
func (d date) judge() finding {
	const mend = "Run NTP (chrony, systemd-timesyncd) at the server, and here: `timedatectl` says whether it does. " +
		"Tokens begin and end by the clock."
	side, off := "ahead", d.ahead
	if off < 0 {
		side, off = "behind", -off
	}
	detail := found("the server's clock is %v %s of this machine's", off.Round(time.Second), side)
	switch {
	case !d.reported:
		return found("the answer has no Date header, so the clock cannot be compared").
			warn("Take what removes `Date` out of the way: a server with a clock sends it (RFC 9110 §6.6.1).")
	case off > clockFail:
		return detail.fail(mend)
	case off > clockWarn:
		return detail.warn(mend)
	}
	return pass("the server's clock is that of this machine")
}
