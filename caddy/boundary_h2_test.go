package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A wire2 is a connection of HTTP/2, without TLS, on which headers are written
// as they are, also those that no client would send.
type wire2 struct {
	t      *testing.T
	conn   net.Conn
	frames *http2.Framer
	stream uint32
}

func dial2(t *testing.T, at string) *wire2 {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	io.WriteString(conn, http2.ClientPreface)
	w := &wire2{t: t, conn: conn, frames: http2.NewFramer(conn, conn), stream: 1}
	w.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.frames.WriteSettings()
	return w
}

// send writes a request, and returns the status and body of its answer. A
// stream or connection that is refused has status 0.
func (w *wire2) send(fields ...string) (status int, body string) {
	w.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	id := w.stream
	w.stream += 2
	w.conn.SetDeadline(time.Now().Add(20 * time.Second))
	w.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true,
		EndHeaders: true})
	for {
		frame, err := w.frames.ReadFrame()
		if err != nil {
			return 0, ""
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				w.frames.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			status, _ = strconv.Atoi(f.PseudoValue("status"))
		case *http2.DataFrame:
			body += string(f.Data())
			w.frames.WriteWindowUpdate(0, max(1, uint32(len(f.Data()))))
		case *http2.RSTStreamFrame:
			return 0, ""
		case *http2.GoAwayFrame:
			return 0, ""
		}
		if header := frame.Header(); header.StreamID == id && header.Flags.Has(http2.FlagDataEndStream) {
			return status, body
		}
	}
}

// protocol 31, 33
func TestBoundaryHoldsOverHTTP2(t *testing.T) {
	t.Parallel()
	b := startBoundary(t)
	n := 400
	if testing.Short() {
		n = 100
	}
	paths := spellings(n)
	each(t, b, func(t *testing.T, name, backend string) {
		host, w := b.host(name, backend), dial2(t, b.at)
		lies := []string{"remote-user", "root", "remote_user", "root", "remote.user", "root", "x-user", "root",
			"cookie", "device_session=x", "cookie", "a=1", "x-original-url", "/v2/secret"}
		answered := 0
		ask := func(method, path string) {
			status, body := w.send(append([]string{":method", method, ":scheme", "http", ":authority", host, ":path",
				path}, lies...)...)
			b.reached(t, name, method+" "+path, body)
			if status == 0 {
				w = dial2(t, b.at)
			} else {
				answered++
			}
			if status >= 500 {
				t.Errorf("%s %s: %d", method, path, status)
			}
		}
		for _, path := range paths {
			ask("GET", stances[name].under+path)
		}
		if answered < n/3 { // the rest has characters that HTTP/2 forbids
			t.Errorf("only %d of %d requests were answered", answered, n)
		}
		if stances[name].other {
			return
		}
		for _, target := range targets(host) {
			ask("GET", target)
		}
		status, body := dial2(t, b.at).send(":method", "GET", ":scheme", "http", ":authority", host, ":path",
			stances[name].under+"/v2/secret", "authorization", "Bearer "+b.token, "remote-user", "root")
		if status != http.StatusOK || !strings.Contains(body, `"alice"`) || strings.Contains(body, `"root"`) {
			t.Errorf("with a token: %d %s", status, body)
		}
	})
}
