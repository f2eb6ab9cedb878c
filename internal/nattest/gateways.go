package nattest

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// GatewaySuite runs all tests about egress gateways. Backends must be content to be used from any network namespace.
func GatewaySuite(t *testing.T, start func() Backend) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, func() Backend)
	}{
		{"EgressAddress", egressAddress},
		{"SeveralAddressesAreSpread", addressesAreSpread},
		{"ConnectionsStayOnTheirPath", connectionsStay},
		{"SelectedPods", selectedAndGateways},
		{"FailoversUnderTraffic", failovers},
		{"FallbackWithoutAPath", fallback},
		{"NothingLeavesWithoutItsTunnel", noTunnel},
		{"NothingLeavesATunnelAsItCame", noWayOut},
		{"EgressAddressWinsAgainstForeignMasquerade", egressAddressWins},
		{"ConnectionsFromOutsideAreUntouched", fromOutside},
		{"ServicesAreDecidedByTheirBackend", services},
		{"OnlyNodesMayUseTunnels", onlyNodes},
		{"SegmentsFitTheTunnel", segmentsFit},
		{"HandedOverOnce", handedOver},
		{"MarksOfOthersStay", marksStay},
		{"WithoutGatewaysNothingStays", nothingStays},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, start) })
	}
}

// wantEgress checks with TCP and UDP which source arrives, and that its port is one of those given out.
func wantEgress(t testing.TB, ns nettest.NS, to, want string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if err := egress(ns, network, to, want); err != nil {
			t.Errorf("%s to %s over %s: %v", ns, to, network, err)
		}
	}
}

func egress(ns nettest.NS, network, to, want string) error {
	got, err := Seen(ns, network, "", to)
	if err != nil {
		return err
	}
	source, err := netip.ParseAddrPort(got)
	if err != nil {
		return err
	}
	if source.Addr().String() != want || source.Port() < firstPort || source.Port() > lastPort {
		return fmt.Errorf("source %s, want %s with a port in %d-%d", source, want, firstPort, lastPort)
	}
	return nil
}

// wantHost checks with TCP and UDP which source address arrives.
func wantHost(t testing.TB, ns nettest.NS, to, want string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		got, err := Seen(ns, network, "", to)
		if source, _ := netip.ParseAddrPort(got); err != nil || source.Addr().String() != want {
			t.Errorf("%s to %s over %s: source %q, want %s; %v", ns, to, network, got, want, err)
		}
	}
}

func egressAddress(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	l.serve(t, via(1, vni4, vni6))
	l.apply(t, 1, l.plan(1, via(0, vni4, vni6)))
	for _, c := range []struct {
		from     nettest.NS
		to, want string
	}{
		{l.Pod, Outside4, egress4}, {l.Pod, Outside6, egress6},
		{l.Neighbour, Outside4, egress4}, {l.Neighbour, Outside6, egress6},
		{l.remote, Outside4, egress4}, {l.remote, Outside6, egress6},
	} {
		wantEgress(t, c.from, c.to, c.want)
	}
	l.WantPingSource(t, Outside4, egress4)
	l.WantPingSource(t, Outside6, egress6)
	wantHost(t, l.Pod, Elsewhere4, Pod4) // no policy
	wantHost(t, l.Pod, Elsewhere6, Pod6)
	wantHost(t, l.remote, Elsewhere4, remote4)
	wantHost(t, nettest.Self, Outside4, l.nodes[0].addr4()) // no pod

	own := via(1, vniNode)
	l.apply(t, 0, l.plan(0, own))
	wantEgress(t, l.Pod, Outside4, l.nodes[1].addr4())
	wantEgress(t, l.Pod, Outside6, l.nodes[1].addr6())
	l.apply(t, 0, l.plan(0, via(2, vniNode)))
	wantEgress(t, l.Pod, Outside4, l.nodes[2].addr4())
	wantEgress(t, l.Pod, Outside6, l.nodes[2].addr6())
}
