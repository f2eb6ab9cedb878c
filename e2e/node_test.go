package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestNodeAnnotations: one node has an ASN, a router ID and a peer of its own, said on the Node object; a peer for another
// rack is none of its business.
func TestNodeAnnotations(t *testing.T) {
	l := NewLab(t)
	bird := nettest.StartBIRD(t, l.Router, strings.Replace(routerBIRD(""), "as 64513", "as 64777", 1))
	l.Write(t, "node.yaml", `
apiVersion: v1
kind: Node
metadata:
  name: node
  labels: {rack: a}
  annotations: {waymark.io/asn: "64777", waymark.io/router-id: 192.0.2.77, waymark.io/tor: `+routerAddr+`}
spec: {podCIDR: `+podCIDR+`}
status: {addresses: [{type: InternalIP, address: `+nodeAddr+`}]}
`)
	l.Accept(t, "{prefix: 192.0.2.0/24}")
	peer := "apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: %s}\nspec: {%s, asn: 64512, nodeSelector: {matchLabels: {rack: %s}}, timers: {connectRetry: 1s}}\n"
	l.Write(t, "peers.yaml", fmt.Sprintf(peer, "tor", "fromNodeAnnotation: waymark.io/tor", "a")+"---\n"+
		fmt.Sprintf(peer, "elsewhere", "address: 198.18.0.77", "b"))
	begin := time.Now()
	l.Agent(t)
	l.Settled(t, begin)
	nettest.Eventually(t, 10*time.Second, func() error {
		out, err := bird.Birdc("show protocols all node")
		if err == nil && (!strings.Contains(out, "Neighbor ID:      192.0.2.77") || !strings.Contains(out, "Neighbor AS:      64777")) {
			err = fmt.Errorf("the router sees %s", out)
		}
		return err
	})
	reachable(t, l)
}

// TestDualStack: a node with two PodCIDRs tells both over its one session. The outside host and the pod reach each other
// by their own addresses in both families, a foreign masquerade notwithstanding.
func TestDualStack(t *testing.T) {
	const host6, pod6 = "2001:db8:1::2", "2001:db8:3::2"
	l := NewLab(t)
	for ns, lines := range map[nettest.NS][]string{
		l.Host:   {"addr add " + host6 + "/64 dev eth0 nodad", "route add default via 2001:db8:1::1"},
		l.Router: {"addr add 2001:db8:1::1/64 dev lan nodad", "addr add 2001:db8:2::1/64 dev fabric nodad"},
		l.Node:   {"addr add 2001:db8:2::2/64 dev eth0 nodad", "addr add 2001:db8:3::1/64 dev cni0 nodad"},
		l.Pod:    {"addr add " + pod6 + "/64 dev eth0 nodad", "route add default via 2001:db8:3::1"},
	} {
		for _, line := range lines {
			ns.IP(t, line)
		}
	}
	l.Node.Run(t, "nft", "add table ip6 foreign; add chain ip6 foreign post { type nat hook postrouting priority srcnat; }; "+
		"add rule ip6 foreign post ip6 saddr 2001:db8:3::/64 masquerade")
	config := strings.NewReplacer(
		"protocol direct { ipv4;", "protocol direct { ipv4; ipv6;",
		"protocol bfd", "protocol kernel { ipv6 { export where source = RTS_BGP; }; }\nprotocol bfd",
		"  ipv4 { import all;", "  ipv6 { import all; export where source = RTS_DEVICE; };\n  ipv4 { import all;",
	).Replace(routerBIRD(""))
	nettest.StartBIRD(t, l.Router, config)
	l.Write(t, "node.yaml", `
apiVersion: v1
kind: Node
metadata: {name: node}
spec: {podCIDR: `+podCIDR+`, podCIDRs: [`+podCIDR+`, "2001:db8:3::/64"]}
status: {addresses: [{type: InternalIP, address: `+nodeAddr+`}, {type: InternalIP, address: "2001:db8:2::2"}]}
`)
	l.Write(t, "sources.yaml", strings.Replace(`
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: outside-sees-pods}
spec: {destinations: [192.0.2.0/24, "HOST6/64"], source: Pod}
`, "HOST6", "2001:db8:1::", 1))
	l.Speak(t)
	l.Accept(t, `{prefix: 192.0.2.0/24}, {prefix: "2001:db8:1::/64"}`)
	l.Agent(t)
	nettest.Eventually(t, 20*time.Second, func() error {
		for ns, to := range map[nettest.NS]string{l.Host: pod6, l.Pod: host6} {
			if _, err := ns.Try("ping", "-c1", "-W1", to); err != nil {
				return err
			}
		}
		return nil
	})
	reachable(t, l)
	stream := StartStream(t, l.Host, host6, l.Pod, pod6)
	nettest.Eventually(t, 10*time.Second, func() error {
		out, err := l.Node.Try("conntrack", "-L", "-f", "ipv6", "-p", "udp")
		if err == nil && (!strings.Contains(out, pod6) || strings.Contains(out, "UNREPLIED")) {
			err = fmt.Errorf("no packets cross the node both ways: %s", out)
		}
		return err
	})
	stream.Stop(t)
}
