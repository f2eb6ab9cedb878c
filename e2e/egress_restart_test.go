package e2e

import (
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
)

// TestEgressRestart: on the node of the pods and on the gateway in use the agent is stopped, killed and replaced together with
// waymark-bfd. Connections go on, none that is new is lost, and the owner stays.
func TestEgressRestart(t *testing.T) {
	l := newEgressLab(t)
	const address4, address6 = "198.51.100.7", "2001:db8:51::7"
	startEgress(t, l, "n2 n3 n4", 2, l.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: [`+address4+`, "`+address6+`"]`))
	client := l.Node(t, "n1")
	for _, c := range []struct {
		name    string
		restart func(n *egresslab.Node)
	}{
		{"agent stopped", func(n *egresslab.Node) { _ = n.Agent.Stop(); n.StartAgent(t) }},
		{"agent killed", func(n *egresslab.Node) { n.Agent.Kill(); n.StartAgent(t) }},
		{"agent away for a while", func(n *egresslab.Node) { n.Agent.Kill(); time.Sleep(2 * time.Second); n.StartAgent(t) }},
		{"both replaced", func(n *egresslab.Node) {
			_ = n.Agent.Stop()
			_ = n.BFD.Stop()
			n.Start(t)
		}},
	} {
		for _, place := range []string{"pod's node", "gateway"} {
			t.Run(c.name+" on the "+place, func(t *testing.T) {
				owners := [2]string{client.Owner(t, address4), client.Owner(t, address6)}
				n := client
				if place == "gateway" {
					n = l.Node(t, owners[0])
				}
				probes := map[string]*egresslab.Prober{
					address4: egresslab.StartProber(t, client.Pod, "udp", egresslab.Partner4, probeInterval),
					address6: egresslab.StartProber(t, client.Pod, "tcp", egresslab.Partner6, probeInterval),
				}
				stop := talk(t, client, address4)
				time.Sleep(300 * time.Millisecond)
				c.restart(n)
				time.Sleep(time.Second)
				l.Settled(t, 2)
				time.Sleep(time.Second)
				stop()
				for address, p := range probes {
					onlySources(t, p.Stop(), address)
				}
				if now := [2]string{client.Owner(t, address4), client.Owner(t, address6)}; now != owners {
					t.Errorf("owners %v, before %v", now, owners)
				}
			})
		}
	}
}

// talk asks over one connection of a node's pod again and again what source the partner sees, until stop is called.
func talk(t testing.TB, n *egresslab.Node, want string) (stop func()) {
	t.Helper()
	conn, err := nattest.Dial(n.Pod, "tcp", "", egresslab.Partner4)
	if err != nil {
		t.Fatal(err)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer conn.Close()
		for {
			select {
			case <-end:
				return
			case <-time.After(probeInterval):
			}
			begin := time.Now()
			source, err := nattest.Ask(conn)
			if err != nil || source != want {
				t.Errorf("connection from before: source %q, %v", source, err)
				return
			}
			if took := time.Since(begin); took > 150*time.Millisecond {
				t.Errorf("connection from before: an answer took %v: a packet was lost", took)
			}
		}
	}()
	return func() { close(end); <-ended }
}
