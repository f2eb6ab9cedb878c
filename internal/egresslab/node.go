package egresslab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// Write puts a manifest for all nodes into the agents' directory in one step.
func (l *Lab) Write(t testing.TB, name, text string) {
	t.Helper()
	temporary := filepath.Join(l.Manifests, "."+name)
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(l.Manifests, name)); err != nil {
		t.Fatal(err)
	}
}

// Remove takes a manifest out of the directory.
func (l *Lab) Remove(t testing.TB, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(l.Manifests, name)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// Describe writes the Node objects. Each has the number of its network as a label; gateways bear theirs, and a drain label
// where asked.
func (l *Lab) Describe(t testing.TB, gateways string, draining ...string) {
	t.Helper()
	var nodes strings.Builder
	for _, n := range l.Nodes {
		labels := []string{"lan: " + strconv.Quote(n.lan)}
		if strings.Contains(" "+gateways+" ", " "+n.Name+" ") {
			labels = append(labels, "cluster.k8s/egress: enabled")
		}
		for _, name := range draining {
			if name == n.Name {
				labels = append(labels, `waymark.io/drain: "true"`)
			}
		}
		fmt.Fprintf(&nodes, `---
apiVersion: v1
kind: Node
metadata: {name: %s, labels: {%s}, annotations: {waymark.io/tor: %s}}
spec: {podCIDR: %s.0/24, podCIDRs: [%s.0/24, "%s::/64"]}
status: {addresses: [{type: InternalIP, address: %s}, {type: InternalIP, address: "%s"}]}
`, n.Name, strings.Join(labels, ", "), n.router(), n.network4, n.network4, n.network6, n.Address, n.Address6)
	}
	l.Write(t, "nodes.yaml", nodes.String())
}

// Objects are the objects of this datacenter but for nodes and policies.
const Objects = `
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asn: 64513
  gracefulRestart: {restartTime: 60s}
  learn: {accept: [{prefix: 203.0.113.0/24}, {prefix: 10.244.0.0/16, minLength: 24, maxLength: 24}, {prefix: "2001:db8:113::/64"}, {prefix: "fd44::/48", minLength: 64, maxLength: 64}]}
  drain: {timeout: 5s}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec:
  fromNodeAnnotation: waymark.io/tor
  asn: 64512
  allowOwnAS: 1
  timers: {hold: 9s, keepalive: 3s, connectRetry: 1s}
  bfd: {interval: 200ms, multiplier: 3}
---
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec: {cidrs: [198.18.0.0/16, "fd18::/16"], clusterCIDRs: [10.244.0.0/16, "fd44::/48"]}
`

// Policy is an EgressPolicy with a gateway, with these lines in its gateway.
func (l *Lab) Policy(name, destinations string, gateway ...string) string {
	return `---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: ` + name + `}
spec:
  priority: 10
  destinations: [` + destinations + `]
  source: Gateway
  gateway:
    nodeSelector: {matchLabels: {cluster.k8s/egress: enabled}}
    bfd: {interval: 200ms, multiplier: 3}
    ` + strings.Join(gateway, "\n    ") + "\n"
}

// Start starts agent and BFD of a node. Without a source the agent has that of the one before it.
func (n *Node) Start(t testing.TB, source ...string) {
	t.Helper()
	n.StartBFD(t)
	n.StartAgent(t, source...)
}

// StartBFD starts the node's waymark-bfd alone.
func (n *Node) StartBFD(t testing.TB) {
	t.Helper()
	n.BFD = n.NS.Start(t, filepath.Join(n.programs, "waymark-bfd"), "--run-dir", n.RunDir)
}

// StartAgent starts the node's agent alone.
func (n *Node) StartAgent(t testing.TB, source ...string) {
	t.Helper()
	if len(source) > 0 {
		n.source = source
	}
	n.Agent = n.NS.Start(t, filepath.Join(n.programs, "waymark-agent"), append([]string{"--node", n.Name, "--run-dir", n.RunDir}, n.source...)...)
}

// Status asks a node's agent.
func (n *Node) Status(t testing.TB) (agent.Status, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return telemetry.Client{RunDir: n.RunDir}.Status(ctx)
}

// Settled waits until all nodes have their session, and know all gateways of all their egress addresses to be alive.
func (l *Lab) Settled(t testing.TB, addresses int) {
	t.Helper()
	nettest.Eventually(t, 60*time.Second, func() error {
		for _, n := range l.Nodes {
			if err := n.Settled(t, addresses); err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
		}
		return nil
	})
}

// Settled says what the node still lacks, if it does.
func (n *Node) Settled(t testing.TB, addresses int) error {
	s, err := n.Status(t)
	switch {
	case err != nil:
		return err
	case !s.Ready || len(s.Peers) != 1 || s.Peers[0].State != bgp.Established || s.Routes.Settling:
		return fmt.Errorf("not ready: %s %+v", s.NotReady, s.Problems)
	case len(s.Egress) != addresses:
		return fmt.Errorf("%d egress addresses, want %d; problems %v", len(s.Egress), addresses, s.Problems)
	}
	for _, e := range s.Egress {
		if e.Gateway == "" {
			return fmt.Errorf("%v has no gateway: %+v", e.Address, e)
		}
		for _, g := range e.Gateways {
			if g.Health != agent.Alive && g.Health != agent.Returned {
				return fmt.Errorf("%v: gateway %s is %v", e.Address, g.Node, g.Health)
			}
		}
	}
	return nil
}

// Masquerade installs what CNI plugins do: what the node's pods send out of the cluster leaves with the node's address.
func (n *Node) Masquerade(t testing.TB) {
	t.Helper()
	n.NS.Run(t, "nft", fmt.Sprintf("table inet foreign { chain post { type nat hook postrouting priority srcnat; "+
		"ip saddr %s.0/24 ip daddr != 10.244.0.0/16 masquerade; ip6 saddr %s::/64 ip6 daddr != fd44::/48 masquerade; }; }", n.network4, n.network6))
}

// router is the router's address on the node's network.
func (n *Node) router() string { return n.Address[:strings.LastIndex(n.Address, ".")] + ".254" }

// Cut takes the node off the network: its cable is out.
func (n *Node) Cut(t testing.TB) { n.Switch.IP(t, "link set "+n.port+" down") }

// Mend puts the cable back.
func (n *Node) Mend(t testing.TB) { n.Switch.IP(t, "link set "+n.port+" up") }

// Node is the one of a name.
func (l *Lab) Node(t testing.TB, name string) *Node {
	t.Helper()
	for _, n := range l.Nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("no node %q", name)
	return nil
}

// WantSources asks the partner from a node's pod, by TCP and UDP, what it sees.
func (l *Lab) WantSources(t testing.TB, n *Node, want4, want6 string) {
	t.Helper()
	if want4 != "" {
		nattest.WantSource(t, n.Pod, Partner4, want4)
	}
	if want6 != "" {
		nattest.WantSource(t, n.Pod, Partner6, want6)
	}
}

// Owner is the gateway that the node has chosen for an address.
func (n *Node) Owner(t testing.TB, address string) string {
	t.Helper()
	s, err := n.Status(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range s.Egress {
		if e.Address.String() == address {
			return e.Gateway
		}
	}
	return ""
}

// Network4 is the PodCIDR of IPv4.
func (n *Node) Network4() string { return n.network4 + ".0/24" }

// Network6 is the PodCIDR of IPv6.
func (n *Node) Network6() string { return n.network6 + "::/64" }

// MAC is the hardware address of a node's interface.
func (n *Node) MAC(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(n.NS.Run(t, "cat", "/sys/class/net/eth0/address"))
}
