package tunnel

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

func testHost(ipv6 bool, mtu int) *host {
	return &host{
		links:     map[string]link{"eth0": {index: 2, mtu: mtu}},
		addresses: []address{{"eth0", netip.MustParsePrefix(node4 + "/24")}, {"eth0", netip.MustParsePrefix(node6 + "/64")}},
		ipv6:      ipv6,
	}
}

// A kernel without IPv6 is given nothing of it, and a device that is too small for it no route of it; but its packets must
// not leave another way.
func TestPlanWithoutIPv6(t *testing.T) {
	want, err := plan(source(node4, one4), testHost(false, 1500))
	if err != nil {
		t.Fatal(err)
	}
	for r := range want.rules {
		if r.family != unix.AF_INET {
			t.Errorf("rule %+v", r)
		}
	}
	for r := range want.routes {
		if r.dst.Addr().Is6() {
			t.Errorf("route %+v", r)
		}
	}
	want, err = plan(source(node4, one4), testHost(true, 1300))
	if err != nil {
		t.Fatal(err)
	}
	for r := range want.routes {
		if r.dst.Addr().Is6() && r.device != "" {
			t.Errorf("route %+v", r)
		}
	}
	if len(want.routes) != 3 {
		t.Errorf("routes %+v, want one of IPv4 and two blackholes", want.routes)
	}
}

// What cannot be does not keep the rest from being planned.
func TestPlanOfGatewaysOfBothFamilies(t *testing.T) {
	desired := source(node4, one4, one6)
	desired.Local = addresses(node4, node6)
	have, err := plan(desired, testHost(true, 1500))
	if err == nil || !strings.Contains(err.Error(), "gateways of both address families") {
		t.Errorf("error %v", err)
	}
	if !have.routes[kernelRoute{table: route.TableBase + 1, dst: defaultOf(unix.AF_INET), metric: 1, device: "waymark7001", via: addresses(one4)[0]}] {
		t.Errorf("routes %+v", have.routes)
	}
	desired.Local = addresses(node4)
	if _, err = plan(desired, testHost(true, 1500)); err == nil || !strings.Contains(err.Error(), "no address of the family") {
		t.Errorf("error %v", err)
	}
}

// Every node computes the same MAC address, and different ones for different nodes.
func TestMACAddresses(t *testing.T) {
	seen := map[mac]string{}
	for _, node := range []string{node4, one4, two4, node6, one6, two6} {
		m := macOf(addresses(node)[0])
		if m[0]&3 != 2 {
			t.Errorf("%x of %s is no locally administered unicast address", m, node)
		}
		if other, ok := seen[m]; ok {
			t.Errorf("%s and %s have the same", node, other)
		}
		seen[m] = node
	}
}
