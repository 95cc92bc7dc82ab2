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

// healthTimeout bounds the command. It is less than the usual timeout of a
// container's HEALTHCHECK, so that the reason is printed, and more than the
// gateway takes for its response.
const healthTimeout = 4 * time.Second

// healthCommand makes `device-auth health`. Its exit code, 0 or 1, is what a
// HEALTHCHECK looks at.
func healthCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "Says whether the device login works; for a HEALTHCHECK", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.health() },
	}
}

// health requests the health, and gives up on an admin endpoint that does not
// respond. The request goes on in its goroutine and ends with the process.
func (c *adminClient) health() error {
	result := make(chan error, 1)
	var view adminapi.Health
	// The channel has room for the result, so that the goroutine ends also when
	// the command has ended.
	go func() { result <- c.call(http.MethodGet, "health", &view) }()
	timeout := time.NewTimer(healthTimeout)
	defer timeout.Stop()
	select {
	case err := <-result:
		if err == nil && !c.json {
			fmt.Fprintln(c.out, view.Status)
		}
		return inWords(err)
	case <-timeout.C:
		return fmt.Errorf("the admin endpoint does not answer within %v", healthTimeout)
	}
}

// inWords takes the reason out of a 503 response. Caddy's client gives the whole
// response as the text of its error; any other error stays as it is.
func inWords(err error) error {
	if err == nil {
		return nil
	}
	var view adminapi.Health
	// The prefix is that of Caddy's own client for a response with an error
	// status.
	_, body, found := strings.Cut(err.Error(), "HTTP 503: ")
	if !found || json.Unmarshal([]byte(body), &view) != nil || view.Reason == "" {
		return err
	}
	return errors.New("unavailable: " + view.Reason)
}
