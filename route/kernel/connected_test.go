package kernel

import (
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// applyRules applies routes by the rules for the host as it is now, without peers and PodCIDRs.
func applyRules(t *testing.T, table *Table, r routes) route.Result {
	t.Helper()
	host, err := table.Host()
	if err != nil {
		t.Fatal(err)
	}
	d := r.desired()
	d.Rules = route.NewRules(nil, host, nil)
	return apply(t, table, d)
}

// reached waits until all of the hosts answer the node: the kernel takes IPv6 addresses into use a little later.
func reached(t *testing.T, hosts ...string) {
	t.Helper()
	for _, host := range hosts {
		nettest.Eventually(t, 3*time.Second, func() error {
			_, err := nettest.Self.Try("ping", "-c1", "-W1", host)
			return err
		})
	}
}

// dhcp gives the node its network on eth0 with the metric that systemd-networkd gives to one from DHCP. IPv6 networks have
// 256 from the kernel itself.
func dhcp(t *testing.T) {
	t.Helper()
	nettest.Self.IP(t, "route del 192.0.2.0/24 dev eth0")
	nettest.Self.IP(t, "route add 192.0.2.0/24 dev eth0 proto dhcp scope link src 192.0.2.1 metric 1024")
}

// Neighbours are reached on their link, whoever announces the network that the node shares with them. What lies inside it
// may be elsewhere, and what it lies inside of does no harm.
func TestNeighboursAreReachedOnTheirLink(t *testing.T) {
	_, two := lab(t)
	nettest.Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.keep_addr_on_down=1")
	const moved, moved6 = "192.0.2.77", "2001:db8:1::77"
	two.IP(t, "addr add "+moved+"/32 dev lo")
	two.IP(t, "addr add "+moved6+"/128 dev lo")
	dhcp(t)
	table := newTable(t)
	want := routes{
		"192.0.0.0/16": r2, moved + "/32": r2, "192.0.2.128/25": r2,
		"2001:db8::/32": r2v6, moved6 + "/128": r2v6, "2001:db8:1::8000:0/97": r2v6,
	}
	all := union(want, routes{"192.0.2.0/24": r2, "2001:db8:1::/64": r2v6})
	inPlace := func() {
		t.Helper()
		result := applyRules(t, table, all)
		reached(t, r1, r1v6, moved, moved6)
		for _, network := range []string{"192.0.2.0/24", "2001:db8:1::/64"} {
			if reason := reasonFor(t, result, network); reason != "is a network this node is connected to" {
				t.Errorf("%s is refused because it %s", network, reason)
			}
		}
		expect(t, want)
	}
	inPlace()

	// Without the link the way round is better than none.
	nettest.Self.IP(t, "link set eth0 down")
	applyRules(t, table, all)
	expect(t, all)
	nettest.Self.IP(t, "link set eth0 up")
	nettest.Self.IP(t, "route add 192.0.2.0/24 dev eth0 proto dhcp scope link src 192.0.2.1 metric 1024")
	inPlace()
}

// The kernel looks for a gateway on its link, so a learned host route to one takes nothing away from what lies behind it,
// for instance a peer to which an operator has made a route.
func TestLearnedHostRouteToAGatewayOfAnotherProgram(t *testing.T) {
	one, _ := lab(t)
	one.IP(t, "addr add "+far4+"/32 dev lo")
	one.IP(t, "addr add "+far6+"/128 dev lo")
	dhcp(t)
	nettest.Self.IP(t, "route add 203.0.113.0/24 via "+r1)
	nettest.Self.IP(t, "-6 route add 2001:db8:3::/64 via "+r1v6)
	want := routes{r1 + "/32": r2, r1v6 + "/128": r2v6}
	applyRules(t, newTable(t), want)
	expect(t, want)
	reached(t, far4, far6)
}
