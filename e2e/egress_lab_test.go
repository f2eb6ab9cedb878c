package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// EgressLab is two networks of nodes behind a router, and a partner outside who sees where traffic comes from:
//
//	partner 203.0.113.9 -- router --+-- 198.18.1.254 [bridge lan1] -- n1 198.18.1.1, n2 198.18.1.2
//	                                +-- 198.18.2.254 [bridge lan2] -- n3 198.18.2.3, n4 198.18.2.4
//
// Node n has the pod network 10.244.n.0/24 with one pod at .2, and 2001:db8 and fd addresses alike. Nodes n2, n3 and n4 may
// be gateways. The router is FRR with AS 64512, all nodes have AS 64513. Every node masquerades what its pods send out of
// the cluster, as CNI plugins do.
type EgressLab struct {
	Partner, Router nettest.NS
	FRR             *nettest.FRR
	Nodes           []*EgressNode
	Manifests       string // of all nodes, for agents on files
}

// EgressNode is a node with its pod.
type EgressNode struct {
	Name               string
	Address, Address6  string
	Pod4, Pod6         string
	NS, Pod, Switch    nettest.NS
	RunDir             string
	Agent, BFD         *nettest.Process
	port               string // of the switch
	network4, network6 string // PodCIDRs
}

const (
	partner4, partner6 = "203.0.113.9", "2001:db8:113::9"
	clusterCIDRs       = "10.244.0.0/16, fd44::/48"
)

// NewEgressLab makes the networks; nothing of Waymark runs yet.
func NewEgressLab(t testing.TB) *EgressLab {
	t.Helper()
	l := &EgressLab{Partner: nettest.New(t, "partner"), Router: nettest.New(t, "router"), Manifests: t.TempDir()}
	nettest.Join(t, l.Partner, "eth0", []string{partner4 + "/24", partner6 + "/64"}, l.Router, "wan", []string{"203.0.113.1/24", "2001:db8:113::1/64"})
	l.Partner.IP(t, "route add default via 203.0.113.1")
	l.Partner.IP(t, "route add default via 2001:db8:113::1")
	var neighbors, activate strings.Builder
	for lan := 1; lan <= 2; lan++ {
		bridge := nettest.New(t, fmt.Sprintf("lan%d", lan))
		bridge.IP(t, "link add br0 type bridge forward_delay 0")
		bridge.IP(t, "link set br0 up")
		nettest.Join(t, l.Router, fmt.Sprintf("lan%d", lan), []string{fmt.Sprintf("198.18.%d.254/24", lan), fmt.Sprintf("fd18:%d::fe/64", lan)}, bridge, "router", nil)
		bridge.IP(t, "link set router master br0")
		for i := 2*lan - 1; i <= 2*lan; i++ {
			n := &EgressNode{
				Name: fmt.Sprintf("n%d", i), NS: nettest.New(t, fmt.Sprintf("n%d", i)), Pod: nettest.New(t, fmt.Sprintf("pod%d", i)), Switch: bridge,
				Address: fmt.Sprintf("198.18.%d.%d", lan, i), Address6: fmt.Sprintf("fd18:%d::%d", lan, i), port: fmt.Sprintf("n%d", i),
				network4: fmt.Sprintf("10.244.%d", i), network6: fmt.Sprintf("fd44:0:0:%d", i), RunDir: t.TempDir(),
			}
			n.Pod4, n.Pod6 = n.network4+".2", n.network6+"::2"
			nettest.Join(t, n.NS, "eth0", []string{n.Address + "/24", n.Address6 + "/64"}, bridge, n.port, nil)
			bridge.IP(t, "link set "+n.port+" master br0")
			n.NS.IP(t, fmt.Sprintf("route add default via 198.18.%d.254", lan))
			n.NS.IP(t, fmt.Sprintf("route add default via fd18:%d::fe", lan))
			nettest.Join(t, n.NS, "cni0", []string{n.network4 + ".1/24", n.network6 + "::1/64"}, n.Pod, "eth0", []string{n.Pod4 + "/24", n.Pod6 + "/64"})
			n.Pod.IP(t, "route add default via "+n.network4+".1")
			n.Pod.IP(t, "route add default via "+n.network6+"::1")
			n.NS.Run(t, "nft", fmt.Sprintf("table inet foreign { chain post { type nat hook postrouting priority srcnat; "+
				"ip saddr %s.0/24 ip daddr != 10.244.0.0/16 masquerade; ip6 saddr %s::/64 ip6 daddr != fd44::/48 masquerade; }; }", n.network4, n.network6))
			fmt.Fprintf(&neighbors, " neighbor %[1]s remote-as 64513\n neighbor %[1]s timers connect 1\n neighbor %[1]s bfd 3 200 200\n", n.Address)
			fmt.Fprintf(&activate, "  neighbor %s activate\n", n.Address)
			l.Nodes = append(l.Nodes, n)
		}
	}
	l.FRR = nettest.StartFRR(t, l.Router, true, `
router bgp 64512
 bgp router-id 198.18.1.254
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
`+neighbors.String()+` address-family ipv4 unicast
  network 203.0.113.0/24
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:113::/64
`+activate.String()+` exit-address-family
exit
`)
	for _, addr := range []string{partner4, partner6} {
		nattest.TellSource(t, l.Partner, addr)
	}
	return l
}

// Write puts a manifest for all nodes into the agents' directory in one step.
func (l *EgressLab) Write(t testing.TB, name, text string) {
	t.Helper()
	temporary := filepath.Join(l.Manifests, "."+name)
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(l.Manifests, name)); err != nil {
		t.Fatal(err)
	}
}

// Describe writes the Node objects; gateways bear the label, and a drain label where asked.
func (l *EgressLab) Describe(t testing.TB, gateways string, draining ...string) {
	t.Helper()
	var nodes strings.Builder
	for _, n := range l.Nodes {
		labels := []string{}
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

// egressObjects are the objects of this datacenter but for nodes and policies with a gateway.
func egressObjects() string {
	return `
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
spec: {cidrs: [198.18.0.0/16, "fd18::/16"], clusterCIDRs: [` + strings.ReplaceAll(clusterCIDRs, "fd44::/48", `"fd44::/48"`) + `]}
`
}

// Policy is an EgressPolicy with a gateway, with these lines in its gateway.
func (l *EgressLab) Policy(name, destinations string, gateway ...string) string {
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

// Start starts agent and BFD of a node.
func (n *EgressNode) Start(t testing.TB, source ...string) {
	t.Helper()
	n.BFD = n.NS.Start(t, program(t, "waymark-bfd"), "--run-dir", n.RunDir)
	n.StartAgent(t, source...)
}

// StartAgent starts the node's agent alone.
func (n *EgressNode) StartAgent(t testing.TB, source ...string) {
	t.Helper()
	n.Agent = n.NS.Start(t, program(t, "waymark-agent"), append([]string{"--node", n.Name, "--run-dir", n.RunDir}, source...)...)
}

// Status asks a node's agent.
func (n *EgressNode) Status(t testing.TB) (agent.Status, error) {
	t.Helper()
	return telemetry.Client{RunDir: n.RunDir}.Status(t.Context())
}

// Settled waits until all nodes have their session, and know all gateways of all their egress addresses to be alive.
func (l *EgressLab) Settled(t testing.TB, addresses int) {
	t.Helper()
	nettest.Eventually(t, 60*time.Second, func() error {
		for _, n := range l.Nodes {
			if err := n.settled(t, addresses); err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
		}
		return nil
	})
}

func (n *EgressNode) settled(t testing.TB, addresses int) error {
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

// router is the router's address on the node's network.
func (n *EgressNode) router() string { return n.Address[:strings.LastIndex(n.Address, ".")] + ".254" }

// Cut takes the node off the network: its cable is out.
func (n *EgressNode) Cut(t testing.TB) { n.Switch.IP(t, "link set "+n.port+" down") }

// Mend puts the cable back.
func (n *EgressNode) Mend(t testing.TB) { n.Switch.IP(t, "link set "+n.port+" up") }

// node is the one of a name.
func (l *EgressLab) node(t testing.TB, name string) *EgressNode {
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
func (l *EgressLab) WantSources(t testing.TB, n *EgressNode, want4, want6 string) {
	t.Helper()
	if want4 != "" {
		nattest.WantSource(t, n.Pod, partner4, want4)
	}
	if want6 != "" {
		nattest.WantSource(t, n.Pod, partner6, want6)
	}
}

// owner is the gateway that the node has chosen for an address.
func (n *EgressNode) owner(t testing.TB, address string) string {
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

// neighbours watches who answers for addresses on the network of n1 and n2, asked by the router.
type neighbours struct {
	router nettest.NS
	dump   *nettest.Process
}

func (l *EgressLab) watchNeighbours(t testing.TB) *neighbours {
	t.Helper()
	n := &neighbours{l.Router, l.Router.Start(t, "tcpdump", "-elvni", "lan1", "arp[6:2] == 2 or icmp6[icmp6type] == icmp6-neighboradvert")}
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(n.dump.Output(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet: %s", n.dump.Output())
		}
		return nil
	})
	return n
}

// ask makes the router ask who has an address, and returns the MACs that answered.
func (n *neighbours) ask(t testing.TB, address string) []string {
	t.Helper()
	before := len(n.dump.Output())
	_, _ = n.router.Try("ip", "neigh", "del", address, "dev", "lan1")
	_, _ = n.router.Try("ping", "-c1", "-W0.3", address)
	var macs []string
	// Of IPv6 the header is in the line before, with the target in one of its own.
	for _, packet := range strings.Split(n.dump.Output()[before:], "ethertype ")[1:] {
		if !strings.Contains(packet, address+" is-at") && !strings.Contains(packet, "tgt is "+address) && !strings.Contains(packet, "tgt is "+address+",") {
			continue
		}
		if match := linkAddress.FindStringSubmatch(packet); match != nil && !slices.Contains(macs, match[1]) {
			macs = append(macs, match[1])
		}
	}
	return macs
}

var linkAddress = regexp.MustCompile(`(?:is-at|link-address option \(2\), length 8 \(1\):) ([0-9a-f:]{17})`)

// mac is the hardware address of a node's interface.
func (n *EgressNode) mac(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(n.NS.Run(t, "cat", "/sys/class/net/eth0/address"))
}
