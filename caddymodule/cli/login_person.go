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

// The messages of device-login to the person at the terminal. They go to
// standard error, so that standard output has only the result; escape codes
// are written only to terminals.

// show tells the person which address to open and which code to type (RFC 8628
// §3.3). The QR code is a convenience: if it cannot be drawn, the address is
// enough.
func (l *login) show(p deviceclient.Prompt) {
	if p.Warning != "" {
		fmt.Fprintf(l.err, "\n%s\n", p.Warning)
	}
	if p.Code == "" {
		fmt.Fprintf(l.err, "\nSign in in the browser that opens. If none does, go to\n\n%s\n\n", p.Address)
		fmt.Fprintln(l.err, "on this computer, or interrupt this and pass --device. Waiting for your answer…")
		return
	}
	fmt.Fprintf(l.err, "\nOpen   %s\nType   %s\n\n", p.Address, p.Code)
	// The QR code contains the address with the code
	// (verification_uri_complete, RFC 8628 §3.3.1).
	if l.drawsQR() && p.Complete != "" {
		deviceclient.QR(l.err, p.Complete, os.Getenv("NO_COLOR") == "") // https://no-color.org
		fmt.Fprintln(l.err)
	}
	if !p.Expires.IsZero() {
		fmt.Fprintf(l.err, "The code is good until %s.\n", p.Expires.Local().Format(time.TimeOnly))
	}
	// Opening the browser is best effort: the address has been printed
	// already.
	if l.open {
		if err := browse(cmp.Or(p.Complete, p.Address)); err != nil {
			fmt.Fprintf(l.err, "No browser could be opened: %v\n", err)
		}
	}
	fmt.Fprintln(l.err, "Waiting for your answer…")
}

// drawsQR reports whether standard error is a terminal that can show a QR
// code.
func (l *login) drawsQR() bool {
	f, ok := l.err.(*os.File)
	return ok && !l.noQR && isTerminal(f)
}

// hasBrowser reports whether the person can use a browser of this computer:
// there is a display, or BROWSER names a program, and the terminal is not
// remote.
func hasBrowser() bool {
	for _, remote := range []string{"SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"} {
		if os.Getenv(remote) != "" {
			return false
		}
	}
	if os.Getenv("BROWSER") != "" || runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		return true
	}
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return false
	}
	_, err := exec.LookPath("xdg-open")
	return err == nil
}

// browse opens an address in the browser of this computer, or in the program
// that BROWSER names. The address begins with http or https, which the client
// library has checked, so no program can mistake it for an option.
func browse(address string) error {
	program := []string{"xdg-open"}
	switch named := os.Getenv("BROWSER"); {
	case named != "":
		// BROWSER is a convention of xdg-open and others.
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
	go cmd.Wait() // until the program or this process ends
	return nil
}

// hostName returns the name of this computer without its domain, as the
// device's name for the person. It returns "" after an error.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	// The domain may reveal where a person works, and the short name is enough
	// to recognise the computer.
	name, _, _ = strings.Cut(name, ".")
	return text.CleanName(name)
}

// welcome returns the sentence with the account that has been connected, and
// for how long. The account is read from the ID token without verification,
// because it is only shown to this person.
func (l *login) welcome(t *oauth2.Token) string {
	text := "Connected"
	if name := deviceclient.Account(t); name != "" {
		text += " as " + name
	}
	// A stored refresh token renews the access token, so its expiry does not
	// matter to the person.
	switch {
	case t.RefreshToken != "" && !l.noKeep:
		return text + ", renewed by itself."
	case !t.Expiry.IsZero():
		return text + ", until " + t.Expiry.Local().Format(time.DateTime) + "."
	}
	return text + "."
}

// errInterrupted is the error of a run that the person interrupted.
var errInterrupted = errors.New("interrupted")

// end prints how the command ended, and makes the process exit with the
// corresponding code.
func (l *login) end(cmd *cobra.Command, err error) error {
	// Errors of the protocol are ordinary results of a login, and are printed
	// without "Error".
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

// exitCode returns the exit code for an error; 1 is for errors without their
// own code.
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

// fail prints a line, and makes the process exit with a code. It suppresses
// Caddy's own output, which would be a log entry.
func fail(cmd *cobra.Command, to io.Writer, code int, text string) error {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	fmt.Fprintln(to, text)
	// Caddy's wrapper is the only way to an exit code other than 1.
	end := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })
	if err := end(cmd, nil); err != nil {
		return err
	}
	return errors.New(text) // an error without a code exits with 1
}
