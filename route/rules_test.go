package route

import (
	"net/netip"
	"strings"
	"testing"
)

var rules = NewRules(prefixes("10.244.1.0/24", "2001:db8:244:1::/64"), host, nil)

// on is a host with these networks.
func on(networks ...string) Host {
	var h Host
	for _, prefix := range prefixes(networks...) {
		h.Connected = append(h.Connected, OnLink{Prefix: prefix})
	}
	return h
}

func prefixes(list ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func TestRefuse(t *testing.T) {
	for prefix, reason := range map[string]string{
		"0.0.0.0/0":                "",
		"::/0":                     "",
		"10.0.0.0/8":               "",
		"10.244.0.0/16":            "", // covers the own prefix
		"10.244.0.0/24":            "",
		"10.244.2.0/24":            "",
		"10.244.1.0/24":            "inside this node's own 10.244.1.0/24",
		"10.244.1.128/25":          "inside this node's own 10.244.1.0/24",
		"10.244.1.7/32":            "inside this node's own 10.244.1.0/24",
		"2001:db8:244::/48":        "",
		"2001:db8:244:1::/64":      "inside this node's own 2001:db8:244:1::/64",
		"2001:db8:244:1:8000::/65": "inside this node's own 2001:db8:244:1::/64",
		"192.0.2.0/23":             "", // shorter than the node's network, which wins
		"192.0.2.0/24":             "a network this node is connected to",
		"192.0.2.0/25":             "",
		"198.51.100.0/24":          "a network this node is connected to",
		"2001:db8::/48":            "",
		"2001:db8::/64":            "a network this node is connected to",
		"2001:db8::/65":            "",
		"192.0.2.1/32":             "an address of this node",
		"192.0.2.2/32":             "",
		"2001:db8::1/128":          "an address of this node",
		"2001:db8::2/128":          "",
		"127.0.0.0/8":              "loopback",
		"127.0.0.53/32":            "loopback",
		"::1/128":                  "loopback",
		"169.254.0.0/16":           "link-local",
		"169.254.169.254/32":       "link-local",
		"fe80::/10":                "link-local",
		"fe80::1/128":              "link-local",
		"224.0.0.0/4":              "multicast",
		"239.1.1.0/24":             "multicast",
		"ff00::/8":                 "multicast",
		"0.0.0.0/32":               "not the address of a host",
		"::/128":                   "not the address of a host",
		"255.255.255.255/32":       "not the address of a host",
		"10.0.0.1/8":               "beyond the length",
		"::ffff:10.0.0.0/104":      "IPv4 address in IPv6 form",
	} {
		have := rules.Refuse(netip.MustParsePrefix(prefix))
		if (reason == "") != (have == "") || !strings.Contains(have, reason) {
			t.Errorf("%s is refused because %q, want %q", prefix, have, reason)
		}
	}
	if rules.Refuse(netip.Prefix{}) == "" {
		t.Error("the zero prefix is accepted")
	}
}

// No learned prefix decides how a peer is reached on a network of this node, nor takes the place of a route that an operator
// has made to a peer.
func TestRefuseTheWayToAPeer(t *testing.T) {
	from := on("192.0.2.0/24", "192.0.2.128/26", "198.51.100.1/32", "2001:db8::/64", "0.0.0.0/0")
	for _, static := range prefixes("0.0.0.0/0", "::/0", "203.0.113.0/25", "2001:db8:9::/48") {
		from.Routes = append(from.Routes, Foreign{Prefix: static, Hops: []Hop{hop("192.0.2.254", 2)}})
	}
	from.Routes = append(from.Routes, Foreign{Prefix: netip.MustParsePrefix("203.0.113.128/25")}) // a blackhole is no way
	var peers []netip.Addr
	for _, peer := range []string{
		"192.0.2.2", "192.0.2.130", "198.51.100.1", "203.0.113.9", "203.0.113.130", "2001:db8::2", "2001:db8:8::9", "2001:db8:9::9", "fe80::2%eth0",
	} {
		peers = append(peers, netip.MustParseAddr(peer))
	}
	toPeers := NewRules(rules.Own, from, peers)
	for prefix, peer := range map[string]string{
		"0.0.0.0/0":          "",
		"::/0":               "",
		"192.0.2.0/23":       "",
		"192.0.2.0/30":       "192.0.2.2",
		"192.0.2.2/32":       "192.0.2.2",
		"192.0.2.3/32":       "",
		"192.0.2.4/30":       "",
		"192.0.2.128/25":     "", // the node's network of the peer in it is longer
		"192.0.2.128/27":     "192.0.2.130",
		"198.51.100.0/24":    "",
		"203.0.113.0/24":     "", // the way to a peer that is not on a network of the node
		"203.0.113.8/31":     "",
		"203.0.113.9/32":     "203.0.113.9", // to which a static route leads
		"203.0.113.130/32":   "",
		"2001:db8::/32":      "",
		"2001:db8::/126":     "2001:db8::2",
		"2001:db8:8::9/128":  "", // nothing but the default route leads there
		"2001:db8:9::/64":    "",
		"2001:db8:9::9/128":  "2001:db8:9::9",
		"2001:db8:9::10/128": "",
	} {
		have, want := toPeers.Refuse(netip.MustParsePrefix(prefix)), ""
		if peer != "" {
			want = "would take away the way to peer " + peer
		}
		if have != want {
			t.Errorf("%s is refused because %q, want %q", prefix, have, want)
		}
	}
}

// What is accepted can never take traffic away from the node's own pods or from the node itself.
func FuzzRefuse(f *testing.F) {
	f.Add([]byte{10, 244, 1, 0}, 24)
	f.Add([]byte{192, 0, 2, 1}, 32)
	f.Add(netip.MustParseAddr("2001:db8::1").AsSlice(), 128)
	f.Fuzz(func(t *testing.T, raw []byte, bits int) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			return
		}
		p := netip.PrefixFrom(a, bits)
		if rules.Refuse(p) != "" {
			return
		}
		if !p.IsValid() || p != p.Masked() {
			t.Fatalf("%v is accepted", p)
		}
		for _, own := range rules.Own {
			if p.Overlaps(own) && p.Bits() >= own.Bits() {
				t.Fatalf("%v is accepted, inside %v", p, own)
			}
		}
		for _, address := range host.Addresses {
			if p.IsSingleIP() && p.Addr() == address.Addr() {
				t.Fatalf("%v is accepted, an address of the node", p)
			}
		}
		for _, network := range host.Connected {
			if p == network.Prefix {
				t.Fatalf("%v is accepted, a network of the node", p)
			}
		}
	})
}
