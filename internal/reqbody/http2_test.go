package reqbody

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// One stream of an HTTP/2 connection is broken off, and the others go on.
func TestSlowBodyOverHTTP2CostsItsStreamAlone(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := Buffer(w, r, size, nil); err != nil {
			http.Error(w, err.Error(), http.StatusRequestTimeout)
			return
		}
		if r.URL.Path == "/held" {
			time.Sleep(Time + time.Second)
		}
		fmt.Fprint(w, r.RemoteAddr)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	post := func(path string, body io.Reader) (status int, answer string) {
		response, err := server.Client().Post(server.URL+path, "text/plain", body)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.ProtoMajor != 2 {
			t.Errorf("%s: HTTP/%d, %v", path, response.ProtoMajor, err)
		}
		return response.StatusCode, string(text)
	}
	_, before := post("/", nil)
	held := make(chan string, 1)
	go func() { _, answer := post("/held", http.NoBody); held <- answer }()
	body, drips := io.Pipe()
	go func() {
		for tick := time.Tick(300 * time.Millisecond); ; <-tick {
			if _, err := io.WriteString(drips, "a"); err != nil {
				return
			}
		}
	}()
	began := time.Now()
	status, answer := post("/slow", body)
	body.Close()
	took := time.Since(began)
	if status != http.StatusRequestTimeout || took < Time-time.Second || took > Time+3*time.Second {
		t.Errorf("after %v: %d %s", took, status, answer)
	}
	if answer := <-held; answer != before {
		t.Errorf("the connection beside it was %s and is %s", before, answer)
	}
}
