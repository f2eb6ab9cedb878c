package e2e

import (
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
)

// TestEgressPrecedence: a policy with a gateway stands among others by its priority, and has nothing to say about connections
// that come in, about traffic between pods and about what it excludes.
func TestEgressPrecedence(t *testing.T) {
	l := newEgressLab(t)
	addPartners(t, l, 10, 11, 12)
	plain := func(name string, priority, destinations, source string) string {
		return `---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: ` + name + `}
spec: {priority: ` + priority + `, destinations: [` + destinations + `], source: ` + source + "}\n"
	}
	const address4, address6 = "198.51.100.7", "2001:db8:51::7"
	bank := l.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: [`+address4+`, "`+address6+`"]`)
	bank = strings.Replace(bank, "  source:", "  excludeDestinations: ["+to(11, 12)+"]\n  source:", 1)
	for _, n := range l.Nodes {
		for _, pod := range []string{n.Pod4, n.Pod6} {
			nattest.TellSource(t, n.Pod, pod)
		}
	}
	startEgress(t, l, "n3 n4", 2, bank,
		plain("first", "5", to(10), "Pod"),
		plain("later", "20", to(9, 10, 11), "Pod"),
		plain("last", "30", `203.0.113.0/24, "2001:db8:113::/64"`, "Node"),
	)
	for _, n := range l.Nodes {
		for _, c := range []struct {
			partner      int
			want4, want6 string
		}{
			{9, address4, address6},
			{10, n.Pod4, n.Pod6},
			{11, n.Pod4, n.Pod6},
			{12, n.Address, n.Address6},
		} {
			p := partners(c.partner)
			nattest.WantSource(t, n.Pod, p[0], c.want4)
			nattest.WantSource(t, n.Pod, p[1], c.want6)
		}
	}

	t.Run("from outside", func(t *testing.T) {
		for _, n := range l.Nodes {
			// The answers come from the pod's address: else the partner's connected socket would not take them.
			nattest.WantSourceFrom(t, l.Partner, egresslab.Partner4, n.Pod4, egresslab.Partner4)
			nattest.WantSourceFrom(t, l.Partner, egresslab.Partner6, n.Pod6, egresslab.Partner6)
		}
	})
	t.Run("between pods", func(t *testing.T) {
		all := l.Policy("all", "", `addresses: [`+address4+`, "`+address6+`"]`)
		all = strings.Replace(all, "  destinations: []\n", "", 1)
		writePolicies(t, l, all)
		for _, n := range l.Nodes {
			eventuallySource(t, n.Pod, partners(12)[0], address4)
			eventuallySource(t, n.Pod, partners(12)[1], address6)
		}
		for _, from := range l.Nodes {
			for _, to := range l.Nodes {
				if from != to {
					nattest.WantSource(t, from.Pod, to.Pod4, from.Pod4)
					nattest.WantSource(t, from.Pod, to.Pod6, from.Pod6)
				}
			}
			nattest.WantSourceFrom(t, l.Partner, egresslab.Partner4, from.Pod4, egresslab.Partner4)
			nattest.WantSourceFrom(t, l.Partner, egresslab.Partner6, from.Pod6, egresslab.Partner6)
		}
		// Nodes themselves leave as they are.
		for _, n := range l.Nodes {
			nattest.WantSource(t, n.NS, egresslab.Partner4, n.Address)
			nattest.WantSource(t, n.NS, egresslab.Partner6, n.Address6)
		}
	})
}
