package memstore_test

import (
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

func open(string) (deviceauth.Storage, error) { return memstore.New(), nil }

func TestStoreConforms(t *testing.T) { storetest.Run(t, open) }

func TestBugsOnTopAreCaught(t *testing.T) { storetest.RunBugs(t, open) }

func openGateways(string) (a, b deviceauth.Cluster, err error) {
	two := memstore.Gateways(2)
	return two[0], two[1], nil
}

func TestGatewaysConform(t *testing.T) { storetest.RunCluster(t, openGateways) }

func TestBugsOfGatewaysAreCaught(t *testing.T) { storetest.RunClusterBugs(t, openGateways) }
