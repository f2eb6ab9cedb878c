package route

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func hop(gateway string, link int) Hop { return Hop{netip.MustParseAddr(gateway), link} }

var host = Host{
	Addresses: prefixes("192.0.2.1/24", "2001:db8::1/64"),
	Connected: []OnLink{
		{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Link: 2},
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Link: 3, Metric: 100},
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Link: 4, Metric: 50},
		{Prefix: netip.MustParsePrefix("2001:db8::/64"), Link: 2},
	},
	Routes: []Foreign{
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Hops: []Hop{hop("192.0.2.254", 2)}},
		{Prefix: netip.MustParsePrefix("203.0.113.128/25"), Hops: []Hop{hop("192.0.2.253", 2), hop("198.51.100.253", 4)}},
		{Prefix: netip.MustParsePrefix("203.0.113.64/32")},
		{Prefix: netip.MustParsePrefix("203.0.113.65/32"), Hops: []Hop{hop("2001:db8::2", 2)}},
		{Prefix: netip.MustParsePrefix("192.0.2.9/32"), Hops: []Hop{hop("198.51.100.254", 3)}},
		{Prefix: netip.MustParsePrefix("::/0"), Metric: 1024, Hops: []Hop{hop("fe80::1", 2)}},
		{Prefix: netip.MustParsePrefix("::/0"), Metric: 512, Hops: []Hop{hop("fe80::2", 2)}},
	},
}

func TestHops(t *testing.T) {
	for _, c := range []struct {
		nextHops string
		hops     []Hop
		leftOut  string
	}{
		{"192.0.2.2", []Hop{hop("192.0.2.2", 2)}, ""},
		{"2001:db8::2", []Hop{hop("2001:db8::2", 2)}, ""},
		{"198.51.100.2", []Hop{hop("198.51.100.2", 4)}, ""}, // the lower metric
		{"192.0.2.2 192.0.2.3 198.51.100.2", []Hop{hop("192.0.2.2", 2), hop("192.0.2.3", 2), hop("198.51.100.2", 4)}, ""},
		{"203.0.113.9", []Hop{hop("192.0.2.254", 2)}, ""},
		{"203.0.113.9 203.0.113.10", []Hop{hop("192.0.2.254", 2)}, ""},
		{"203.0.113.129", []Hop{hop("192.0.2.253", 2), hop("198.51.100.253", 4)}, ""}, // the longer one, all its gateways
		{"192.0.2.9", []Hop{hop("198.51.100.254", 3)}, ""},                            // longer than the connected one
		{"2001:db8:1::1", []Hop{hop("fe80::2", 2)}, ""},
		{"100.64.0.1", nil, "next hop 100.64.0.1 cannot be reached: no network"},
		{"203.0.113.64", nil, "route to it refuses packets"},
		{"203.0.113.65", nil, "RFC 8950"},
		{"192.0.2.2 100.64.0.1", []Hop{hop("192.0.2.2", 2)}, "next hop 100.64.0.1 cannot be reached"},
		{"192.0.2.1", nil, "next hop 192.0.2.1 is this node itself"},
		{"2001:db8::1", nil, "is this node itself"},
		{"10.244.1.5", nil, "own pod addresses"},
		{"0.0.0.0", nil, "not the address of a host"},
		{"127.0.0.1", nil, "not the address of a host"},
		{"224.0.0.5", nil, "not the address of a host"},
		{"fe80::1", nil, "link-local"},
		{"", nil, "no next hop"},
	} {
		var nextHops []netip.Addr
		for _, s := range strings.Fields(c.nextHops) {
			nextHops = append(nextHops, netip.MustParseAddr(s))
		}
		hops, leftOut := host.Hops(rules.Own, nextHops)
		if fmt.Sprint(hops) != fmt.Sprint(c.hops) || (leftOut == "") != (c.leftOut == "") || !strings.Contains(leftOut, c.leftOut) {
			t.Errorf("%q: hops %v, left out %q; want %v, %q", c.nextHops, hops, leftOut, c.hops, c.leftOut)
		}
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	var result Result
	for range 3 * MaxRefusals {
		result.Refuse(netip.MustParsePrefix("10.0.0.0/8"), "reason")
	}
	if len(result.Refused) != MaxRefusals || result.RefusedN != 3*MaxRefusals {
		t.Errorf("%d listed, %d counted", len(result.Refused), result.RefusedN)
	}
}
