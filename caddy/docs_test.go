package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// A command line of the documentation stands indented by four spaces, like what
// it prints. A block that no test can run says so in a comment above it.
var (
	indented = regexp.MustCompile(`(?m)(<!-- not run: [^>]+ -->\n\n)?((?:^    .*\n)+)`)
	program  = regexp.MustCompile(`^(go|curl|caddy|xcaddy|\./xcaddy\.sh|export|[A-Z_]+=)( |$|")?`)
	trailing = regexp.MustCompile(`  +# .*$`)
)

// commandLines returns the command lines of a page, and how many say that they
// are not run.
func commandLines(text string) (lines []string, left int) {
	for _, block := range indented.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[2]) {
			line = trailing.ReplaceAllString(strings.TrimSpace(line), "")
			switch {
			case !program.MatchString(line):
			case block[1] != "":
				left++
			default:
				lines = append(lines, line)
			}
		}
	}
	return lines, left
}

// A terminal is a shell that somebody types command lines into, with a person
// beside it who says yes to whatever asks for a yes.
type terminal struct {
	*gateway
	alice *person
	in    io.Writer
	out   *bufio.Scanner
}

func (g *gateway) terminal(env ...string) *terminal {
	g.t.Helper()
	curl := needs.Program(g.t, "curl", "curl")
	bin := filepath.Join(g.dir, "bin")
	// an error is a failure
	for name, script := range map[string]string{"caddy": binary, "curl": curl + " --fail-with-body"} {
		if err := os.MkdirAll(bin, 0o700); err != nil {
			g.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\nexec "+script+` "$@"`+"\n"),
			0o700); err != nil {
			g.t.Fatal(err)
		}
	}
	cmd := exec.Command(needs.Program(g.t, "bash", "bash"), "-o", "pipefail")
	cmd.Dir, cmd.Env = g.dir, append(g.command().Env,
		append(env, "PATH="+bin+":"+os.Getenv("PATH"), "CADDY_ADMIN="+g.admin)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	out, output := io.Pipe()
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // a shell that gives up over a line is not waited for
		defer close(ended)
		cmd.Wait()
		output.Close()
	}()
	g.t.Cleanup(func() { in.Close(); <-ended })
	return &terminal{gateway: g, alice: newPerson(g.t, "alice"), in: in, out: bufio.NewScanner(out)}
}

const prompt = "-- ended with "

// run types a line, and returns what is printed until the next prompt.
func (s *terminal) run(line string) (output, status string) {
	fmt.Fprintf(s.in, "%s\nended=$?; echo; echo '%s'$ended\n", line, prompt)
	shown, d := regexp.MustCompile(`^(Open|Type) +(\S+)`), &device{t: s.t, g: s.gateway}
	for s.out.Scan() {
		text := s.out.Text()
		if status, ended := strings.CutPrefix(text, prompt); ended {
			return output, status
		}
		output += text + "\n"
		if m := shown.FindStringSubmatch(text); m != nil {
			*map[string]*string{"Open": &d.Page, "Type": &d.User}[m[1]] = m[2]
		}
		if json.Unmarshal([]byte(text), d) == nil && d.Code != "" || strings.HasPrefix(text, "Waiting for your") {
			s.allow(d)
			d = &device{t: s.t, g: s.gateway}
		}
	}
	s.t.Fatalf("%s: the shell has ended\n%s", line, output)
	return "", ""
}

func (s *terminal) allow(d *device) {
	s.alice.open(d.Page + "?user_code=" + d.User)
	s.alice.submit("/device", "user_code", d.User)
	if strings.Contains(s.alice.page, "Who are you?") {
		s.alice.submit("/login", "user", "alice")
	}
	s.alice.submit("/device/confirm", "answer", "allow")
	s.alice.sees("is connected")
}

func documentation(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{}
	for _, name := range append(names, "../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pages[filepath.Base(name)] = string(text)
	}
	return pages
}

// Whoever types what a page says, from its top to its end, sees it work.
func TestCommandLinesOfTheDocsRun(t *testing.T) {
	t.Parallel()
	needs.Program(t, "jq", "jq")
	ran, left := 0, 0
	for name, text := range documentation(t) {
		lines, not := commandLines(text)
		ran, left = ran+len(lines), left+not
		if len(lines) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.configure(func(s string) string {
				s = strings.Replace(s, "\tbrand",
					"\tclient meter {\n\t\t\tsecret only+for%this-test\n\t\t}\n\t\tbrand", 1)
				return strings.Replace(s, "\tdevice_auth", "\tdevice_auth /v2/* products:read\n\treverse_proxy /v2/* "+
					strings.TrimPrefix(g.legacy, "http://")+"\n\n\tdevice_auth", 1)
			})
			g.start()
			local := strings.NewReplacer("https://connect.example.com", g.url, "https://api.example.com", g.url,
				"http://localhost:8080", g.url, "go run ./caddy", "caddy", "/var/lib/caddy/device_login",
				g.dir+"/restored")
			s := g.terminal("URL="+g.url+"/v2/products", "ISSUER="+g.upstream, "METER_SECRET=only+for%this-test")
			for _, line := range lines {
				if output, status := s.run(local.Replace(line)); status != "0" {
					t.Errorf("%s\nended with %s:\n%s", line, status, output)
				}
			}
		})
	}
	if ran < 20 || left > 8 {
		t.Errorf("%d command lines were run, %d not", ran, left)
	}
}

// A command that is named in a text or a table exists.
func TestCommandsThatTheDocsNameExist(t *testing.T) {
	t.Parallel()
	span := regexp.MustCompile("`(?:caddy )?((?:device-auth|device-login)[a-z -]*?)(?: [^`a-z-][^`]*| -[^`]*)?`")
	table := regexp.MustCompile("(?m)^\\| (`[a-z]+[^|]*) \\| (?:`(?:GET|POST|DELETE)|a `DELETE`)[^|]*\\|")
	commands := map[string]bool{}
	pages := documentation(t)
	for _, text := range pages {
		for _, m := range span.FindAllStringSubmatch(text, -1) {
			commands[m[1]] = true
		}
	}
	for _, row := range table.FindAllStringSubmatch(pages["operations.md"], -1) {
		for _, m := range regexp.MustCompile("`([a-z]+(?: [a-z]+)?)[^`]*`").FindAllStringSubmatch(row[1], -1) {
			commands["device-auth "+m[1]] = true
		}
	}
	if len(commands) < 12 {
		t.Fatalf("only %v", commands)
	}
	for command := range commands {
		words := strings.Fields(command)
		out, err := exec.Command(binary, append(words, "--help")...).CombinedOutput()
		if usage := "caddy " + strings.Join(words, " "); err != nil ||
			!strings.Contains(string(out), "Usage:\n  "+usage) {
			t.Errorf("there is no %q: %v\n%s", usage, err, out)
		}
	}
}
