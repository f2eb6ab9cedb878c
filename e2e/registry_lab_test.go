package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/internal/zookeepertest"
)

// RegistryLab is two nodes with pods in the datacenter of a registry, and a consumer outside the cluster:
//
//	consumer 203.0.113.9 ---+-- router 198.18.1.254 --+-- 198.18.1.1 n1 [cni0] -- pods 10.244.1.2 ...
//	ZooKeeper 198.18.9.2 ---+                         +-- 198.18.1.2 n2 [cni0] -- pods 10.244.2.2 ...
//
// The router, FRR, has AS 64512, the nodes AS 64513. Every node masquerades what its pods send out of the cluster, as CNI
// plugins do, and nobody but the node knows the way to its pods.
type RegistryLab struct {
	Consumer, Router, Registry nettest.NS
	Nodes                      []*RegistryNode

	// Where there is no control plane: the directory of the agents' objects, and a file of Pods for the doctor.
	manifests, pods string
	plane           *ControlPlane
}

// RegistryNode is one of the nodes.
type RegistryNode struct {
	Name, Address, RunDir string
	NS                    nettest.NS
	Pods                  []RegistryPod
	network               string // PodCIDR without its last number
}

// RegistryPod is one of a node's pods.
type RegistryPod struct {
	NS      nettest.NS
	Address string
}

const (
	consumerAddr = "203.0.113.9"
	registryAddr = "198.18.9.2"

	registryServer = registryAddr + ":2181"
)

// NewRegistryLab makes the networks with some pods on each node, and starts ZooKeeper with these lines of configuration and
// the router. Nothing of Waymark runs yet.
func NewRegistryLab(t testing.TB, pods int, zookeeper string) *RegistryLab {
	t.Helper()
	l := &RegistryLab{
		Consumer: nettest.New(t, "consumer"), Router: nettest.New(t, "router"), Registry: nettest.New(t, "registry"),
	}
	nettest.Join(t, l.Consumer, "eth0", []string{consumerAddr + "/24"}, l.Router, "wan", []string{"203.0.113.1/24"})
	nettest.Join(t, l.Registry, "eth0", []string{registryAddr + "/24"}, l.Router, "dc", []string{"198.18.9.1/24"})
	l.Consumer.IP(t, "route add default via 203.0.113.1")
	l.Registry.IP(t, "route add default via 198.18.9.1")
	zookeepertest.Start(t, l.Registry, registryAddr, "4lw.commands.whitelist=*\n"+zookeeper)
	l.Router.Run(t, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0") // it says of each packet that it has no route, not once a second
	l.Router.IP(t, "link add nodes type bridge forward_delay 0")
	l.Router.IP(t, "addr add 198.18.1.254/24 dev nodes")
	l.Router.IP(t, "link set nodes up")
	var neighbors, nodes, running strings.Builder
	for i := 1; i <= 2; i++ {
		n := &RegistryNode{
			Name: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("198.18.1.%d", i), RunDir: t.TempDir(), network: fmt.Sprintf("10.244.%d", i),
			NS: nettest.New(t, fmt.Sprintf("n%d", i)),
		}
		nettest.Join(t, n.NS, "eth0", []string{n.Address + "/24"}, l.Router, n.Name, nil)
		l.Router.IP(t, "link set "+n.Name+" master nodes")
		n.NS.IP(t, "route add default via 198.18.1.254")
		n.NS.IP(t, "link add cni0 type bridge forward_delay 0")
		n.NS.IP(t, "addr add "+n.network+".1/24 dev cni0")
		n.NS.IP(t, "link set cni0 up")
		n.NS.Run(t, "nft", "table ip foreign { chain post { type nat hook postrouting priority srcnat; "+
			"ip saddr "+n.network+".0/24 ip daddr != 10.244.0.0/16 masquerade; }; }")
		for range pods {
			n.addPod(t)
			running.WriteString(n.Pods[len(n.Pods)-1].object(n.Name))
		}
		l.Nodes = append(l.Nodes, n)
		fmt.Fprintf(&neighbors, " neighbor %[1]s remote-as 64513\n neighbor %[1]s timers connect 1\n", n.Address)
		fmt.Fprintf(&nodes, `---
apiVersion: v1
kind: Node
metadata: {name: %s}
spec: {%s}
status: {addresses: [{type: InternalIP, address: %s}]}
`, n.Name, n.spec(), n.Address)
	}
	l.manifests, l.pods = t.TempDir(), filepath.Join(t.TempDir(), "pods.yaml")
	for path, text := range map[string]string{filepath.Join(l.manifests, "objects.yaml"): registryObjects + nodes.String(), l.pods: running.String()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nettest.StartFRR(t, l.Router, false, `
router bgp 64512
 bgp router-id 198.18.1.254
 no bgp ebgp-requires-policy
 no bgp network import-check
`+neighbors.String()+` address-family ipv4 unicast
  network 198.18.9.0/24
 exit-address-family
exit
`)
	return l
}

// registryObjects are those of the datacenter; its default is that it sees pods as they are.
const registryObjects = `
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asn: 64513
  learn: {accept: [{prefix: 198.18.9.0/24}, {prefix: 10.244.0.0/16, minLength: 24, maxLength: 24}]}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec: {address: 198.18.1.254, asn: 64512, allowOwnAS: 1, timers: {hold: 9s, keepalive: 3s, connectRetry: 1s}}
---
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec: {cidrs: [198.18.0.0/16, 203.0.113.0/24], clusterCIDRs: [10.244.0.0/16]}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: registries-see-pods}
spec: {destinationsFrom: DatacenterNetwork, source: Pod}
`

// spec is the inside of that of its Node object.
func (n *RegistryNode) spec() string {
	return fmt.Sprintf("podCIDR: %[1]s.0/24, podCIDRs: [%[1]s.0/24]", n.network)
}

func (n *RegistryNode) addPod(t testing.TB) {
	t.Helper()
	number := len(n.Pods) + 2
	p := RegistryPod{NS: nettest.New(t, fmt.Sprintf("%s-%d", n.Name, number)), Address: fmt.Sprintf("%s.%d", n.network, number)}
	port := fmt.Sprintf("pod%d", number)
	nettest.Join(t, p.NS, "eth0", []string{p.Address + "/24"}, n.NS, port, nil)
	n.NS.IP(t, "link set "+port+" master cni0")
	p.NS.IP(t, "route add default via "+n.network+".1")
	n.Pods = append(n.Pods, p)
}

// Register makes the lab a cluster with a control plane, at 192.0.2.2 behind the router, that has its nodes and pods, and where
// Waymark is installed but for the agents.
func (l *RegistryLab) Register(t testing.TB) {
	t.Helper()
	nettest.Join(t, nettest.Self, "plane", []string{"192.0.2.2/24"}, l.Router, "plane", []string{"192.0.2.1/24"})
	for _, network := range []string{"198.18.0.0/16", "203.0.113.0/24"} {
		nettest.Self.IP(t, "route add "+network+" via 192.0.2.1")
	}
	l.plane = NewControlPlane(t, "192.0.2.2", clusterCIDR)
	l.plane.Apply(t, registryObjects)
	for _, n := range l.Nodes {
		l.plane.AddNode(t, n.Name, "kubernetes.io/os: linux", "", n.spec(), n.Address)
		for _, p := range n.Pods {
			l.plane.Apply(t, p.object(n.Name))
			l.plane.must(t, "patch", "pod", string(p.NS), "--namespace", "default", "--subresource=status", "--type=merge", "-p",
				`{"status":{"phase":"Running","podIP":"`+p.Address+`","podIPs":[{"ip":"`+p.Address+`"}]}}`)
		}
	}
	l.plane.StartControllers()
}

// doctor runs `waymark check` with these arguments where it is asked from, and wants it to say what matches the expressions, as
// findings or not.
func (l *RegistryLab) doctor(t testing.TB, from nettest.NS, args string, findings bool, want ...string) {
	t.Helper()
	words := append([]string{"check"}, strings.Fields(args)...)
	if l.plane != nil {
		words = append(words, "--kubeconfig", l.plane.Admin)
	} else {
		words = append(words, "--from", l.manifests, "--from", l.pods)
	}
	out, err := from.Try(program(t, "waymark"), words...)
	status := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if wanted := map[bool]int{false: 0, true: 2}[findings]; status != wanted {
		t.Errorf("waymark check %s: exit status %d, want %d\n%s", args, status, wanted, out)
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(out) {
			t.Errorf("waymark check %s does not say %q:\n%s", args, w, out)
		}
	}
}

// object is its Pod, which runs.
func (p RegistryPod) object(node string) string {
	return podObject(node, "default", string(p.NS), "") + "status: {phase: Running, podIPs: [{ip: " + p.Address + "}]}\n"
}

// StartAgents starts Waymark on the nodes and waits until all know the way to each other's pods.
func (l *RegistryLab) StartAgents(t testing.TB) {
	t.Helper()
	for _, n := range l.Nodes {
		source := []string{"--source", "dir:" + l.manifests}
		if l.plane != nil {
			source = []string{"--source", "kube", "--kubeconfig", l.plane.AgentConfig(t, n.Name)}
		}
		n.NS.Start(t, program(t, "waymark-agent"), append(source, "--node", n.Name, "--run-dir", n.RunDir)...)
	}
	nettest.Eventually(t, 30*time.Second, func() error {
		for _, n := range l.Nodes {
			s, err := n.status()
			if err != nil {
				return err
			}
			if !s.Ready || len(s.Peers) != 1 || s.Peers[0].State != bgp.Established || s.Routes.Installed != len(l.Nodes) { // to the registry, and to the other's pods
				return fmt.Errorf("%s: not ready: %s, peers %+v, %d routes", n.Name, s.NotReady, s.Peers, s.Routes.Installed)
			}
		}
		return nil
	})
}

func (n *RegistryNode) status() (agent.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return telemetry.Client{RunDir: n.RunDir}.Status(ctx)
}

// session is a client of ZooKeeper in a namespace, as any service has one: it comes back when it has lost its connection,
// until it is closed.
func session(t testing.TB, ns nettest.NS) *zk.Conn {
	t.Helper()
	dial := func(network, address string, timeout time.Duration) (net.Conn, error) {
		return nattest.Inside(ns, func() (net.Conn, error) { return net.DialTimeout(network, address, timeout) })
	}
	conn, events, err := zk.Connect([]string{registryServer}, 10*time.Second, zk.WithDialer(dial), zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range events { // it waits for who reads them
		}
	}()
	t.Cleanup(conn.Close)
	return conn
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// Clients are the addresses that ZooKeeper sees clients at, with the number of their connections.
func (l *RegistryLab) Clients() (map[string]int, error) {
	out, err := l.Registry.Try("bash", "-ec", "exec 3<>/dev/tcp/"+registryAddr+"/2181; echo cons >&3; timeout 5 cat <&3")
	clients := map[string]int{}
	for _, c := range connection.FindAllStringSubmatch(out, -1) {
		if c[1] != registryAddr { // it is this test that asks
			clients[c[1]]++
		}
	}
	return clients, err
}

// connection is how ZooKeeper begins the line of one.
var connection = regexp.MustCompile(`(?m)^ */([0-9.]+):[0-9]+\[`)

// has says what is wrong when ZooKeeper does not have these many connections of these addresses, and no others.
func (l *RegistryLab) has(want map[string]int) error {
	got, err := l.Clients()
	if err == nil && !maps.Equal(got, want) {
		err = fmt.Errorf("ZooKeeper has connections of %v, want %v", got, want)
	}
	return err
}
