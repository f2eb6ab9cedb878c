package kernel

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

func TestRefusedRoutesDoNotStopTheOthers(t *testing.T) {
	lab(t)
	table := newTable(t)
	result := apply(t, table, routes{
		"10.1.0.0/16":       r1,
		"10.2.0.0/16":       unreachableHop,
		"10.3.0.0/16":       r1 + "," + unreachableHop,
		"10.4.0.0/16":       "192.0.2.1",   // the node
		"10.5.0.0/16":       "192.0.2.255", // a broadcast address: only the kernel knows
		"10.6.0.0/16":       "10.244.1.7",  // a pod of the node
		"10.7.0.0/16":       r1v6,
		"10.244.1.64/26":    r1,
		"2001:db8:a::/48":   r1v6,
		"2001:db8:b::/48":   r1v6 + "," + far6,
		"fe80::/10":         r1v6,
		"2001:db8:1::1/128": r1v6 + "," + r2v6,
	}.desired())
	reasons := map[string]string{
		"10.2.0.0/16":     "next hop " + unreachableHop + " cannot be reached",
		"10.3.0.0/16":     "next hop " + unreachableHop + " cannot be reached",
		"10.4.0.0/16":     "next hop 192.0.2.1 is this node itself",
		"10.5.0.0/16":     "Nexthop has invalid gateway",
		"10.6.0.0/16":     "own pod addresses",
		"10.7.0.0/16":     "RFC 8950",
		"10.244.1.64/26":  "inside this node's own " + own4,
		"2001:db8:b::/48": "next hop " + far6 + " cannot be reached",
		"fe80::/10":       "link-local",
	}
	for prefix, want := range reasons {
		if have := reasonFor(t, result, prefix); !strings.Contains(have, want) {
			t.Errorf("%s is refused because %q, want %q", prefix, have, want)
		}
	}
	want := routes{
		"10.1.0.0/16": r1, "10.3.0.0/16": r1, "2001:db8:a::/48": r1v6, "2001:db8:b::/48": r1v6,
		"2001:db8:1::1/128": r1v6 + "," + r2v6, // the test's rules know no address
	}
	if result.RefusedN != len(reasons) || result.Installed != len(want) {
		t.Errorf("%d refused, %d installed: %v", result.RefusedN, result.Installed, result.Refused)
	}
	expect(t, want)
}

// A next hop beyond a router follows the route that another program has to it, and never one of ours.
func TestRecursiveNextHop(t *testing.T) {
	lab(t)
	table := newTable(t)
	desired := routes{
		"10.1.0.0/16": far4, "2001:db8:a::/48": far6,
		"0.0.0.0/0": r1, "203.0.113.0/24": r1, "::/0": r1v6, // ours, and no help
	}
	keepApplied(t, table, desired.desired(), watch(t, table))
	base := routes{"0.0.0.0/0": r1, "203.0.113.0/24": r1, "::/0": r1v6}
	expect(t, base)
	with := func(hop4, hop6 string) routes {
		return routes{
			"10.1.0.0/16": hop4, "2001:db8:a::/48": hop6, "0.0.0.0/0": r1, "203.0.113.0/24": r1, "::/0": r1v6,
		}
	}
	nettest.Self.IP(t, "route add 203.0.113.0/25 via "+r2)
	nettest.Self.IP(t, "-6 route add 2001:db8:3::/64 via "+r2v6)
	nettest.Eventually(t, second, func() error { return differs(t, with(r2, r2v6)) })
	nettest.Self.IP(t, "route replace 203.0.113.0/25 nexthop via "+r1b+" nexthop via "+r2)
	nettest.Self.IP(t, "-6 route replace 2001:db8:3::/64 nexthop via "+r1bv6+" nexthop via "+r2v6)
	nettest.Eventually(t, second, func() error { return differs(t, with(r1b+","+r2, r1bv6+","+r2v6)) })
	nettest.Self.IP(t, "route del 203.0.113.0/25")
	nettest.Self.IP(t, "-6 route del 2001:db8:3::/64")
	nettest.Eventually(t, second, func() error { return differs(t, base) })
}

// A gateway behind a link that is down is not used, though the other program's route still names it.
func TestRecursiveNextHopOverALinkThatIsDown(t *testing.T) {
	lab(t)
	table := newTable(t)
	keepApplied(t, table, routes{"10.1.0.0/16": far4}.desired(), watch(t, table))
	nettest.Self.IP(t, "route add 203.0.113.0/24 nexthop via "+r1+" nexthop via "+r2)
	nettest.Eventually(t, second, func() error { return differs(t, routes{"10.1.0.0/16": r1 + "," + r2}) })
	nettest.Self.IP(t, "link set eth0 down")
	nettest.Eventually(t, second, func() error { return differs(t, routes{"10.1.0.0/16": r2}) })
}

// Host routes to gateways, learned from somebody, must not make the gateways unusable for the routes that follow.
func TestLearnedHostRouteToAGateway(t *testing.T) {
	for name, first := range map[string]routes{
		"through another link":  {r1 + "/32": r2, r1v6 + "/128": r2v6},
		"through the same link": {r1 + "/32": r1b, r1v6 + "/128": r1bv6},
	} {
		t.Run(name, func(t *testing.T) {
			lab(t)
			table := newTable(t)
			apply(t, table, first.desired())
			want := routes{
				"10.1.0.0/16": r1, "10.2.0.0/16": r1 + "," + r2, "2001:db8:a::/48": r1v6, "2001:db8:b::/48": r1v6 + "," + r2v6,
			}
			maps.Copy(want, first)
			result := apply(t, table, want.desired())
			if result.RefusedN > 0 {
				t.Error(result.Refused)
			}
			expect(t, want)
		})
	}
}

// Cloud networks give a node a gateway outside every network of the node.
func TestNextHopBehindAnOnLinkGateway(t *testing.T) {
	lab(t)
	nettest.Self.IP(t, "route add 203.0.113.0/24 via 169.254.7.1 dev eth0 onlink")
	table := newTable(t)
	want := routes{"10.1.0.0/16": far4, "10.2.0.0/16": r2 + "," + far4}
	apply(t, table, want.desired())
	expect(t, routes{"10.1.0.0/16": "169.254.7.1", "10.2.0.0/16": "169.254.7.1," + r2})
}

func TestHost(t *testing.T) {
	lab(t)
	nettest.Self.IP(t, "route add 203.0.113.0/24 via "+r2+" metric 7")
	table := newTable(t)
	apply(t, table, routes{"10.1.0.0/16": r1}.desired())
	host, err := table.Host()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"192.0.2.1/24", "198.51.100.1/24", "2001:db8:1::1/64", "2001:db8:2::1/64"} {
		prefix := netip.MustParsePrefix(want)
		if !slices.Contains(host.Addresses, prefix) || !slices.Contains(host.Addrs(), prefix.Addr()) {
			t.Errorf("no address %s in %v", want, host.Addresses)
		}
		if !slices.ContainsFunc(host.Connected, func(c route.OnLink) bool { return c.Prefix == prefix.Masked() }) {
			t.Errorf("no connected network for %s in %v", want, host.Connected)
		}
	}
	if len(host.Routes) != 1 || host.Routes[0].Prefix.String() != "203.0.113.0/24" || host.Routes[0].Metric != 7 ||
		host.Routes[0].Hops[0].Gateway.String() != r2 {
		t.Errorf("routes of others are %v, want the static one alone", host.Routes)
	}
}
