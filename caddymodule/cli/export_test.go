package cli

// What tests need of the commands. They are of another package, since the modules
// whose stores they read import this one.
var DeviceAuthTo = deviceAuthTo

// Endpoint is the admin endpoint that a command asks, with its flags --config and
// --address.
func Endpoint(config, address string) (string, error) {
	c := adminClient{config: config, address: address}
	return c.endpoint()
}
