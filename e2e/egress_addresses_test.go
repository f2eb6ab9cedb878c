package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
)

const egressPools = `---
apiVersion: waymark.io/v1alpha1
kind: AddressPool
metadata: {name: egress}
spec: {cidrs: [198.51.100.64/29, "2001:db8:51::40/125"], use: Egress}
---
apiVersion: waymark.io/v1alpha1
kind: AddressPool
metadata: {name: pinned}
spec: {cidrs: [198.51.100.0/29, "2001:db8:51::/125"], use: Egress}
`

// TestEgressAddresses: where the address comes from: the gateway node itself, a pool, several in one policy, one in several
// policies. Pods of the gateway node have the same one as all others.
func TestEgressAddresses(t *testing.T) {
	l := newEgressLab(t)
	addPartners(t, l, 10, 11, 12, 13)
	startEgress(t, l, "n3 n4", 8, egressPools,
		l.Policy("own", to(9)),
		l.Policy("pool", to(10), "pool: egress"),
		l.Policy("several", to(11), `addresses: [198.51.100.1, 198.51.100.2, "2001:db8:51::1", "2001:db8:51::2"]`),
		l.Policy("shared-one", to(12), "addresses: [198.51.100.3]"),
		l.Policy("shared-two", to(13), "addresses: [198.51.100.3]"),
	)
	seen := func(n *egresslab.Node, from, to string) string {
		t.Helper()
		source := ""
		for _, network := range []string{"udp", "tcp", "udp"} {
			got, err := nattest.Seen(n.Pod, network, from, to)
			if err != nil {
				t.Errorf("%s from %s to %s over %s: %v", n.Name, from, to, network, err)
			}
			if source != "" && got != source {
				t.Errorf("%s from %s to %s: source %s, then %s", n.Name, from, to, source, got)
			}
			source = got
		}
		return source
	}

	t.Run("own", func(t *testing.T) {
		owner := l.Node(t, l.Node(t, "n1").Owner(t, "invalid IP"))
		for _, n := range l.Nodes {
			if got4, got6 := seen(n, "", egresslab.Partner4), seen(n, "", egresslab.Partner6); got4 != owner.Address || got6 != owner.Address6 {
				t.Errorf("%s: sources %s and %s, want those of %s", n.Name, got4, got6, owner.Name)
			}
		}
	})
	t.Run("pool", func(t *testing.T) {
		pool4, pool6 := netip.MustParsePrefix("198.51.100.64/29"), netip.MustParsePrefix("2001:db8:51::40/125")
		p := partners(10)
		all := map[[2]string]bool{}
		for _, n := range l.Nodes {
			all[[2]string{seen(n, "", p[0]), seen(n, "", p[1])}] = true
		}
		for got := range all {
			if len(all) != 1 || !pool4.Contains(netip.MustParseAddr(got[0])) || !pool6.Contains(netip.MustParseAddr(got[1])) {
				t.Errorf("sources %v, want one of the pool of each family", all)
			}
		}
	})
	t.Run("several", func(t *testing.T) {
		for _, n := range l.Nodes[:3] {
			for family, to := range partners(11) {
				had, last := map[string]int{}, []string{"1", "2"}
				for i := range 16 {
					pod, flags := fmt.Sprintf("%s.%d", strings.TrimSuffix(n.Pod4, ".2"), 100+i), "/32"
					if family == 1 {
						pod, flags = fmt.Sprintf("%s::%d", strings.TrimSuffix(n.Pod6, "::2"), 100+i), "/128 nodad"
					}
					n.Pod.IP(t, "addr add "+pod+flags+" dev eth0")
					had[seen(n, pod, to)]++
				}
				for source := range had {
					if len(had) != 2 || !slices.Contains(last, source[len(source)-1:]) || !strings.HasPrefix(source, []string{"198.51.100.", "2001:db8:51::"}[family]) {
						t.Errorf("%s to %s: sources %v, want both", n.Name, to, had)
					}
				}
			}
		}
	})
	t.Run("shared", func(t *testing.T) {
		for _, n := range l.Nodes {
			for _, last := range []int{12, 13} {
				if got := seen(n, "", partners(last)[0]); got != "198.51.100.3" {
					t.Errorf("%s to %s: source %s", n.Name, partners(last)[0], got)
				}
			}
		}
		// One of the two goes, the other keeps the address and its connections.
		conn, err := nattest.Dial(l.Nodes[0].Pod, "tcp", "", partners(13)[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		prober := egresslab.StartProber(t, l.Nodes[0].Pod, "tcp", partners(13)[0], probeInterval)
		writePolicies(t, l, egressPools, l.Policy("shared-two", to(13), "addresses: [198.51.100.3]"))
		l.Settled(t, 1)
		if got, err := nattest.Ask(conn); err != nil || got != "198.51.100.3" {
			t.Errorf("connection from before: source %q, %v", got, err)
		}
		onlySources(t, prober.Stop(), "198.51.100.3")
		eventuallySource(t, l.Nodes[0].Pod, partners(12)[0], l.Nodes[0].Address)
	})
}
