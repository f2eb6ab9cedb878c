// Package egresslab is a small datacenter in namespaces for tests and measurements of egress gateways: nodes in two networks
// behind a router, and a partner outside who tells what reaches it.
package egresslab

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// Lab is two networks of nodes behind a router, and a partner outside who sees where traffic comes from:
//
//	partner 203.0.113.9 -- router --+-- 198.18.1.254 [bridge lan1] -- n1 198.18.1.1, n2 198.18.1.2
//	                                +-- 198.18.2.254 [bridge lan2] -- n3 198.18.2.3, n4 198.18.2.4
//
// Node n has the pod network 10.244.n.0/24 with one pod at .2, and 2001:db8 and fd addresses alike. Nodes n2, n3 and n4 may
// be gateways. The router is FRR with AS 64512, all nodes have AS 64513. Every node masquerades what its pods send out of
// the cluster, as CNI plugins do.
type Lab struct {
	Partner, Router nettest.NS
	FRR             *nettest.FRR
	Nodes           []*Node
	Manifests       string // directory of all nodes' objects, for agents on files
	programs        string // directory of ours
}

// Node is a node with its pod.
type Node struct {
	Name               string
	Address, Address6  string
	Pod4, Pod6         string
	NS, Pod, Switch    nettest.NS
	RunDir             string
	Agent, BFD         *nettest.Process
	programs, lan      string
	source             []string // arguments of the agent
	port               string   // of the switch
	network4, network6 string   // PodCIDRs
}

// The addresses of the partner, who tells at both what source a connection has.
const Partner4, Partner6 = "203.0.113.9", "2001:db8:113::9"

// New makes the networks; nothing of Waymark runs yet. Programs is the directory that it is to be started from.
func New(t testing.TB, programs string) *Lab {
	t.Helper()
	l := &Lab{Partner: nettest.New(t, "partner"), Router: nettest.New(t, "router"), Manifests: t.TempDir(), programs: programs}
	nettest.Join(t, l.Partner, "eth0", []string{Partner4 + "/24", Partner6 + "/64"}, l.Router, "wan", []string{"203.0.113.1/24", "2001:db8:113::1/64"})
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
			n := &Node{
				Name: fmt.Sprintf("n%d", i), NS: nettest.New(t, fmt.Sprintf("n%d", i)), Pod: nettest.New(t, fmt.Sprintf("pod%d", i)), Switch: bridge,
				Address: fmt.Sprintf("198.18.%d.%d", lan, i), Address6: fmt.Sprintf("fd18:%d::%d", lan, i), port: fmt.Sprintf("n%d", i),
				network4: fmt.Sprintf("10.244.%d", i), network6: fmt.Sprintf("fd44:0:0:%d", i), RunDir: t.TempDir(), programs: programs, lan: strconv.Itoa(lan),
			}
			n.Pod4, n.Pod6 = n.network4+".2", n.network6+"::2"
			nettest.Join(t, n.NS, "eth0", []string{n.Address + "/24", n.Address6 + "/64"}, bridge, n.port, nil)
			bridge.IP(t, "link set "+n.port+" master br0")
			n.NS.IP(t, fmt.Sprintf("route add default via 198.18.%d.254", lan))
			n.NS.IP(t, fmt.Sprintf("route add default via fd18:%d::fe", lan))
			nettest.Join(t, n.NS, "cni0", []string{n.network4 + ".1/24", n.network6 + "::1/64"}, n.Pod, "eth0", []string{n.Pod4 + "/24", n.Pod6 + "/64"})
			n.Pod.IP(t, "route add default via "+n.network4+".1")
			n.Pod.IP(t, "route add default via "+n.network6+"::1")
			n.Masquerade(t)
			fmt.Fprintf(&neighbors, " neighbor %[1]s remote-as 64513\n neighbor %[1]s timers connect 1\n neighbor %[1]s passive\n neighbor %[1]s bfd 3 200 200\n", n.Address)
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
	for _, addr := range []string{Partner4, Partner6} {
		nattest.TellSource(t, l.Partner, addr)
	}
	return l
}
