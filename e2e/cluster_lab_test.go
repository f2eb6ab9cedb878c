package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

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
	*nettest.Kube
	// T is the test whose cluster it is: what a story starts and the next one needs ends with this test.
	T            testing.TB
	Host, Router nettest.NS
	FRR          *nettest.FRR
	Nodes        []*ClusterNode
	Controllers  [2]*nettest.Process

	controllerConfig string
}

// ClusterNode is one of its nodes, with one pod.
type ClusterNode struct {
	Name, Address   string
	NS, Pod         nettest.NS
	CIDR, PodAddr   string // allocated
	RunDir          string
	Agent           *nettest.Process
	kubeconfig      string
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
	c := &Cluster{T: t, Host: nettest.New(t, "host"), Router: nettest.New(t, "router")}
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
	c.Kube = nettest.StartKube(t, nettest.Self, kubeAddr)
	c.install(t)
	c.StartControllerManager(t, clusterCIDR)
	for _, n := range c.Nodes {
		c.Register(t, n, "")
	}
	return c
}

// install applies what is shipped, and the objects of this datacenter.
func (c *Cluster) install(t testing.TB) {
	t.Helper()
	c.must(t, "apply", "--server-side", "-k", "../manifests/base")
	c.must(t, "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
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

func (c *Cluster) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Register makes the Node object, waits for its PodCIDR, unless spec has one, and connects its pod as a CNI plugin would, with a rule that
// masquerades it.
func (c *Cluster) Register(t testing.TB, n *ClusterNode, spec string) {
	t.Helper()
	c.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: "+n.Name+", labels: {kubernetes.io/os: linux}}\nspec: {"+spec+"}\n")
	c.must(t, "patch", "node", n.Name, "--subresource=status", "--type=merge", "-p",
		`{"status":{"addresses":[{"type":"InternalIP","address":"`+n.Address+`"}],"conditions":[{"type":"Ready","status":"True","reason":"Test","message":"ready"}]}}`)
	nettest.Eventually(t, 20*time.Second, func() error {
		node, err := c.node(n.Name)
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

func (c *Cluster) node(name string) (node corev1.Node, err error) {
	out, err := c.Kubectl("get", "node", name, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &node)
	}
	return node, err
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

// StartAgent starts the node's agent with the shipped account, and a token as the kubelet makes it for a pod of the node.
func (c *Cluster) StartAgent(t testing.TB, n *ClusterNode) {
	t.Helper()
	if n.kubeconfig == "" {
		c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: waymark-agent-`+n.Name+`, namespace: waymark-system}
spec:
  nodeName: `+n.Name+`
  serviceAccountName: waymark-agent
  containers: [{name: agent, image: waymark}]
`)
		n.kubeconfig = c.Kubeconfig(t, strings.TrimSpace(c.must(t, "create", "token", "waymark-agent", "--namespace=waymark-system",
			"--bound-object-kind=Pod", "--bound-object-name=waymark-agent-"+n.Name)))
	}
	n.Agent = n.NS.Start(t, program(t, "waymark-agent"), "--node", n.Name, "--source", "kube", "--kubeconfig", n.kubeconfig, "--run-dir", n.RunDir)
}

// StartControllers starts the two replicas with the shipped account, and those again that have ended, as the kubelet would: a
// leader that has lost its lease ends. The leases are short.
func (c *Cluster) StartControllers() {
	c.T.Helper()
	if c.controllerConfig == "" {
		c.controllerConfig = c.Kubeconfig(c.T, strings.TrimSpace(c.must(c.T, "create", "token", "waymark-controller", "--namespace=waymark-system")))
	}
	for i, replica := range c.Controllers {
		if replica != nil {
			select {
			case <-replica.Done():
			default:
				continue
			}
		}
		c.Controllers[i] = nettest.Self.Start(c.T, program(c.T, "waymark-controller"), "--kubeconfig", c.controllerConfig,
			"--namespace=waymark-system", "--metrics-address", fmt.Sprintf("127.0.0.1:1808%d", 2*i), "--health-address", fmt.Sprintf("127.0.0.1:1808%d", 2*i+1),
			"--lease-duration=2s", "--renew-deadline=1500ms", "--retry-period=500ms")
	}
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
