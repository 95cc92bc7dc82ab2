package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// drip opens a connection and sends a request whose body comes by a byte a
// moment, until somebody closes it.
func (g *gateway) drip(head string) (net.Conn, *bufio.Reader) {
	g.t.Helper()
	host := strings.TrimPrefix(g.url, "http://")
	if strings.Contains(head, " /device_login/") {
		host = g.admin
	}
	conn, err := net.Dial("tcp", host)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "%s\r\nHost: %s\r\n\r\n", head, host); err != nil {
		g.t.Fatal(err)
	}
	next := "a"
	if strings.Contains(head, "chunked") {
		next = "1\r\na\r\n"
	}
	go func() {
		for tick := time.Tick(300 * time.Millisecond); ; <-tick {
			if _, err := io.WriteString(conn, next); err != nil {
				return
			}
		}
	}()
	return conn, bufio.NewReader(conn)
}

const dripForm = " HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"

// protocol 4
func TestSlowBodyIsAnswered408(t *testing.T) {
	t.Parallel()
	g := start(t)
	var wg sync.WaitGroup
	for name, head := range map[string]string{
		"token":                "POST /oauth2/token" + dripForm + "Content-Length: 500",
		"token, chunked":       "POST /oauth2/token" + dripForm + "Transfer-Encoding: chunked",
		"device authorization": "POST /oauth2/device_authorization" + dripForm + "Content-Length: 500",
		"a page's form":        "POST /device" + dripForm + "Content-Length: 500",
		"a GET with a body":    "GET /oauth2/jwks" + dripForm + "Content-Length: 500",
		"an admin route":       "POST /device_login/pause HTTP/1.1\r\nContent-Length: 500",
		"no such body":         "DELETE /oauth2/token" + dripForm + "Content-Length: 500",
	} {
		_, answers := g.drip(head)
		began := time.Now()
		wg.Go(func() {
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			body, err := io.ReadAll(response.Body)
			took, status := time.Since(began), response.StatusCode
			if status != http.StatusRequestTimeout || took < 9*time.Second || took > 13*time.Second {
				t.Errorf("%s: %d after %v: %s, %v", name, status, took, body, err)
			}
			if strings.HasPrefix(name, "token") && !strings.Contains(string(body), `"error":"invalid_request"`) {
				t.Errorf("%s: %s", name, body)
			}
			if !response.Close {
				t.Errorf("%s: the connection goes on", name)
			}
		})
	}
	wg.Wait()
	d := g.device() // the server goes on
	if answer := d.poll(); answer.Error != "authorization_pending" {
		t.Errorf("afterwards a poll is answered %+v", answer)
	}
}

// ends sends SIGTERM and wants the process to end in time, by itself.
func (g *gateway) ends(within time.Duration) {
	g.t.Helper()
	began, ended := time.Now(), make(chan error, 1)
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		g.t.Fatal(err)
	}
	go func() { ended <- g.cmd.Wait() }()
	select {
	case err := <-ended:
		g.t.Logf("it ended after %v", time.Since(began))
		if err != nil {
			g.t.Errorf("it ended with %v:\n%s", err, g.log)
		}
	case <-time.After(within):
		g.t.Errorf("it still runs %v after SIGTERM:\n%s", within, g.log)
		g.cmd.Process.Kill()
		<-ended
	}
}

// stopTime is what a stop may take, whatever clients and disks do.
const stopTime = 5 * time.Second

func TestSlowBodyDoesNotHoldUpAStop(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, head := range []string{
		"POST /oauth2/token" + dripForm + "Content-Length: 500",
		"POST /oauth2/token" + dripForm + "Transfer-Encoding: chunked",
		"POST /device" + dripForm + "Content-Length: 500",
		"GET /.well-known/oauth-protected-resource/api" + dripForm + "Content-Length: 500",
		"POST /device_login/pause HTTP/1.1\r\nContent-Length: 500",
		"POST /api/products" + dripForm + "Content-Length: 500", // without a token
	} {
		g.drip(head)
	}
	held := make(chan tokens, 1)
	d := g.device()
	go func() { held <- d.poll() }()
	g.waitHeld(1) // which was sent after the bodies
	g.ends(stopTime)
	if answer := <-held; answer.Error != "authorization_pending" {
		t.Errorf("a held poll is answered %+v", answer)
	}
}

func TestStopEndsInTimeWhereTheStoreHasVanished(t *testing.T) {
	t.Parallel()
	g := start(t)
	d := g.device()
	newPerson(t, "alice").allow(d)
	token := d.poll()
	if err := os.RemoveAll(g.storeDir()); err != nil {
		t.Fatal(err)
	}
	if answer := g.refresh(token.Refresh); answer.Status != http.StatusServiceUnavailable {
		t.Errorf("a refresh that no disk would keep is answered %+v", answer)
	}
	if status, _ := g.api(token.Access); status != http.StatusOK {
		t.Errorf("the API answers %d", status)
	}
	g.ends(stopTime)
	g.log.wait(t, "is gone")
}
