package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// The network: all are on one bridge in this process's own namespace, where the control plane is too.
const (
	fabric     = "fabric"
	routerAddr = "198.18.0.1"
	kubeAddr   = "198.18.0.254"
	routerASN  = 64512
	nodeASN    = 64513
	podNetwork = "10.64.0.0/10"
)

func nodeName(i int) string    { return fmt.Sprintf("node-%04d", i) }
func nodeAddress(i int) string { return fmt.Sprintf("198.18.%d.%d", 1+i/250, 1+i%250) }

// podCIDR of a node: as many /24 as there are in podNetwork.
func podCIDR(i int) string {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + i>>8), byte(i), 0}), 24).String()
}

// startFabric makes the bridge.
func startFabric(s *measure.Scope) {
	nettest.Self.IP(s, "link add "+fabric+" type bridge")
	s.Cleanup(func() { _, _ = nettest.Self.Try("ip", "link", "del", fabric) })
	nettest.Self.IP(s, "addr add "+kubeAddr+"/16 dev "+fabric)
	nettest.Self.IP(s, "link set "+fabric+" up")
}

// host makes a namespace on the bridge.
func host(s *measure.Scope, name, address string) nettest.NS {
	ns := nettest.New(s, name)
	port := "p-" + name
	nettest.Join(s, ns, "eth0", []string{address + "/16"}, nettest.Self, port, nil)
	nettest.Self.IP(s, "link set "+port+" master "+fabric)
	return ns
}

// frrConfig is a reflector that takes every node, and tells the nodes of each other by eBGP: they allow their own AS.
const frrConfig = `
router bgp 64512
 bgp router-id ` + routerAddr + `
 no bgp ebgp-requires-policy
 bgp listen limit 1000
 neighbor nodes peer-group
 neighbor nodes remote-as 64513
 bgp listen range 198.18.0.0/16 peer-group nodes
exit
`

// bgpObjects are how all nodes speak, with a router of this AS.
func bgpObjects(asn int) string {
	return fmt.Sprintf(`
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asn: %d
  learn: {accept: [{prefix: %s, minLength: 24, maxLength: 24}]}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {address: %s, asn: %d, allowOwnAS: 1, timers: {connectRetry: 1s}}
---
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec: {cidrs: [192.0.2.0/24, 198.18.0.0/16], clusterCIDRs: [%s]}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: datacenter-sees-pods}
spec: {destinationsFrom: DatacenterNetwork, source: Pod}
`, nodeASN, podNetwork, routerAddr, asn, podNetwork)
}

// clusterObjects are besides: a policy for which the agents watch their own pods and the namespaces, and a role for labels.
const clusterObjects = `
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: some-pods}
spec:
  priority: 10
  pods: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bench}}, podSelector: {matchLabels: {app: app-1}}}
  destinations: [203.0.113.0/24]
  source: Node
---
apiVersion: waymark.io/v1alpha1
kind: NodeRole
metadata: {name: egress}
spec:
  label: {key: ` + roleLabel + `}
  nodeSelector: {matchLabels: {` + candidateLabel + `: "yes"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: bench}
`

const (
	roleLabel      = "cluster.k8s/egress"
	candidateLabel = "example.com/egress"
)

const agents = 10 // nodes that have one

// cluster is a control plane with what is shipped, and nodes of which the first have agents.
type cluster struct {
	*nettest.Kube
	client     client.WithWatch // may do everything
	audit      string           // the log of the agents' requests
	nodes      []nettest.NS
	runDirs    []string
	configs    []string // kubeconfigs of the agents
	agents     []*nettest.Process
	controller *nettest.Process
}

// newCluster starts the control plane and a router, and makes the nodes that will have agents.
func newCluster(s *measure.Scope) *cluster {
	startFabric(s)
	nettest.StartFRR(s, host(s, "router", routerAddr), false, frrConfig)
	c := &cluster{audit: s.TempDir() + "/audit"}
	c.Kube = nettest.StartKube(s, nettest.Self, kubeAddr, "--audit-log-path", c.audit, "--audit-policy-file", auditPolicy(s))
	api, err := clientcmd.BuildConfigFromFlags("", c.Admin)
	s.Check(err, "read a kubeconfig")
	api.QPS = -1
	scheme := runtime.NewScheme()
	s.Check(corev1.AddToScheme(scheme), "learn kinds")
	s.Check(v1alpha1.AddToScheme(scheme), "learn kinds")
	c.client, err = client.NewWithWatch(api, client.Options{Scheme: scheme})
	s.Check(err, "make a client")
	c.must(s, "apply", "--server-side", "-k", "manifests/base")
	c.must(s, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	c.Apply(s, bgpObjects(routerASN)+clusterObjects)
	c.makeNodes(s, 0, agents)
	for i := range agents {
		c.nodes = append(c.nodes, host(s, nodeName(i), nodeAddress(i)))
		c.runDirs = append(c.runDirs, s.TempDir())
		pod := "waymark-agent-" + nodeName(i)
		c.Apply(s, `
apiVersion: v1
kind: Pod
metadata: {name: `+pod+`, namespace: waymark-system}
spec: {nodeName: `+nodeName(i)+`, serviceAccountName: waymark-agent, containers: [{name: agent, image: waymark}]}
`)
		c.configs = append(c.configs, c.token(s, "waymark-agent", "--bound-object-kind=Pod", "--bound-object-name="+pod))
	}
	return c
}

func (c *cluster) must(s *measure.Scope, args ...string) string {
	out, err := c.Kubectl(args...)
	s.Check(err, "control plane")
	return out
}

// token is a kubeconfig of one of the shipped accounts.
func (c *cluster) token(s *measure.Scope, account string, flags ...string) string {
	token := c.must(s, append([]string{"create", "token", account, "--namespace=waymark-system", "--duration=4h"}, flags...)...)
	return c.Kubeconfig(s, strings.TrimSpace(token))
}

// startController starts the controller, or another in the place of the one that works, and waits until it has read all.
func (c *cluster) startController(s *measure.Scope) {
	if c.controller != nil {
		_ = c.controller.Stop()
	}
	const health = "127.0.0.1:9472"
	c.controller = nettest.Self.Start(s, "bin/waymark-controller", "--kubeconfig", c.token(s, "waymark-controller"), "--health-address", health)
	nettest.Eventually(s, time.Minute, func() error {
		_, err := nettest.Self.Try("curl", "-sSf", "--max-time", "2", "http://"+health+"/readyz")
		return err
	})
}

// startAgents starts the agents, or others in their places, and waits until they announce and have reported.
func (c *cluster) startAgents(s *measure.Scope) {
	for _, a := range c.agents {
		_ = a.Stop()
	}
	c.agents = nil
	begin := time.Now().Truncate(time.Second) // as a report has it
	for i, ns := range c.nodes {
		c.agents = append(c.agents, ns.Start(s, "bin/waymark-agent", "--node", nodeName(i), "--source", "kube",
			"--kubeconfig", c.configs[i], "--run-dir", c.runDirs[i]))
	}
	for i, dir := range c.runDirs {
		nettest.Eventually(s, time.Minute, func() error {
			status, err := telemetry.Client{RunDir: dir}.Status(context.Background())
			if err == nil && (!status.Ready || !status.Gate.Open || len(status.Announced) != 1 || status.Routes.Installed != agents-1) {
				err = fmt.Errorf("%s: gate %+v, %d announced, %d routes, not ready: %s",
					nodeName(i), status.Gate, len(status.Announced), status.Routes.Installed, status.NotReady)
			}
			if err != nil {
				return err
			}
			var state v1alpha1.NodeRoutingState
			err = c.client.Get(context.Background(), client.ObjectKey{Name: nodeName(i)}, &state)
			if err == nil && (state.Status.Reported.Time.Before(begin) || !state.Status.Gate.Open || state.Status.Established != 1) {
				err = fmt.Errorf("%s has not reported yet that it announces", nodeName(i))
			}
			return err
		})
	}
}
