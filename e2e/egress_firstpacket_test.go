package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestEgressFirstPacket: pods start in a row and send at once, while agents are killed and policies come and go. Nothing
// arrives at the partner with another source than the egress address.
func TestEgressFirstPacket(t *testing.T) {
	l := newEgressLab(t)
	const address4, address6 = "198.51.100.7", "2001:db8:51::7"
	bank := l.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: [`+address4+`, "`+address6+`"]`)
	startEgress(t, l, "n2 n3", 2, bank)
	asked := "(dst host " + egresslab.Partner4 + " or dst host " + egresslab.Partner6 + ") and dst port " + nattest.Port
	strangers := l.Partner.Start(t, "tcpdump", "--immediate-mode", "-lni", "eth0",
		"(tcp or udp) and "+asked+" and not src host "+address4+" and not src host "+address6)
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(strangers.Output(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet: %s", strangers.Output())
		}
		return nil
	})

	const pods = 50
	var asking sync.WaitGroup
	for i := range pods {
		n := l.Nodes[i%2] // on a gateway every other one
		pod := startPod(t, n, i)
		for _, network := range []string{"tcp", "udp"} {
			for to, want := range map[string]string{egresslab.Partner4: address4, egresslab.Partner6: address6} {
				asking.Go(func() {
					if got, err := nattest.Seen(pod, network, "", to); err != nil || got != want {
						t.Errorf("%s to %s over %s: source %q, want %s; %v", pod, to, network, got, want, err)
					}
				})
			}
		}
		switch i {
		case pods / 3:
			for _, n := range l.Nodes[:2] {
				n.Agent.Kill()
				n.StartAgent(t)
			}
		case pods / 2:
			writePolicies(t, l, bank, l.Policy("other", "192.0.2.0/24", "addresses: [198.51.100.8]"))
		case pods * 2 / 3:
			writePolicies(t, l, bank)
		}
	}
	asking.Wait()
	if lines := strings.Split(strangers.Output(), "\n"); len(lines) > 3 {
		t.Errorf("packets with another source arrived at the partner:\n%s", strings.Join(lines, "\n"))
	}
}

// startPod makes a pod with the next addresses of the node's networks, on a veth of its own with host routes.
func startPod(t testing.TB, n *egresslab.Node, number int) nettest.NS {
	t.Helper()
	name := fmt.Sprintf("new%d", number)
	pod := nettest.New(t, name)
	nettest.Join(t, n.NS, name, []string{"169.254.1.1/32", "fe80::1/64"}, pod, "eth0",
		[]string{fmt.Sprintf("%s.%d/32", strings.TrimSuffix(n.Pod4, ".2"), 100+number), fmt.Sprintf("%s::%d/128", strings.TrimSuffix(n.Pod6, "::2"), 100+number)})
	pod.IP(t, "route add 169.254.1.1 dev eth0")
	pod.IP(t, "route add default via 169.254.1.1")
	pod.IP(t, "route add default via fe80::1 dev eth0")
	n.NS.IP(t, fmt.Sprintf("route add %s.%d dev %s", strings.TrimSuffix(n.Pod4, ".2"), 100+number, name))
	n.NS.IP(t, fmt.Sprintf("route add %s::%d dev %s", strings.TrimSuffix(n.Pod6, "::2"), 100+number, name))
	return pod
}
