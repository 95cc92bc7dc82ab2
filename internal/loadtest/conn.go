// Package loadtest loads HTTP servers on this machine and measures them: raw
// connections, runs of many of them, what a process uses, devices that are
// connected already. It decides what counts as an answer and what as an error, and
// not what is measured or how good a figure has to be. The command examples/bench and
// the long tests of package caddy use it; nothing of the product does.
package loadtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answerTime is how long an answer may take. A held poll is answered sooner.
const answerTime = 30 * time.Second

// A Conn is one connection of HTTP/1.1 that is kept alive. It costs a fraction of what
// net/http's client does, which would otherwise take the cores from the server that is
// measured. It is for one goroutine, dials at the first request, and again after an
// error.
type Conn struct {
	Addr string // host and port

	conn net.Conn
	in   *bufio.Reader
	body []byte
}

// Close closes the connection, if there is one.
func (c *Conn) Close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// Do sends a request, as [Request] makes it, and returns the status and the body of
// the answer. The body is good until the next call. An answer that ends the connection
// is an error: no server that is measured here has a reason to.
func (c *Conn) Do(request []byte) (status int, body []byte, err error) {
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.Addr, answerTime); err != nil {
			return 0, nil, err
		}
		// A whole answer of one that is measured here fits.
		c.in = bufio.NewReaderSize(c.conn, 8<<10)
	}
	// A server that does not answer ends the run, instead of stopping it. A deadline of
	// the connection costs less than a timer.
	c.conn.SetDeadline(time.Now().Add(answerTime))
	if _, err = c.conn.Write(request); err == nil {
		status, err = c.read()
	}
	if err != nil {
		c.Close()
		return 0, nil, err
	}
	return status, c.body, nil
}

// errNoHTTP is an answer that is none of HTTP/1.1 (RFC 9112), or has a body without a
// length.
var errNoHTTP = errors.New("the answer is no HTTP/1.1 with a length")

// read reads one answer. The lengths are those of RFC 9112 §6.3, as far as they keep
// the connection alive.
func (c *Conn) read() (status int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, errNoHTTP
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, errNoHTTP
	}
	length, chunked, err := c.head()
	// The memory of the answer before is used again: a run makes no garbage here.
	c.body = c.body[:0]
	switch {
	case err != nil:
		return 0, err
	case chunked:
		return status, c.chunks()
	case status == 204 || status == 304:
		return status, nil
	case length < 0:
		return 0, errNoHTTP
	}
	return status, c.more(length)
}

// head reads the header fields. A length of -1 means that there is none.
func (c *Conn) head() (length int, chunked bool, err error) {
	length = -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, chunked, nil
		}
		// Most lines are neither, and their first letter says so.
		switch line[0] | 0x20 {
		case 'c':
			if value, ok := field(line, "Content-Length:"); ok {
				if length, err = strconv.Atoi(value); err != nil || length < 0 {
					return 0, false, errNoHTTP
				}
			}
		case 't':
			if value, ok := field(line, "Transfer-Encoding:"); ok {
				chunked = value == "chunked"
			}
		}
	}
}

// field returns the value of a header field, if the line has it.
func field(line []byte, name string) (string, bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return "", false
	}
	return string(bytes.TrimSpace(line[len(name):])), true
}

// more reads so many bytes behind what the body has already.
func (c *Conn) more(length int) error {
	from := len(c.body)
	c.body = append(c.body, make([]byte, length)...)
	_, err := io.ReadFull(c.in, c.body[from:])
	return err
}

// chunks reads a body in chunks (RFC 9112 §7.1), without trailers.
func (c *Conn) chunks() error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		length, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return errNoHTTP
		}
		if err := c.more(int(length)); err != nil {
			return err
		}
		// The line end behind the data; behind the last chunk, the empty line of no trailers.
		if end, err := c.in.ReadSlice('\n'); err != nil || len(bytes.TrimSpace(end)) != 0 {
			return errNoHTTP
		}
		if length == 0 {
			return nil
		}
	}
}

// Request makes the bytes of a request to a host on this machine. A form makes it a
// POST; headers are whole lines.
func Request(host, path string, form url.Values, headers ...string) []byte {
	// No User-Agent and no Accept: a device need not send them. Host is wanted once,
	// wherever it stands (RFC 9112 §3.2).
	method, body := "GET", ""
	if form != nil {
		method, body = "POST", form.Encode()
		headers = append(headers, "Content-Type: application/x-www-form-urlencoded",
			"Content-Length: "+strconv.Itoa(len(body)))
	}
	headers = append(headers, "Host: "+host)
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\n%s\r\n\r\n%s", method, path, strings.Join(headers, "\r\n"), body)
}
