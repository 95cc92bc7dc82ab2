package devicecheck

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The checks in this file compare clocks. The server's clock sets the times in its
// tokens (RFC 9068 §2.2), and a guard on another machine compares them with its own
// clock.
const (
	clockWarn = 5 * time.Second
	clockFail = time.Minute // the most that guards and clients tolerate
)

// A date says how far a host's clock is ahead of this machine's. The zero date is
// that of a host whose responses had no Date header.
type date struct {
	ahead    time.Duration
	reported bool
}

// ask is get that also records the host's clock. Only one or two requests to each
// host use it: this is enough to compare clocks, and keeps the other checks simple.
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
	// Date has whole seconds, so half a second is added. The server wrote it when the
	// response began, or Age seconds earlier if a cache answered (RFC 9111 §5.1).
	age, _ := strconv.Atoi(a.header.Get("Age"))
	at = at.Add(time.Duration(age)*time.Second + time.Second/2)
	r.dates[a.at.Host] = date{ahead: at.Sub(start.Add(a.took / 2)), reported: true}
	return a
}

// clock compares the clock of each host that was asked with this machine's. Hosts are
// judged one by one: the authorization server, which sets the times of a token, and
// the guarded API, which compares them, may run on two machines.
func (r *run) clock() finding {
	var all []finding
	for _, host := range slices.Sorted(maps.Keys(r.dates)) {
		all = append(all, about(host, r.dates[host].judge()))
	}
	return worst(all...)
}

// judge judges the difference of one host. Date has whole seconds and the network
// adds its delay, so a difference of up to clockWarn counts as none.
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
