package cli

// Access to the commands for tests. They are in an external test package,
// because the modules of the stores import this one.
var DeviceAuthTo = deviceAuthTo

// Endpoint is the admin endpoint that a command asks, with its flags --config and
// --address.
func Endpoint(config, address string) (string, error) {
	c := adminClient{config: config, address: address}
	return c.endpoint()
}
