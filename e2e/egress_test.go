package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

const probeInterval = 10 * time.Millisecond

func newEgressLab(t testing.TB) *egresslab.Lab {
	t.Helper()
	return egresslab.New(t, filepath.Dir(program(t, "waymark-agent")))
}

// TestEgressGateways: pods on every node leave toward the partner with the policy's address, IPv4 and IPv6, and toward the
// datacenter as before.
func TestEgressGateways(t *testing.T) {
	l := newEgressLab(t)
	l.Describe(t, "n2 n3 n4")
	l.Write(t, "objects.yaml", egresslab.Objects)
	l.Write(t, "policy.yaml", l.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: [198.51.100.7, "2001:db8:51::7"]`))
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, 2)
	for _, n := range l.Nodes {
		l.WantSources(t, n, "198.51.100.7", "2001:db8:51::7")
		for _, c := range []struct{ pod, to, want string }{{n.Pod4, egresslab.Partner4, "198.51.100.7"}, {n.Pod6, egresslab.Partner6, "2001:db8:51::7"}} {
			out, err := n.NS.Try(program(t, "waymark"), "check", "source", "--run-dir", n.RunDir, "--pod", c.pod, "--to", c.to)
			if err != nil || !strings.Contains(out, c.want) {
				t.Errorf("check source on %s: %v\n%s", n.Name, err, out)
			}
		}
	}
}

// TestEgressFailover: the gateway in use dies, in three ways, and new connections work again within a second with the same
// address. It comes back, and nothing changes.
func TestEgressFailover(t *testing.T) {
	l := newEgressLab(t)
	l.Describe(t, "n2 n3 n4")
	l.Write(t, "objects.yaml", egresslab.Objects)
	l.Write(t, "policy.yaml", l.Policy("bank", "203.0.113.0/24", "addresses: [198.51.100.7]"))
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, 1)
	client := l.Node(t, "n1")
	whole := t // what starts in one case runs on in the next
	for _, death := range egresslab.Deaths {
		t.Run(death.Name, func(t *testing.T) {
			first := client.Owner(t, "198.51.100.7")
			prober := egresslab.StartProber(t, client.Pod, "udp", egresslab.Partner4, probeInterval)
			time.Sleep(time.Second)
			begin := time.Now()
			death.Kill(whole, l.Node(t, first))
			time.Sleep(3 * time.Second)
			second := client.Owner(t, "198.51.100.7")
			death.Mend(whole, l.Node(t, first))
			time.Sleep(5 * time.Second)
			probes := prober.Stop()
			lost := egresslab.Outage(probes, begin, probeInterval)
			t.Logf("%s then %s: outage %v, sources %v", first, second, lost, egresslab.Sources(probes))
			if lost > time.Second {
				t.Errorf("new connections were lost for %v: %s", lost, egresslab.Losses(probes, begin))
			}
			if now := client.Owner(t, "198.51.100.7"); now != second || death.Moves == (first == second) {
				t.Errorf("first %s, then %s, now %s", first, second, now)
			}
			l.Settled(t, 1)
		})
	}
}

// TestEgressDrain: the gateway in use is drained. Connections that it has go on, and none that is new is lost; all have the
// same address, whichever gateway the fabric sends the replies to.
func TestEgressDrain(t *testing.T) {
	l := newEgressLab(t)
	l.Describe(t, "n2 n3 n4")
	l.Write(t, "objects.yaml", egresslab.Objects)
	l.Write(t, "policy.yaml", l.Policy("bank", "203.0.113.0/24", "addresses: [198.51.100.7]"))
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, 1)
	client := l.Node(t, "n1")
	first := client.Owner(t, "198.51.100.7")
	old, err := nattest.Dial(client.Pod, "tcp", "", egresslab.Partner4)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	var probers []*egresslab.Prober
	for _, network := range []string{"udp", "tcp"} {
		probers = append(probers, egresslab.StartProber(t, client.Pod, network, egresslab.Partner4, probeInterval))
	}
	talk := func(period time.Duration) {
		t.Helper()
		for end := time.Now().Add(period); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			begin := time.Now()
			source, err := nattest.Ask(old)
			if err != nil || source != "198.51.100.7" {
				t.Fatalf("connection from before the drain: source %q, %v", source, err)
			}
			if took := time.Since(begin); took > 150*time.Millisecond {
				t.Errorf("connection from before the drain: an answer took %v: a packet was lost", took)
			}
		}
	}
	talk(time.Second)
	l.Describe(t, "n2 n3 n4", first)
	talk(4 * time.Second)
	second := client.Owner(t, "198.51.100.7")
	if second == first || second == "" {
		t.Errorf("new connections go to %q, before to %q", second, first)
	}
	l.Describe(t, "n2 n3 n4") // the drain is over: nothing moves back
	talk(2 * time.Second)
	if now := client.Owner(t, "198.51.100.7"); now != second {
		t.Errorf("new connections go to %q after the drain, before to %q", now, second)
	}
	for _, p := range probers {
		if got := egresslab.Sources(p.Stop()); len(got) != 1 || got["198.51.100.7"] == 0 {
			t.Errorf("new connections by source: %v", got)
		}
	}
}

// TestEgressOnSharedNetwork: the address lies in the gateways' own network and is not announced by BGP. The owner answers for
// it, nobody else does, and when it dies the neighbours learn of the next one at once.
func TestEgressOnSharedNetwork(t *testing.T) {
	l := newEgressLab(t)
	l.Describe(t, "n1 n2")
	l.Write(t, "objects.yaml", strings.Replace(egresslab.Objects, "drain:", "advertise: {egressAddresses: false}\n  drain:", 1))
	const address4, address6 = "198.18.1.240", "fd18:1::240"
	l.Write(t, "policy.yaml", l.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: [`+address4+`, "`+address6+`"]`))
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, 2)
	client, neighbours := l.Node(t, "n3"), l.WatchNeighbours(t)
	for _, n := range l.Nodes {
		l.WantSources(t, n, address4, address6)
	}
	for _, c := range []struct{ address, partner string }{{address4, egresslab.Partner4}, {address6, egresslab.Partner6}} {
		first := client.Owner(t, c.address)
		wantAnswer(t, l, neighbours, c.address, first)
		prober := egresslab.StartProber(t, client.Pod, "udp", c.partner, probeInterval)
		time.Sleep(time.Second)
		begin := time.Now()
		l.Node(t, first).Cut(t)
		nettest.Eventually(t, 5*time.Second, func() error {
			if now := client.Owner(t, c.address); now == first || now == "" {
				return fmt.Errorf("%s still goes to %q", c.address, now)
			}
			return nil
		})
		second := client.Owner(t, c.address)
		wantAnswer(t, l, neighbours, c.address, second)
		l.Node(t, first).Mend(t)
		for end := time.Now().Add(6 * time.Second); time.Now().Before(end) && !t.Failed(); {
			wantAnswer(t, l, neighbours, c.address, second)
		}
		probes := prober.Stop()
		lost := egresslab.Outage(probes, begin, probeInterval)
		t.Logf("%s: %s then %s: outage %v, sources %v", c.address, first, second, lost, egresslab.Sources(probes))
		if lost > time.Second {
			t.Errorf("%s: new connections were lost for %v: %s", c.address, lost, egresslab.Losses(probes, begin))
		}
		l.Settled(t, 2)
	}
}

// wantAnswer asks the gateways' network who has an address: one node, and no other.
func wantAnswer(t testing.TB, l *egresslab.Lab, neighbours *egresslab.Neighbours, address, node string) {
	t.Helper()
	macs := neighbours.Ask(t, address)
	want := l.Node(t, node).MAC(t)
	if len(macs) == 0 || len(macs) > 1 || macs[0] != want {
		names := map[string]string{}
		for _, n := range l.Nodes {
			names[n.MAC(t)] = n.Name
		}
		var answered []string
		for _, m := range macs {
			answered = append(answered, names[m]+" "+m)
		}
		t.Errorf("%s is answered for by %v, want %s alone", address, answered, node)
	}
}
