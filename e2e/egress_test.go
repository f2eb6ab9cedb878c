package e2e

import (
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nattest"
)

// TestEgressGateways: pods on every node leave toward the partner with the policy's address, IPv4 and IPv6, and toward the
// datacenter as before.
func TestEgressGateways(t *testing.T) {
	l := NewEgressLab(t)
	l.Describe(t, "n2 n3 n4")
	l.Write(t, "objects.yaml", egressObjects())
	l.Write(t, "policy.yaml", l.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: [198.51.100.7, "2001:db8:51::7"]`))
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, 2)
	for _, n := range l.Nodes {
		l.WantSources(t, n, "198.51.100.7", "2001:db8:51::7")
	}
}

// TestEgressFailover: the gateway in use dies, in three ways, and new connections work again within a second with the same
// address. It comes back, and nothing changes.
func TestEgressFailover(t *testing.T) {
	l := NewEgressLab(t)
	l.Describe(t, "n2 n3 n4")
	l.Write(t, "objects.yaml", egressObjects())
	l.Write(t, "policy.yaml", l.Policy("bank", "203.0.113.0/24", "addresses: [198.51.100.7]"))
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, 1)
	client := l.node(t, "n1")
	for _, death := range []struct {
		name  string
		kill  func(*EgressNode)
		mend  func(*EgressNode)
		moves bool
	}{
		{"network", func(n *EgressNode) { n.Cut(t) }, func(n *EgressNode) { n.Mend(t) }, true},
		{"power", func(n *EgressNode) { n.Cut(t); n.Agent.Kill(); n.BFD.Kill() }, func(n *EgressNode) { n.Mend(t); n.Start(t, "--source", "dir:"+l.Manifests) }, true},
		{"agent", func(n *EgressNode) { n.Agent.Kill() }, func(n *EgressNode) { n.StartAgent(t, "--source", "dir:"+l.Manifests) }, false},
	} {
		t.Run(death.name, func(t *testing.T) {
			first := client.owner(t, "198.51.100.7")
			prober := StartProber(t, client.Pod, "udp", partner4)
			time.Sleep(time.Second)
			begin := time.Now()
			death.kill(l.node(t, first))
			time.Sleep(3 * time.Second)
			second := client.owner(t, "198.51.100.7")
			death.mend(l.node(t, first))
			time.Sleep(5 * time.Second)
			probes := prober.Stop(t)
			lost := outage(probes, begin)
			t.Logf("%s then %s: outage %v, sources %v", first, second, lost, sources(probes))
			if lost > time.Second {
				t.Errorf("new connections were lost for %v", lost)
			}
			if now := client.owner(t, "198.51.100.7"); now != second || death.moves == (first == second) {
				t.Errorf("first %s, then %s, now %s", first, second, now)
			}
			l.Settled(t, 1)
		})
	}
}

// TestEgressDrain: the gateway in use is drained. Connections that it has go on, and none that is new is lost; all have the
// same address, whichever gateway the fabric sends the replies to.
func TestEgressDrain(t *testing.T) {
	l := NewEgressLab(t)
	l.Describe(t, "n2 n3 n4")
	l.Write(t, "objects.yaml", egressObjects())
	l.Write(t, "policy.yaml", l.Policy("bank", "203.0.113.0/24", "addresses: [198.51.100.7]"))
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, 1)
	client := l.node(t, "n1")
	first := client.owner(t, "198.51.100.7")
	old, err := nattest.Dial(client.Pod, "tcp", "", partner4)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	probers := []*Prober{StartProber(t, client.Pod, "udp", partner4), StartProber(t, client.Pod, "tcp", partner4)}
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
	second := client.owner(t, "198.51.100.7")
	if second == first || second == "" {
		t.Errorf("new connections go to %q, before to %q", second, first)
	}
	l.Describe(t, "n2 n3 n4") // the drain is over: nothing moves back
	talk(2 * time.Second)
	if now := client.owner(t, "198.51.100.7"); now != second {
		t.Errorf("new connections go to %q after the drain, before to %q", now, second)
	}
	for _, p := range probers {
		if got := sources(p.Stop(t)); len(got) != 1 || got["198.51.100.7"] == 0 {
			t.Errorf("new connections by source: %v", got)
		}
	}
}
