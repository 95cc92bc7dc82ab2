package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// A disk is a file with a file system in it, so that the power can be cut: what
// has not been synced to it is not there in a copy made at that moment.
type disk struct {
	t     *testing.T
	image string
	at    string // where it is mounted
}

func newDisk(t *testing.T, at string, options ...string) *disk {
	t.Helper()
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "disk"), at: at}
	needs.Program(t, "ext4", "mkfs.ext4")
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, 512<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", append(options, "-q", "-F", d.image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := d.mount(); err != nil {
		needs.Lacking(t, "ext4", fmt.Sprintf("this test needs to mount a file system: %v %s", err, out))
	}
	t.Cleanup(func() { exec.Command("umount", "-l", at).Run() })
	return d
}

func (d *disk) mount() ([]byte, error) {
	return exec.Command("mount", "-o", "loop,commit=300", d.image, d.at).CombinedOutput()
}

// cutPower keeps what has reached the disk, and loses the rest.
func (d *disk) cutPower() {
	d.t.Helper()
	marker := filepath.Join(d.at, "written, and not synced")
	if err := os.WriteFile(marker, []byte("x"), 0o600); err != nil {
		d.t.Fatal(err)
	}
	left := d.image + "-left"
	for _, command := range [][]string{{"cp", "--sparse=always", d.image, left}, {"umount", d.at},
		{"mv", left, d.image}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			d.t.Fatalf("%q: %v\n%s", command, err, out)
		}
	}
	if out, err := d.mount(); err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(marker); err == nil {
		d.t.Fatal("what was not synced is there: no power was cut")
	}
}

// protocol 17, 20, 24
func TestNothingHandedOutIsLostWhenThePowerFails(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	d := newDisk(t, filepath.Join(g.dir, "data"))
	g.start()
	perish(t, g, func() {
		g.kill()
		d.cutPower()
	})
}

// protocol 4
func TestFullDiskIsSurvived(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	data := filepath.Join(g.dir, "data")
	newDisk(t, data)
	g.start()
	d := g.device()
	newPerson(t, "alice").allow(d)
	token := d.poll()
	ballast := filepath.Join(data, "ballast")
	if out, err := exec.Command("sh", "-c", "dd if=/dev/zero of="+ballast+" bs=1M || true").
		CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	ask := func() int {
		response, err := http.PostForm(g.url+"/oauth2/device_authorization", url.Values{"client_id": {"cool-gadget"}})
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	until := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ask() != want; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("still not %d", want)
			}
		}
	}
	until(http.StatusServiceUnavailable)
	if answer := g.refresh(token.Refresh); answer.Status != http.StatusServiceUnavailable {
		t.Errorf("a refresh on a full disk: %+v", answer)
	}
	if status, _ := g.api(token.Access); status != http.StatusOK {
		t.Errorf("the guard on a full disk: %d", status)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	until(http.StatusOK)
	if answer := g.refresh(token.Refresh); answer.Status != http.StatusOK {
		t.Errorf("a refresh when there is room again: %+v", answer)
	}
}
