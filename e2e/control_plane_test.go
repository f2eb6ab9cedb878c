package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// ControlPlane is a real one, in the namespace of the test, with Waymark's base installed.
type ControlPlane struct {
	*nettest.Kube
	// T is the test whose cluster it is: what a story starts and the next one needs ends with this test.
	T           testing.TB
	Controllers [2]*nettest.Process

	controllerConfig string
	agentConfigs     map[string]string // by node
}

// NewControlPlane starts it at an address. PodCIDRs of nodes that have none are allocated out of clusterCIDR.
func NewControlPlane(t testing.TB, address, clusterCIDR string) *ControlPlane {
	t.Helper()
	c := &ControlPlane{T: t, Kube: nettest.StartKube(t, nettest.Self, address), agentConfigs: map[string]string{}}
	c.must(t, "apply", "--server-side", "-k", "../manifests/base")
	c.must(t, "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
	c.StartControllerManager(t, clusterCIDR)
	return c
}

func (c *ControlPlane) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// AddNode makes a Node object that is Ready and has the addresses. Labels and spec are the insides of YAML maps.
func (c *ControlPlane) AddNode(t testing.TB, name, labels, annotations, spec string, addresses ...string) {
	t.Helper()
	c.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: "+name+", labels: {"+labels+"}, annotations: {"+annotations+"}}\nspec: {"+spec+"}\n")
	var list []string
	for _, a := range addresses {
		list = append(list, `{"type":"InternalIP","address":"`+a+`"}`)
	}
	c.must(t, "patch", "node", name, "--subresource=status", "--type=merge", "-p", `{"status":{"addresses":[`+strings.Join(list, ",")+
		`],"conditions":[{"type":"Ready","status":"True","reason":"Test","message":"ready"}]}}`)
}

func (c *ControlPlane) nodeObject(name string) (node corev1.Node, err error) {
	err = c.get(&node, "node", name)
	return node, err
}

func (c *ControlPlane) state(node string) (state v1alpha1.NodeRoutingState, err error) {
	err = c.get(&state, "noderoutingstate", node)
	return state, err
}

// get reads an object.
func (c *ControlPlane) get(into any, kind, name string) error {
	out, err := c.Kubectl("get", kind, name, "-o", "json")
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// AgentConfig is a kubeconfig with the shipped account, and a token as the kubelet makes it for a pod of the node.
func (c *ControlPlane) AgentConfig(t testing.TB, node string) string {
	t.Helper()
	if c.agentConfigs[node] == "" {
		c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: waymark-agent-`+node+`, namespace: waymark-system}
spec:
  nodeName: `+node+`
  serviceAccountName: waymark-agent
  containers: [{name: agent, image: waymark}]
`)
		c.agentConfigs[node] = c.Kubeconfig(c.T, strings.TrimSpace(c.must(t, "create", "token", "waymark-agent", "--namespace=waymark-system",
			"--bound-object-kind=Pod", "--bound-object-name=waymark-agent-"+node)))
	}
	return c.agentConfigs[node]
}

// StartControllers starts the two replicas with the shipped account, and those again that have ended, as the kubelet would: a
// leader that has lost its lease ends. The leases are short.
func (c *ControlPlane) StartControllers() {
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

// leader is the replica that leads.
func (c *ControlPlane) leader(t *testing.T) (leader *nettest.Process) {
	t.Helper()
	nettest.Eventually(t, 30*time.Second, func() error {
		for i, replica := range c.Controllers {
			out, err := nettest.Self.Try("curl", "-sS", fmt.Sprintf("http://127.0.0.1:1808%d/metrics", 2*i))
			if err == nil && strings.Contains(out, `leader_election_master_status{name="waymark-controller"} 1`) {
				leader = replica
				return nil
			}
		}
		return fmt.Errorf("no replica leads")
	})
	return leader
}
