package iptables_test

import (
	"testing"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat/iptables"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func TestSuite(t *testing.T) {
	for _, variant := range []iptables.Variant{iptables.NFT, iptables.Legacy} {
		t.Run(string(variant), func(t *testing.T) {
			start := func() nattest.Backend { return iptables.New(variant) }
			nattest.Suite(t, start)
			nattest.GatewaySuite(t, start)
		})
	}
}
