package memstore_test

import (
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

func TestStoreConforms(t *testing.T) {
	storetest.Run(t, func(string) (deviceauth.Backend, error) { return memstore.New(), nil })
}
