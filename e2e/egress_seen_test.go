package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestEgressIsSeen: what a failover has cost stands in the status of the node that has lost connections, and the gateway
// counts the ports that they have.
func TestEgressIsSeen(t *testing.T) {
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
	prober := egresslab.StartProber(t, client.Pod, "udp", egresslab.Partner4, probeInterval)
	time.Sleep(time.Second)
	s, err := client.Status(t)
	if err != nil {
		t.Fatal(err)
	}
	start := s.Egress[0] // what the nodes did while they began
	begin := time.Now()
	l.Node(t, first).Cut(t)
	time.Sleep(3 * time.Second)
	second := l.Node(t, client.Owner(t, "198.51.100.7"))
	lost := egresslab.Outage(prober.Stop(), begin, probeInterval)

	if s, err = client.Status(t); err != nil {
		t.Fatal(err)
	}
	e := s.Egress[0]
	e.Failovers, e.Outage = e.Failovers-start.Failovers, e.Outage-start.Outage
	if f := e.LastFailover; e.Failovers != 1 || f == nil || f.From != first || f.To != second.Name || f.Outage != e.Outage {
		t.Fatalf("%s then %s: %+v %+v", first, second.Name, e, f)
	}
	t.Logf("outage %v, by the node's account %v", lost, e.Outage)
	if d := e.Outage - lost; d.Abs() > 250*time.Millisecond { // an interval of BFD, and what the fabric takes
		t.Errorf("the node says that %v were lost; it was %v", e.Outage, lost)
	}
	nettest.Eventually(t, 60*time.Second, func() error {
		s, err := second.Status(t)
		if err != nil {
			return err
		}
		if len(s.Ports) != 1 || len(s.Ports[0].Busiest) == 0 || !strings.HasPrefix(s.Ports[0].Busiest[0].String(), "udp "+egresslab.Partner4) || s.Ports[0].Busiest[0].Connections < 100 {
			return fmt.Errorf("ports in use: %+v", s.Ports)
		}
		return nil
	})
	for node, want := range map[*egresslab.Node]string{client: " uses it ", second: " owner, uses it "} {
		out := node.NS.Run(t, program(t, "waymark"), "status", "--run-dir", node.RunDir)
		t.Log(out)
		if _, section, _ := strings.Cut(out, "EGRESS ADDRESS"); !strings.Contains(section, want) || !strings.Contains(section, first+" dead") {
			t.Errorf("%s: no %q, or %s is not dead:\n%s", node.Name, want, first, out)
		}
	}
}
