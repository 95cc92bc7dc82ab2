package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// What the terminal client says to the person before it. All of it goes to
// standard error; escape codes go to terminals alone.

// show tells the person what to do. A QR code that cannot be drawn is no loss.
func (l *login) show(p deviceclient.Prompt) {
	if p.Warning != "" {
		fmt.Fprintf(l.err, "\n%s\n", p.Warning)
	}
	fmt.Fprintf(l.err, "\nOpen   %s\nType   %s\n\n", p.Address, p.Code)
	if l.drawsQR() && p.Complete != "" {
		deviceclient.QR(l.err, p.Complete, os.Getenv("NO_COLOR") == "") // https://no-color.org
		fmt.Fprintln(l.err)
	}
	if !p.Expires.IsZero() {
		fmt.Fprintf(l.err, "The code is good until %s.\n", p.Expires.Local().Format(time.TimeOnly))
	}
	if l.open {
		if err := browse(cmp.Or(p.Complete, p.Address)); err != nil {
			fmt.Fprintf(l.err, "No browser could be opened: %v\n", err)
		}
	}
	fmt.Fprintln(l.err, "Waiting for your answer…")
}

// drawsQR reports whether there is a terminal that shows a QR code, and no file.
func (l *login) drawsQR() bool {
	f, ok := l.err.(*os.File)
	return ok && !l.noQR && isTerminal(f)
}

// browse opens an address in the browser of the person before this computer, or
// in the program that BROWSER names. The address begins with http or https, so
// that no program takes it for an option.
func browse(address string) error {
	program := []string{"xdg-open"}
	switch named := os.Getenv("BROWSER"); {
	case named != "":
		program = []string{named}
	case runtime.GOOS == "darwin":
		program = []string{"open"}
	case runtime.GOOS == "windows":
		program = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	cmd := exec.Command(program[0], append(program[1:], address)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // ends with it, or with this process
	return nil
}

// hostName is what this computer is called, without its domain.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	name, _, _ = strings.Cut(name, ".")
	return text.CleanName(name)
}

// welcome says who has been connected, and for how long.
func (l *login) welcome(t *oauth2.Token) string {
	text := "Connected"
	if name := deviceclient.Account(t); name != "" {
		text += " as " + name
	}
	switch {
	case t.RefreshToken != "" && !l.noKeep:
		return text + ", renewed by itself."
	case !t.Expiry.IsZero():
		return text + ", until " + t.Expiry.Local().Format(time.DateTime) + "."
	}
	return text + "."
}

var errInterrupted = errors.New("interrupted")

// end says in a line of its own how a command ended, and has the process end with
// the exit code for that.
func (l *login) end(cmd *cobra.Command, err error) error {
	code := exitCode(err)
	switch code {
	case 0:
		return nil
	case 1:
		return fail(cmd, l.err, code, "Error: "+err.Error())
	case exitInteraction:
		return fail(cmd, l.err, code, err.Error()+": run it once without --non-interactive")
	}
	return fail(cmd, l.err, code, err.Error())
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.Is(err, deviceclient.ErrDenied):
		return exitDenied
	case errors.Is(err, deviceclient.ErrExpired):
		return exitExpired
	case errors.Is(err, deviceclient.ErrInteraction):
		return exitInteraction
	}
	return 1
}

// fail prints a line, and has the process end with a code. Caddy would print
// what is said as a line of its log.
func fail(cmd *cobra.Command, to io.Writer, code int, said string) error {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	fmt.Fprintln(to, said)
	end := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })
	if err := end(cmd, nil); err != nil {
		return err
	}
	return errors.New(said) // which is code 1
}
