package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestEgressOneOwner: whatever dies of a gateway in the address's own network, and comes back, its neighbours get one answer
// from one node after the failover. Only when agent and waymark-bfd are dead and the kernel is not, it goes on answering, since
// nobody is there to stop it: the gratuitous ARP of the new owner moves the neighbours, and new connections work all the same.
func TestEgressOneOwner(t *testing.T) {
	l, client, neighbours := sharedNetwork(t)
	for _, c := range []struct {
		name       string
		kill, mend func(n *egresslab.Node)
		moves      bool
		headless   bool
	}{
		{name: "waymark-bfd killed", kill: func(n *egresslab.Node) { n.BFD.Kill() }, mend: func(n *egresslab.Node) { n.StartBFD(t) }, moves: true},
		{name: "agent killed", kill: func(n *egresslab.Node) { n.Agent.Kill() }, mend: func(n *egresslab.Node) { n.StartAgent(t) }},
		{
			name:  "both killed and cable out",
			kill:  func(n *egresslab.Node) { n.Cut(t); n.Agent.Kill(); n.BFD.Kill() },
			mend:  func(n *egresslab.Node) { n.Start(t); n.Mend(t) },
			moves: true,
		},
		{
			name:  "both killed",
			kill:  func(n *egresslab.Node) { n.Agent.Kill(); n.BFD.Kill() },
			mend:  func(n *egresslab.Node) { n.Start(t) },
			moves: true, headless: true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := client.Owner(t, sharedAddress)
			wantAnswer(t, l, neighbours, sharedAddress, first)
			prober := egresslab.StartProber(t, client.Pod, "udp", egresslab.Partner4, probeInterval)
			time.Sleep(500 * time.Millisecond)
			begin := time.Now()
			c.kill(l.Node(t, first))
			time.Sleep(time.Second)
			second := client.Owner(t, sharedAddress)
			if (first != second) != c.moves {
				t.Errorf("first %s, then %s", first, second)
			}
			if !c.headless {
				for range 5 {
					wantAnswer(t, l, neighbours, sharedAddress, second)
				}
			}
			c.mend(l.Node(t, first))
			staysOwner(t, l, neighbours, second)
			probes := prober.Stop()
			lost := egresslab.Outage(probes, begin, probeInterval)
			t.Logf("%s then %s: outage %v, sources %v", first, second, lost, egresslab.Sources(probes))
			if lost > time.Second {
				t.Errorf("new connections were lost for %v: %s", lost, egresslab.Losses(probes, begin))
			}
			onlySources(t, probes, sharedAddress, "")
			l.Settled(t, 1)
		})
	}
}

// TestEgressPartition: the two gateways lose sight of each other, and all others see both. The one that does not own the address
// takes it for its own pods and, for it cannot know better, answers for it too; all others stay with the owner. As soon as they
// see each other again there is one owner, the old one.
func TestEgressPartition(t *testing.T) {
	l, client, neighbours := sharedNetwork(t)
	isolate := func(how string) {
		for _, n := range l.Nodes[:2] {
			n.Switch.Run(t, "bridge", "link", "set", "dev", n.Name, "isolated", how)
		}
	}
	owner := client.Owner(t, sharedAddress)
	other := map[string]*egresslab.Node{"n1": l.Nodes[1], "n2": l.Nodes[0]}[owner]
	isolate("on")
	nettest.Eventually(t, 5*time.Second, func() error {
		if now := other.Owner(t, sharedAddress); now != other.Name {
			return fmt.Errorf("%s, which sees nobody else, has %s for the owner", other.Name, now)
		}
		return nil
	})
	for _, n := range l.Nodes {
		if now := n.Owner(t, sharedAddress); n != other && now != owner {
			t.Errorf("%s has %s for the owner, before %s", n.Name, now, owner)
		}
	}
	isolate("off")
	staysOwner(t, l, neighbours, owner)
	for _, n := range l.Nodes {
		if now := n.Owner(t, sharedAddress); now != owner {
			t.Errorf("%s has %s for the owner, before %s", n.Name, now, owner)
		}
		nattest.WantSource(t, n.Pod, egresslab.Partner4, sharedAddress)
	}
}

// staysOwner waits until one node alone answers for the address, and watches that it stays so.
func staysOwner(t testing.TB, l *egresslab.Lab, neighbours *egresslab.Neighbours, owner string) {
	t.Helper()
	nettest.Eventually(t, 5*time.Second, func() error {
		if names := answers(t, l, neighbours, sharedAddress); !slices.Equal(names, []string{owner}) {
			return fmt.Errorf("%s is answered for by %v, want %s alone", sharedAddress, names, owner)
		}
		return nil
	})
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && !t.Failed(); {
		wantAnswer(t, l, neighbours, sharedAddress, owner)
	}
}

const sharedAddress = "198.18.1.240"

// sharedNetwork has an address in the network of its gateways n1 and n2, which is not announced by BGP, used from n3.
func sharedNetwork(t *testing.T) (*egresslab.Lab, *egresslab.Node, *egresslab.Neighbours) {
	t.Helper()
	l := newEgressLab(t)
	startEgress(t, l, "n1 n2", 1, l.Policy("bank", "203.0.113.0/24", "addresses: ["+sharedAddress+"]"))
	l.Write(t, "objects.yaml", strings.Replace(egresslab.Objects, "drain:", "advertise: {egressAddresses: false}\n  drain:", 1))
	nettest.Eventually(t, 10*time.Second, func() error {
		out, err := l.FRR.Vtysh("show bgp ipv4 unicast")
		if err == nil && strings.Contains(out, sharedAddress) {
			err = fmt.Errorf("the address is announced: %s", out)
		}
		return err
	})
	return l, l.Node(t, "n3"), l.WatchNeighbours(t)
}

// answers are the names of the nodes that answer for an address.
func answers(t testing.TB, l *egresslab.Lab, neighbours *egresslab.Neighbours, address string) []string {
	t.Helper()
	var names []string
	macs := neighbours.Ask(t, address)
	for _, n := range l.Nodes {
		if slices.Contains(macs, n.MAC(t)) {
			names = append(names, n.Name)
		}
	}
	return names
}
