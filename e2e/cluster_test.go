package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestCluster tells what happens to a cluster of three nodes, one thing after the other. Agents and controllers have the
// accounts that are shipped.
func TestCluster(t *testing.T) {
	c := NewCluster(t, 3)
	// A node may come with this taint, so that no pod is put on it before it can be reached.
	c.must(t, "taint", "node", "n1", "waymark.io/not-ready=:NoSchedule")
	for _, n := range c.Nodes {
		c.StartAgent(t, n)
	}
	for _, story := range []struct {
		name string
		tell func(t *testing.T, c *Cluster)
	}{
		{"pods are reached from outside, and seen there by their own addresses", wholeCluster},
		{"a policy selects pods", selectedPods},
		{"the API server is away, an agent is killed meanwhile", withoutAPIServer},
		{"etcd is killed", killedEtcd},
		{"two nodes with the same PodCIDR", samePodCIDR},
		{"a node drains and returns", drainedNode},
		{"a node is deleted and comes back with another PodCIDR", otherPodCIDR},
		{"the definitions of the objects are upgraded", upgradedCRDs},
		{"the leading controller is killed", killedController},
	} {
		c.StartControllers()
		if !t.Run(story.name, func(t *testing.T) { story.tell(t, c) }) {
			t.FailNow() // the next one begins where this one ends
		}
	}
}

func wholeCluster(t *testing.T, c *Cluster) {
	for _, n := range c.Nodes {
		c.Reachable(t, n)
		for _, other := range c.Nodes {
			if other != n {
				n.Pod.Run(t, "ping", "-c1", "-W2", other.PodAddr)
			}
		}
	}
	nettest.Eventually(t, 20*time.Second, func() error {
		out, err := c.Kubectl("get", "bgppeer", "router", "-o", "jsonpath={.status.established}/{.status.wanted} {.status.conditions[?(@.type=='Valid')].status}")
		if err == nil && out != "3/3 True" {
			err = fmt.Errorf("the status of the peer is %q", out)
		}
		return err
	})
	nettest.Eventually(t, 20*time.Second, func() error {
		out, err := c.Kubectl("get", "egresspolicy", "datacenter-sees-pods", "-o", "jsonpath={.status.nodes} {.status.conditions[?(@.type=='Ready')].status}")
		if err == nil && out != "3 True" {
			err = fmt.Errorf("the status of the policy is %q", out)
		}
		return err
	})
	nettest.Eventually(t, 20*time.Second, func() error {
		out, err := c.Kubectl("get", "node", "n1", "-o", "jsonpath={.spec.taints}")
		if err == nil && strings.Contains(out, "waymark.io/not-ready") {
			err = fmt.Errorf("n1 has taints %s", out)
		}
		return err
	})
}

func selectedPods(t *testing.T, c *Cluster) {
	n := c.Nodes[0]
	c.Apply(t, `
apiVersion: v1
kind: Namespace
metadata: {name: pay, labels: {team: pay}}
---
apiVersion: v1
kind: Pod
metadata: {name: bank, namespace: pay, labels: {app: bank}}
spec: {nodeName: `+n.Name+`, containers: [{name: bank, image: bank}]}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: bank-as-node}
spec: {priority: 1, source: Node, destinations: [192.0.2.0/24], pods: {namespaceSelector: {matchLabels: {team: pay}}, podSelector: {matchLabels: {app: bank}}}}
`)
	c.must(t, "patch", "pod", "bank", "--namespace=pay", "--subresource=status", "--type=merge", "-p",
		`{"status":{"phase":"Running","podIP":"`+n.PodAddr+`","podIPs":[{"ip":"`+n.PodAddr+`"}]}}`)
	c.seenAs(t, n, n.Address)
	c.must(t, "label", "namespace", "pay", "team=other", "--overwrite")
	c.seenAs(t, n, n.PodAddr)
	c.must(t, "delete", "egresspolicy", "bank-as-node")
}

// seenAs waits until the host sees the node's pod with an address.
func (c *Cluster) seenAs(t *testing.T, n *ClusterNode, want string) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		capture := c.Host.Start(t, "timeout", "3", "tcpdump", "-l", "-ni", "eth0", "icmp[icmptype] == icmp-echo")
		nettest.Eventually(t, 5*time.Second, func() error {
			if !strings.Contains(capture.Output(), "listening") {
				return fmt.Errorf("tcpdump does not listen yet")
			}
			return nil
		})
		if _, err := n.Pod.Try("ping", "-c1", "-W1", hostAddr); err != nil {
			return err
		}
		<-capture.Done()
		if !strings.Contains(capture.Output(), "IP "+want+" > "+hostAddr) {
			return fmt.Errorf("want %s, seen: %s", want, capture.Output())
		}
		return nil
	})
}

func withoutAPIServer(t *testing.T, c *Cluster) {
	n := c.Nodes[0]
	stream := StartStream(t, c.Host, hostAddr, n.Pod, n.PodAddr)
	snapshot := filepath.Join(n.RunDir, "snapshot.json")
	if info, err := os.Stat(snapshot); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the snapshot on disk: %v, %v; want mode 0600", info, err)
	}
	c.StopAPI()
	n.Agent.Kill()
	begin := time.Now()
	c.StartAgent(c.T, n)
	nettest.Eventually(t, 30*time.Second, func() error {
		s, err := n.Status(t)
		if err == nil && (s.Started.Before(begin) || s.Restored.IsZero() || !s.Ready) {
			err = fmt.Errorf("restored %v, ready %v: %s", s.Restored, s.Ready, s.NotReady)
		}
		return err
	})
	c.StartAPI(c.T)
	nettest.Eventually(t, 60*time.Second, func() error {
		s, err := n.Status(t)
		if err == nil && !s.Restored.IsZero() {
			err = fmt.Errorf("the snapshot is still from disk, of %v", s.Restored)
		}
		return err
	})
	stream.Stop(t)
}

func killedEtcd(t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	stream := StartStream(t, c.Host, hostAddr, n.Pod, n.PodAddr)
	c.KillEtcd()
	time.Sleep(2 * time.Second) // a while without it
	c.StartEtcd(c.T)
	nettest.Eventually(t, 30*time.Second, func() error {
		_, err := c.Kubectl("label", "node", n.Name, "--overwrite", "etcd=back")
		return err
	})
	stream.Stop(t)
}

func samePodCIDR(t *testing.T, c *Cluster) {
	n := c.Nodes[0]
	c.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: twin}\nspec: {podCIDR: "+n.CIDR+", podCIDRs: [\""+n.CIDR+"\", \"fd00:244:1::/64\"]}\n")
	nettest.Eventually(t, 10*time.Second, func() error {
		twin, err := c.state("twin")
		if judged := twin.Spec.PodCIDRs; err == nil && (len(judged) != 2 || judged[1].Conflict != "" ||
			!strings.Contains(judged[0].Conflict, "Node n1, which is older")) {
			err = fmt.Errorf("the verdicts are %+v, want a conflict in IPv4 and none in IPv6", judged)
		}
		return err
	})
	if older, err := c.state(n.Name); err != nil || len(older.Spec.PodCIDRs) != 1 || older.Spec.PodCIDRs[0].Conflict != "" {
		t.Errorf("the older node was judged %+v, %v", older.Spec, err)
	}
	c.Reachable(t, n)
	c.must(t, "delete", "node", "twin")
}

func drainedNode(t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	c.must(t, "label", "node", n.Name, v1alpha1.Drain+"=")
	phase := func(want string) {
		t.Helper()
		nettest.Eventually(t, 30*time.Second, func() error {
			state, err := c.state(n.Name)
			if err == nil && (state.Status.Drain == nil) != (want == "") {
				err = fmt.Errorf("drain %+v, want %s", state.Status.Drain, want)
			}
			if err == nil && want != "" && state.Status.Drain.Phase != want {
				err = fmt.Errorf("drain %+v, want %s", state.Status.Drain, want)
			}
			return err
		})
	}
	phase(v1alpha1.Drained)
	c.Withdrawn(t, n.CIDR)
	c.must(t, "label", "node", n.Name, v1alpha1.Drain+"-")
	c.Reachable(t, n)
	phase("")
}

func otherPodCIDR(t *testing.T, c *Cluster) {
	n := c.Nodes[2]
	before := n.CIDR
	c.must(t, "delete", "node", n.Name)
	nettest.Eventually(t, 30*time.Second, func() error {
		if _, err := c.state(n.Name); err == nil {
			return fmt.Errorf("the state of the deleted node is still there")
		}
		return nil
	})
	// Somebody in the datacenter has the new one.
	network := func(no string) {
		t.Helper()
		c.FRR.Configure(t, "router bgp 64512\n address-family ipv4 unicast\n  "+no+"network 10.244.77.0/24\n exit-address-family\nexit\n")
	}
	network("")
	c.Register(c.T, n, "podCIDR: 10.244.77.0/24, podCIDRs: [10.244.77.0/24]")
	if n.CIDR == before {
		t.Fatalf("the new node has the old PodCIDR %s", before)
	}
	nettest.Eventually(t, 20*time.Second, func() error {
		state, err := c.state(n.Name)
		if gate := state.Status.Gate; err == nil && (gate.Open || gate.Reason != "Overlap" ||
			!strings.Contains(gate.Message, "10.244.77.0/24 of route learned via "+routerAddr+" overlaps 10.244.77.0/24 of Node "+n.Name)) {
			err = fmt.Errorf("the gate is %+v", gate)
		}
		return err
	})
	if out, err := c.FRR.Vtysh("show bgp ipv4 unicast 10.244.77.0/24"); err != nil || strings.Contains(out, "from "+n.Address) {
		t.Errorf("a PodCIDR that somebody else has was announced: %v: %s", err, out)
	}
	network("no ")
	c.Reachable(t, n)
	c.Withdrawn(t, before)
}

func upgradedCRDs(t *testing.T, c *Cluster) {
	crd := strings.Replace(c.must(t, "get", "crd", "bgppeers.waymark.io", "-o", "yaml"),
		"description: BGPPeer is a neighbour", "description: In a later version, BGPPeer is a neighbour", 1)
	stream := StartStream(t, c.Host, hostAddr, c.Nodes[0].Pod, c.Nodes[0].PodAddr)
	if _, err := c.KubectlAs(c.Admin, crd, "replace", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, 10*time.Second, func() error {
		out, err := c.Kubectl("explain", "bgppeer")
		if err == nil && !strings.Contains(out, "In a later version") {
			err = fmt.Errorf("not upgraded yet: %s", out)
		}
		return err
	})
	c.must(t, "patch", "bgppeer", "router", "--type=merge", "-p", `{"spec":{"maxPrefixes":1000}}`)
	stream.Stop(t)
	if s, err := c.Nodes[0].Status(t); err != nil || len(s.Peers) != 1 || s.Peers[0].Flaps != 0 {
		t.Errorf("sessions after the upgrade: %+v, %v", s.Peers, err)
	}
}

// killedController kills the replica that leads and wants the other at work within five seconds.
func killedController(t *testing.T, c *Cluster) {
	c.leader(t).Kill()
	begin := time.Now()
	c.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: new}\nspec: {podCIDR: 10.244.99.0/24, podCIDRs: [10.244.99.0/24]}\n")
	nettest.Eventually(t, 5*time.Second, func() error {
		state, err := c.state("new")
		if err == nil && len(state.Spec.PodCIDRs) != 1 {
			err = fmt.Errorf("not judged yet: %+v", state.Spec)
		}
		return err
	})
	t.Logf("the other replica has judged a new node %v after the leader's death", time.Since(begin))
}
