package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// Cluster is a real control plane and nodes beside a router, all on one network:
//
//	host 192.0.2.2 -- 192.0.2.1 router 198.18.0.1 --+-- 198.18.0.11 n1 .1 -- .2 pod1
//	                                                +-- 198.18.0.12 n2 .1 -- .2 pod2
//	control plane 198.18.0.254 ---------------------+-- 198.18.0.13 n3 .1 -- .2 pod3
//
// The control plane and the bridge are in the namespace of the test. The router, FRR, has AS 64512 and announces the host's
// network; the nodes share AS 64513. PodCIDRs are allocated by the controller manager.
type Cluster struct {
	*ControlPlane
	Host, Router nettest.NS
	FRR          *nettest.FRR
	Nodes        []*ClusterNode
}

// ClusterNode is one of its nodes, with one pod.
type ClusterNode struct {
	Name, Address   string
	NS, Pod         nettest.NS
	CIDR, PodAddr   string // allocated
	RunDir          string
	Agent           *nettest.Process
	podNetworkReady bool
}

const (
	clusterCIDR = "10.244.0.0/16"
	kubeAddr    = "198.18.0.254"
)

// NewCluster makes network and control plane, installs Waymark's base and its objects, and registers the nodes. Nothing of
// Waymark runs yet.
func NewCluster(t testing.TB, nodes int) *Cluster {
	t.Helper()
	c := &Cluster{Host: nettest.New(t, "host"), Router: nettest.New(t, "router")}
	nettest.Self.IP(t, "link add fabric type bridge")
	t.Cleanup(func() { _, _ = nettest.Self.Try("ip", "link", "del", "fabric") })
	nettest.Self.IP(t, "addr add "+kubeAddr+"/24 dev fabric")
	nettest.Self.IP(t, "link set fabric up")
	nettest.Join(t, c.Host, "eth0", []string{hostAddr + "/24"}, c.Router, "lan", []string{"192.0.2.1/24"})
	c.Host.IP(t, "route add default via 192.0.2.1")
	plug := func(ns nettest.NS, dev, port, addr string) {
		nettest.Join(t, ns, dev, []string{addr + "/24"}, nettest.Self, port, nil)
		nettest.Self.IP(t, "link set "+port+" master fabric")
	}
	plug(c.Router, "fabric", "p-router", routerAddr)
	neighbors := ""
	for i := range nodes {
		n := &ClusterNode{
			Name: fmt.Sprintf("n%d", i+1), Address: fmt.Sprintf("198.18.0.%d", 11+i), RunDir: t.TempDir(),
			NS: nettest.New(t, fmt.Sprintf("n%d", i+1)), Pod: nettest.New(t, fmt.Sprintf("pod%d", i+1)),
		}
		plug(n.NS, "eth0", "p-"+n.Name, n.Address)
		neighbors += fmt.Sprintf(" neighbor %s remote-as 64513\n neighbor %s timers connect 1\n", n.Address, n.Address)
		c.Nodes = append(c.Nodes, n)
	}
	c.FRR = nettest.StartFRR(t, c.Router, false, `
router bgp 64512
 bgp router-id `+routerAddr+`
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
`+neighbors+` address-family ipv4 unicast
  network 192.0.2.0/24
 exit-address-family
exit
`)
	c.ControlPlane = NewControlPlane(t, kubeAddr, clusterCIDR)
	c.describe(t)
	for _, n := range c.Nodes {
		c.Register(t, n, "")
	}
	return c
}

// describe applies the objects of this datacenter.
func (c *Cluster) describe(t testing.TB) {
	t.Helper()
	c.Apply(t, `
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asn: 64513
  gracefulRestart: {restartTime: 60s}
  learn: {accept: [{prefix: 192.0.2.0/24}, {prefix: 10.244.0.0/16, minLength: 24, maxLength: 24}]}
  drain: {timeout: 5s}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {address: `+routerAddr+`, asn: 64512, allowOwnAS: 1, timers: {hold: 9s, keepalive: 3s, connectRetry: 1s}}
---
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec: {cidrs: [192.0.2.0/24, 198.18.0.0/24], clusterCIDRs: [`+clusterCIDR+`]}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: datacenter-sees-pods}
spec: {destinationsFrom: DatacenterNetwork, source: Pod}
`)
}

// Register makes the Node object, waits for its PodCIDR, unless spec has one, and connects its pod as a CNI plugin would, with a rule that
// masquerades it.
func (c *Cluster) Register(t testing.TB, n *ClusterNode, spec string) {
	t.Helper()
	c.AddNode(t, n.Name, "kubernetes.io/os: linux", "", spec, n.Address)
	nettest.Eventually(t, 20*time.Second, func() error {
		node, err := c.nodeObject(n.Name)
		if err == nil && node.Spec.PodCIDR == "" {
			err = fmt.Errorf("node %s has no PodCIDR yet", n.Name)
		}
		if err == nil {
			n.CIDR = node.Spec.PodCIDR
		}
		return err
	})
	n.connectPod(t)
}

func (n *ClusterNode) connectPod(t testing.TB) {
	t.Helper()
	network := strings.TrimSuffix(n.CIDR, "0/24")
	if n.podNetworkReady {
		n.NS.IP(t, "link del cni0")
		n.NS.Run(t, "nft", "delete table ip foreign")
	}
	n.podNetworkReady = true
	n.PodAddr = network + "2"
	nettest.Join(t, n.NS, "cni0", []string{network + "1/24"}, n.Pod, "eth0", []string{n.PodAddr + "/24"})
	n.Pod.IP(t, "route add default via "+network+"1")
	n.NS.Run(t, "nft", "add table ip foreign; add chain ip foreign post { type nat hook postrouting priority srcnat; }; "+
		"add rule ip foreign post ip saddr "+n.CIDR+" ip daddr != "+clusterCIDR+" masquerade")
}

// StartAgent starts the node's agent with its account.
func (c *Cluster) StartAgent(t testing.TB, n *ClusterNode) {
	t.Helper()
	n.Agent = n.NS.Start(t, program(t, "waymark-agent"), "--node", n.Name, "--source", "kube", "--kubeconfig", c.AgentConfig(t, n.Name), "--run-dir", n.RunDir)
}

// Status asks a node's agent.
func (n *ClusterNode) Status(t testing.TB) (agent.Status, error) {
	t.Helper()
	return telemetry.Client{RunDir: n.RunDir}.Status(t.Context())
}

// Reachable waits until the outside host reaches the node's pod, and the pod is seen there with its own address.
func (c *Cluster) Reachable(t testing.TB, n *ClusterNode) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		_, err := c.Host.Try("ping", "-c1", "-W1", n.PodAddr)
		return err
	})
	capture := filepath.Join(t.TempDir(), "capture")
	dump := c.Host.Start(t, "tcpdump", "-U", "-c1", "-ni", "eth0", "-w", capture, "icmp[icmptype] == icmp-echo and src "+n.PodAddr)
	nettest.Eventually(t, 10*time.Second, func() error {
		_, err := n.Pod.Try("ping", "-c1", "-W1", hostAddr)
		if err != nil {
			return err
		}
		select {
		case <-dump.Done():
			return nil
		default:
			return fmt.Errorf("the outside host has not seen %s", n.PodAddr)
		}
	})
}

// Withdrawn waits until nobody reaches a prefix any more.
func (c *Cluster) Withdrawn(t testing.TB, prefix string) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		out, err := c.FRR.Vtysh("show bgp ipv4 unicast " + prefix)
		if err == nil && !strings.Contains(out, "not in table") {
			err = fmt.Errorf("the router still has %s: %s", prefix, out)
		}
		return err
	})
}
