package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
)

// healthTimeout limits the duration of the command. It is shorter than the
// usual timeout of a container's HEALTHCHECK, so that the reason is printed,
// and longer than the gateway needs to respond.
const healthTimeout = 4 * time.Second

// healthCommand returns `device-auth health`. Its exit code, 0 or 1, is for a
// HEALTHCHECK.
func healthCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "Says whether the device login works; for a HEALTHCHECK", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.health() },
	}
}

// health requests the health, with a timeout for an admin endpoint that does
// not respond. Then the request continues in its goroutine until the process
// ends.
func (c *adminClient) health() error {
	result := make(chan error, 1)
	var view adminapi.Health
	// The channel is buffered, so that the goroutine can end after the command
	// has.
	go func() { result <- c.call(http.MethodGet, "health", &view) }()
	timeout := time.NewTimer(healthTimeout)
	defer timeout.Stop()
	select {
	case err := <-result:
		if err == nil && !c.json {
			fmt.Fprintln(c.out, view.Status)
		}
		return reasonOf(err)
	case <-timeout.C:
		return fmt.Errorf("the admin endpoint does not answer within %v", healthTimeout)
	}
}

// reasonOf returns an error with the reason in a 503 response. Caddy's client
// returns the whole response as the text of its error; any other error is
// returned unchanged.
func reasonOf(err error) error {
	if err == nil {
		return nil
	}
	var view adminapi.Health
	// The prefix is that of Caddy's client for a response with an error
	// status.
	_, body, found := strings.Cut(err.Error(), "HTTP 503: ")
	if !found || json.Unmarshal([]byte(body), &view) != nil || view.Reason == "" {
		return err
	}
	return errors.New("unavailable: " + view.Reason)
}
