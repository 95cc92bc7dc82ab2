package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "device-auth",
		Usage: "keys [list|rotate]",
		Short: "Looks after the device login of a running Caddy",
		Long: `
Talks to the admin endpoint of a running Caddy with a device_login:

	caddy device-auth keys list     shows the signing keys
	caddy device-auth keys rotate   begins a new signing key now; it signs when
	                                it has been published for ten minutes`,
		CobraFunc: func(cmd *cobra.Command) {
			c := &adminClient{out: os.Stdout}
			cmd.PersistentFlags().StringVar(&c.address, "address", "", "The address of the admin endpoint (default: of the configuration)")
			cmd.PersistentFlags().StringVarP(&c.config, "config", "c", "", "The configuration file")
			cmd.PersistentFlags().StringVarP(&c.adapter, "adapter", "a", "", "The name of the config adapter")
			cmd.PersistentFlags().BoolVar(&c.json, "json", false, "Print JSON")
			keys := &cobra.Command{Use: "keys", Short: "The signing keys", Args: cobra.NoArgs, RunE: c.keys(http.MethodGet, "keys")}
			keys.AddCommand(
				&cobra.Command{Use: "list", Short: "Shows the signing keys", Args: cobra.NoArgs, RunE: c.keys(http.MethodGet, "keys")},
				&cobra.Command{Use: "rotate", Short: "Begins a new signing key", Args: cobra.NoArgs, RunE: c.keys(http.MethodPost, "keys/rotate")},
			)
			cmd.AddCommand(keys)
		},
	})
}

// adminClient is one run of device-auth.
type adminClient struct {
	address, config, adapter string
	json                     bool
	out                      io.Writer
}

// keys prints the signing keys that a route of the admin endpoint answers with.
func (c *adminClient) keys(method, route string) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error {
		var list []keyring.Key
		if err := c.call(method, route, &list); err != nil || c.json {
			return err
		}
		table := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "KEY\tALGORITHM\tSTATE\tSIGNS FROM")
		for _, k := range list {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", k.ID, k.Algorithm, k.State, k.From.Local().Format(time.DateTime))
		}
		return table.Flush()
	}
}

// call asks the admin endpoint, and prints the answer as it is or decodes it.
func (c *adminClient) call(method, route string, to any) error {
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return err
	}
	if address == "" {
		address = caddy.DefaultAdminListen
	}
	answer, err := caddycmd.AdminAPIRequest(address, method, adminPath+route, nil, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if c.json {
		_, err := io.Copy(c.out, answer.Body)
		return err
	}
	return json.NewDecoder(answer.Body).Decode(to)
}
