// Package loadtest puts load on HTTP servers on this machine and measures them: raw
// connections, runs with many connections, the resource use of a process, and devices
// that are already connected. It decides which responses are errors, but not what to
// measure or how good a figure has to be. It is used by the command examples/bench
// and the long tests of package caddy, and not by the product.
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

// answerTime is the time limit for a response. The server answers a held poll sooner.
const answerTime = 30 * time.Second

// A Conn is one HTTP/1.1 connection with keep-alive. It costs a fraction of
// net/http's client, which would take the CPU from the server that is measured. It is
// not for concurrent use. It dials at the first request, and again after an error.
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

// Do sends a request made by [Request], and returns status and body of the response.
// The body is valid until the next call. A response that closes the connection is an
// error, because no server measured here has a reason to.
func (c *Conn) Do(request []byte) (status int, body []byte, err error) {
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.Addr, answerTime); err != nil {
			return 0, nil, err
		}
		// A whole response of the measured servers fits into the buffer.
		c.in = bufio.NewReaderSize(c.conn, 8<<10)
	}
	// A server that does not respond fails the run, and does not block it for ever. A
	// deadline of the connection is cheaper than a timer.
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

// errNoHTTP is the error for a response that is not HTTP/1.1 (RFC 9112), or that has
// a body without a length.
var errNoHTTP = errors.New("the answer is no HTTP/1.1 with a length")

// read reads one response. It knows the body lengths of RFC 9112 §6.3 that allow the
// connection to be kept alive.
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
	// The memory of the previous body is reused, so that a run causes no garbage
	// collection.
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

// head reads the header fields. length is -1 if there is none.
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
		// Most fields are neither of the two, and their first letter shows it.
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

// field returns the value of a header field, if the line has that name.
func field(line []byte, name string) (string, bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return "", false
	}
	return string(bytes.TrimSpace(line[len(name):])), true
}

// more appends length bytes from the connection to the body.
func (c *Conn) more(length int) error {
	from := len(c.body)
	c.body = append(c.body, make([]byte, length)...)
	_, err := io.ReadFull(c.in, c.body[from:])
	return err
}

// chunks reads a chunked body (RFC 9112 §7.1) without trailers.
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
		// Each chunk ends with a newline; after the last chunk, an empty line ends
		// the trailers.
		if end, err := c.in.ReadSlice('\n'); err != nil || len(bytes.TrimSpace(end)) != 0 {
			return errNoHTTP
		}
		if length == 0 {
			return nil
		}
	}
}

// Request returns the bytes of a request to a host on this machine. With a form it is
// a POST; headers are whole lines.
func Request(host, path string, form url.Values, headers ...string) []byte {
	// A device need not send User-Agent or Accept. Host must occur once, at any place
	// (RFC 9112 §3.2).
	method, body := "GET", ""
	if form != nil {
		method, body = "POST", form.Encode()
		headers = append(headers, "Content-Type: application/x-www-form-urlencoded",
			"Content-Length: "+strconv.Itoa(len(body)))
	}
	headers = append(headers, "Host: "+host)
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\n%s\r\n\r\n%s", method, path, strings.Join(headers, "\r\n"), body)
}
