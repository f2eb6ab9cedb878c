package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// EgressCluster is the networks of egresslab.Lab with a control plane behind its router, at 192.0.2.2: a node whose cable is
// out has lost the API server too.
type EgressCluster struct {
	*egresslab.Lab
	*ControlPlane
}

const isGateway = "cluster.k8s/egress"

// NewEgressCluster makes networks and control plane, registers the nodes and starts all of Waymark. Nodes n2, n3 and n4 are
// gateways. There are no policies yet.
func NewEgressCluster(t testing.TB) *EgressCluster {
	t.Helper()
	c := &EgressCluster{Lab: newEgressLab(t)}
	nettest.Join(t, nettest.Self, "plane", []string{"192.0.2.2/24"}, c.Router, "plane", []string{"192.0.2.1/24"})
	nettest.Self.IP(t, "route add 198.18.0.0/16 via 192.0.2.1")
	c.ControlPlane = NewControlPlane(t, "192.0.2.2", clusterCIDR+",fd44::/48")
	c.Apply(t, egresslab.Objects)
	for _, n := range c.Nodes {
		network4, network6 := strings.TrimSuffix(n.Pod4, ".2"), strings.TrimSuffix(n.Pod6, "::2")
		labels := "kubernetes.io/hostname: " + n.Name
		if n.Name != "n1" {
			labels += ", " + isGateway + ": enabled"
		}
		c.AddNode(t, n.Name, labels, "waymark.io/tor: "+n.Address[:strings.LastIndex(n.Address, ".")]+".254",
			fmt.Sprintf(`podCIDR: %[1]s.0/24, podCIDRs: [%[1]s.0/24, "%[2]s::/64"]`, network4, network6), n.Address, n.Address6)
	}
	c.StartControllers()
	for _, n := range c.Nodes {
		n.Start(t, "--source", "kube", "--kubeconfig", c.AgentConfig(t, n.Name))
	}
	c.Settled(t, 0)
	nettest.Eventually(t, 20*time.Second, func() error {
		for _, n := range c.Nodes {
			if s, err := n.Status(t); err != nil || s.Routes.Installed != 2*len(c.Nodes) { // to the partner, and to all other pods
				return fmt.Errorf("%s has %d learned routes, want %d: %v", n.Name, s.Routes.Installed, 2*len(c.Nodes), err)
			}
		}
		return nil
	})
	return c
}

// selecting is a policy of the lab about some pods only.
func selecting(policy, pods string) string {
	return strings.Replace(policy, "spec:\n", "spec:\n  pods: "+pods+"\n", 1)
}

// AddPod makes the Pod object of a node's pod; it runs already.
func (c *EgressCluster) AddPod(t testing.TB, n *egresslab.Node, namespace, name, labels string) {
	t.Helper()
	c.Apply(t, podObject(n.Name, namespace, name, labels))
	c.must(t, "patch", "pod", name, "--namespace", namespace, "--subresource=status", "--type=merge", "-p",
		`{"status":{"phase":"Running","podIP":"`+n.Pod4+`","podIPs":[{"ip":"`+n.Pod4+`"},{"ip":"`+n.Pod6+`"}]}}`)
}

func podObject(node, namespace, name, labels string) string {
	return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: " + namespace + ", labels: {" + labels + "}}\n" +
		"spec: {nodeName: " + node + ", terminationGracePeriodSeconds: 0, containers: [{name: app, image: app}]}\n"
}

// policy reads an EgressPolicy.
func (c *EgressCluster) policy(t testing.TB, name string) (p v1alpha1.EgressPolicy) {
	t.Helper()
	if err := c.get(&p, "egresspolicy", name); err != nil {
		t.Fatal(err)
	}
	return p
}

// gateways are the nodes of the list of a policy's first address, in order; those that leave with a minus.
func (c *EgressCluster) gateways(t testing.TB, policy string) (names []string, term int64) {
	t.Helper()
	return gatewaysOf(c.policy(t, policy))
}

func gatewaysOf(p v1alpha1.EgressPolicy) (names []string, term int64) {
	if len(p.Status.Addresses) == 0 {
		return nil, 0
	}
	for _, g := range p.Status.Addresses[0].Gateways {
		name := g.Node
		if g.Leaving {
			name += "-"
		}
		names = append(names, name)
	}
	return names, p.Status.Addresses[0].Term
}

// until waits until the list of a policy's first address is as wanted.
func (c *EgressCluster) until(t testing.TB, policy, what string, good func(names []string, term int64) bool) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		var p v1alpha1.EgressPolicy
		err := c.get(&p, "egresspolicy", policy)
		if names, term := gatewaysOf(p); err == nil && !good(names, term) {
			err = fmt.Errorf("%s: the list of %s is %v of term %d", what, policy, names, term)
		}
		return err
	})
}

// heard waits until all nodes go by the list of a term: after an outage of the API server their watches come back within half
// a minute.
func (c *EgressCluster) heard(t testing.TB, address string, term int64) {
	t.Helper()
	nettest.Eventually(t, time.Minute, func() error {
		for _, n := range c.Nodes {
			s, err := n.Status(t)
			if err != nil {
				return err
			}
			for _, e := range s.Egress {
				if e.Address.String() == address && e.Term != term {
					return fmt.Errorf("%s goes by the list of term %d, want %d", n.Name, e.Term, term)
				}
			}
		}
		return nil
	})
}

// leaves waits until the partner sees a pod with these addresses; empty: it does not see it.
func leaves(t testing.TB, pod nettest.NS, want4, want6 string) {
	t.Helper()
	for _, c := range []struct{ to, want string }{{egresslab.Partner4, want4}, {egresslab.Partner6, want6}} {
		nettest.Eventually(t, 20*time.Second, func() error {
			got, err := nattest.Seen(pod, "udp", "", c.to)
			if got != c.want {
				return fmt.Errorf("%s is seen as %q, want %q: %v", pod, got, c.want, err)
			}
			return nil
		})
	}
}

// told waits for an Event about an object.
func (c *EgressCluster) told(t testing.TB, name, reason, note string) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		out, err := c.Kubectl("get", "events", "--all-namespaces", "-o",
			`jsonpath={range .items[?(@.involvedObject.name=="`+name+`")]}{.reason}: {.message}{"\n"}{end}`)
		if err == nil && !strings.Contains(out, reason+": ") || !strings.Contains(out, note) {
			err = fmt.Errorf("no Event %s with %q about %s: %s", reason, note, name, out)
		}
		return err
	})
}

// ownedOnce wants one node at a time to own each address, for a while.
func (c *EgressCluster) ownedOnce(t testing.TB, period time.Duration) {
	t.Helper()
	for end := time.Now().Add(period); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		owners := map[string][]string{}
		for _, n := range c.Nodes {
			s, err := n.Status(t)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range s.Egress {
				if e.Owns {
					owners[e.Address.String()] = append(owners[e.Address.String()], n.Name)
				}
			}
		}
		for address, names := range owners {
			if len(names) != 1 {
				t.Errorf("%s is owned by %v", address, names)
			}
		}
	}
}

// undisturbed probes from a pod until it is stopped, and then wants all new connections to have had an address.
func undisturbed(t testing.TB, pod nettest.NS, want string) (stop func()) {
	t.Helper()
	var probers []*egresslab.Prober
	for _, network := range []string{"udp", "tcp"} {
		probers = append(probers, egresslab.StartProber(t, pod, network, egresslab.Partner4, probeInterval))
	}
	return func() {
		t.Helper()
		for _, p := range probers {
			if got := egresslab.Sources(p.Stop()); len(got) != 1 || got[want] == 0 {
				t.Errorf("new connections of %s by source: %v, want %s alone", pod, got, want)
			}
		}
	}
}
