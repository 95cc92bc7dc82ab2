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

// healthPatience bounds the command: less than what the HEALTHCHECK of a container
// is given, and more than the gateway takes for its answer.
const healthPatience = 4 * time.Second

func healthCommand(c *adminClient) *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "Says whether the device login works; for a HEALTHCHECK", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.health() },
	}
}

// health asks, and gives up on an admin endpoint that does not answer.
func (c *adminClient) health() error {
	answered := make(chan error, 1)
	var view adminapi.Health
	go func() { answered <- c.call(http.MethodGet, "health", &view) }()
	timeout := time.NewTimer(healthPatience)
	defer timeout.Stop()
	select {
	case err := <-answered:
		if err == nil && !c.json {
			fmt.Fprintln(c.out, view.Status)
		}
		return inWords(err)
	case <-timeout.C:
		return fmt.Errorf("the admin endpoint does not answer within %v", healthPatience)
	}
}

// inWords takes the reason out of an answer that Caddy's client makes an error of.
func inWords(err error) error {
	if err == nil {
		return nil
	}
	var view adminapi.Health
	_, body, found := strings.Cut(err.Error(), "HTTP 503: ")
	if !found || json.Unmarshal([]byte(body), &view) != nil || view.Reason == "" {
		return err
	}
	return errors.New("unavailable: " + view.Reason)
}
