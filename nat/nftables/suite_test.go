package nftables_test

import (
	"net/netip"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func TestSuite(t *testing.T) {
	nattest.Suite(t, func() nattest.Backend { return nftables.New() })
}

func TestGateways(t *testing.T) {
	nattest.GatewaySuite(t, func() nattest.Backend { return nftables.New() })
}

func apply(t testing.TB, b *nftables.Backend, p nat.Plan) nat.Result {
	t.Helper()
	return nattest.Apply(t, b, p)
}

func plan(policies ...nat.Policy) nat.Plan { return nattest.Plan(policies...) }

func prefixes(list ...string) []netip.Prefix { return nattest.Prefixes(list...) }
