package probe

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

var network = Network{
	Gateway: "core1", Addresses: []netip.Addr{netip.MustParseAddr("10.132.2.254")},
	Gateways: map[netip.Addr]string{netip.MustParseAddr("10.132.2.254"): "core1", netip.MustParseAddr("10.132.2.253"): "core2"},
	Nodes:    map[netip.Addr]string{netip.MustParseAddr("10.132.2.21"): "node-1", netip.MustParseAddr("10.132.2.22"): "node-2"},
}

var target = Target{Prefix: netip.MustParsePrefix("10.131.8.0/24"), Node: "node-1"}

// path reads "ADDRESS[!KIND]" for each TTL from 1; "*" is silent.
func path(text string) (hops []Hop) {
	for i, word := range strings.Fields(text) {
		h := Hop{TTL: i + 1}
		if word != "*" {
			address, kind, found := strings.Cut(word, "!")
			h.From, h.Kind = netip.MustParseAddr(address), Exceeded
			if found {
				h.Kind = Kind(kind)
			}
		}
		hops = append(hops, h)
	}
	return hops
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct{ address, path, want string }{
		{"10.131.8.1", "10.132.2.254 10.131.8.1!reached", "right: "},
		{"10.131.8.1", "* 10.131.8.1!reached", "unproven: 10.131.8.1 answers, and what is before it does not"},
		{"10.131.8.1", "10.132.2.254 * 10.132.2.21", "unproven: node node-1 (10.132.2.21) answers, and what is before it does not"},
		{"10.131.8.1", "10.132.2.21", "right: "},
		{"10.131.8.1", "10.9.9.9 10.132.2.254 10.131.8.1!reached", "right: "},
		{"10.131.8.7", "10.132.2.254 10.132.2.21 10.131.8.7!reached", "right: "},
		{"10.131.8.7", "10.132.2.254 10.132.2.21 * *", "right: "}, // no such pod, but the route is right
		{"10.131.8.1", "10.132.2.254 10.132.2.21!unreachable", "right: "},
		{"10.131.8.1", "10.132.2.254 10.132.2.21!prohibited", "right: "},
		{"10.131.8.1", "10.132.2.254 10.132.2.22 10.131.8.1!reached", "wrong node: node node-2 (10.132.2.22) is on the way to 10.131.8.1"},
		{"10.131.8.7", "10.132.2.254 10.132.2.22 10.132.2.21 10.131.8.7!reached", "wrong node: node node-2 (10.132.2.22) is on the way to 10.131.8.7"},
		{"10.131.8.1", "10.132.2.254 10.132.2.22!unreachable", "wrong node: node node-2 (10.132.2.22) is on the way to 10.131.8.1"},
		{"10.131.8.1", "10.132.2.254 10.132.2.22 10.132.2.254 *", "loop: between gateway core1 (10.132.2.254) and node node-2 (10.132.2.22)"},
		{"10.131.8.1", "10.132.2.254 * 10.132.2.254 *", "loop: between gateway core1 (10.132.2.254) and a silent router"},
		{"10.131.8.1", "10.132.2.254 10.132.2.21 10.132.2.254", "loop: between gateway core1 (10.132.2.254) and node node-1 (10.132.2.21)"},
		{"10.131.8.1", "10.132.2.254 10.132.2.254 10.131.8.1!reached", "right: "}, // some answer for two
		{"10.131.8.1", "10.132.2.254!unreachable", "unreachable: gateway core1 (10.132.2.254) knows no way on"},
		{"10.131.8.1", "10.9.9.9 10.132.2.254!prohibited", "filtered: refused by gateway core1 (10.132.2.254)"},
		{"10.131.8.1", "10.132.2.254 * * *", "silent: nobody answers after gateway core1 (10.132.2.254)"},
		{"10.131.8.1", "* * *", "silent: nobody answers"},
		{"10.131.8.7", "10.132.2.254 10.9.9.9 10.131.8.7!reached", "unproven: 10.131.8.7 is behind 10.9.9.9, which is no address of a node that is known"},
		{"10.131.8.7", "10.132.2.254 * 10.131.8.7!reached", "unproven: 10.131.8.7 answers, and what is before it does not"},
		{"10.131.8.1", "10.132.2.253 10.131.8.1!reached", "wrong gateway: by gateway core2 (10.132.2.253)"},
		{"10.131.8.1", "10.132.2.253 10.132.2.254 10.131.8.1!reached", "right: "},
	} {
		f := network.Judge(&target, netip.MustParseAddr(tt.address), path(tt.path), 0)
		if got := fmt.Sprintf("%s: %s", f.Verdict, f.Reason); got != tt.want {
			t.Errorf("%s by %s\ngot  %s\nwant %s", tt.address, tt.path, got, tt.want)
		}
	}
}

// TestJudgeNear knows how far other nodes of the network are.
func TestJudgeNear(t *testing.T) {
	for _, tt := range []struct {
		near       int
		path, want string
	}{
		{2, "* 10.131.8.1!reached", "right"},
		{2, "* 10.132.2.21", "right"},
		{3, "* 10.132.2.21", "right"},
		{2, "* * 10.131.8.1!reached", "unproven"},
		{2, "* * 10.132.2.21", "unproven"},
		{2, "* 10.132.2.22 10.132.2.21", "wrong node"},
	} {
		if f := network.Judge(&target, netip.MustParseAddr("10.131.8.1"), path(tt.path), tt.near); string(f.Verdict) != tt.want {
			t.Errorf("near %d, %s: %s %s, want %s", tt.near, tt.path, f.Verdict, f.Reason, tt.want)
		}
	}
}

func TestLeave(t *testing.T) {
	a := netip.MustParseAddr
	for _, tt := range []struct {
		start Start
		want  string
	}{
		{Start{NextHop: a("10.132.2.254"), Device: "eth0"}, "sent: this machine sends to gateway core1 (10.132.2.254)"},
		{Start{NextHop: a("10.132.2.253"), Device: "eth0"}, "wrong gateway: this machine sends to gateway core2 (10.132.2.253)"},
		{Start{NextHop: a("10.132.2.21"), Device: "eth0"}, "aside: this machine sends to node node-1 (10.132.2.21), past the gateway: ask from another one"},
		{Start{NextHop: a("10.9.9.9"), Device: "eth0"}, "sent: this machine sends to 10.9.9.9, a router that may lead to core1"},
		{Start{Device: "cni0"}, "aside: this machine sends by its device cni0, past the gateway: ask from another one"},
		{Start{Own: true}, "own: this machine is the node: ask from another one"},
		{Start{Error: "network is unreachable"}, "unreachable: this machine does not send: network is unreachable"},
	} {
		f := network.Leave(&target, tt.start)
		if got := fmt.Sprintf("%s: %s", f.Verdict, f.Reason); got != tt.want {
			t.Errorf("%+v\ngot  %s\nwant %s", tt.start, got, tt.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.131.8.0/24": "[10.131.8.1 10.131.8.254]", "10.131.8.0/30": "[10.131.8.1]", "10.131.8.9/32": "[10.131.8.9]",
		"10.131.8.0/22": "[10.131.8.1 10.131.11.254]", "fd00:8::/64": "[fd00:8::1 fd00:8::ffff:ffff:ffff:fffe]",
	} {
		if got := fmt.Sprint(Addresses(netip.MustParsePrefix(prefix))); got != want {
			t.Errorf("%s: %s, want %s", prefix, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	got := Summary([]Finding{{Verdict: Silent}, {Verdict: Right}, {Verdict: Right}})
	if got != "2 right, 1 silent" {
		t.Error(got)
	}
}
