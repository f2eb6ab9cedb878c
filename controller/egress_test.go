package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/ipam"
)

const bank = "kind: EgressPolicy\nmetadata: {name: bank}\nspec: {destinations: [203.0.113.0/24], source: Gateway, " +
	"gateway: {nodeSelector: {matchLabels: {egress: \"yes\"}}, addresses: [10.132.2.240]}}"

var isGateway = map[string]string{"egress": "yes"}

// lists are the addresses of a policy with their lists: "10.132.2.240 1: n1 n2-" is of term 1, and n2 leaves.
func lists(p *v1alpha1.EgressPolicy) string {
	var lines []string
	for _, a := range p.Status.Addresses {
		line := fmt.Sprintf("%s %d:", a.Address, a.Term)
		for _, g := range a.Gateways {
			line += " " + g.Node
			if g.Leaving {
				line += "-"
			}
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

// owned waits until the policy's lists are like this, and returns it.
func (c cluster) owned(t *testing.T, policy, want string) *v1alpha1.EgressPolicy {
	t.Helper()
	var p v1alpha1.EgressPolicy
	nettest.Eventually(t, 10*time.Second, func() error {
		p = v1alpha1.EgressPolicy{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: policy}, &p); err != nil {
			return err
		}
		if got := lists(&p); got != want {
			return fmt.Errorf("%s has %s, want %s", policy, got, want)
		}
		return nil
	})
	return &p
}

// owner claims for a node that it owns what the policy's first address is.
func (c cluster) owner(t *testing.T, node string, p *v1alpha1.EgressPolicy) {
	t.Helper()
	a := p.Status.Addresses[0]
	c.report(t, node, v1alpha1.NodeRoutingStateStatus{Egress: []v1alpha1.EgressState{{Address: a.Address, VNI: a.VNI, Term: a.Term, Owner: node}}})
}

// told waits for an Event about a policy.
func (c cluster) told(t *testing.T, policy, reason, note string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		var all eventsv1.EventList
		if err := c.List(t.Context(), &all); err != nil {
			return err
		}
		var notes []string
		for _, e := range all.Items {
			if e.Regarding.Kind == "EgressPolicy" && e.Regarding.Name == policy && e.Reason == reason {
				notes = append(notes, e.Note)
				if strings.Contains(e.Note, note) {
					return nil
				}
			}
		}
		return fmt.Errorf("no Event %s of %s with %q, but %q", reason, policy, note, notes)
	})
}

// threeGateways are n1, n2 and n3, and the policy bank whose address the first of them by hash owns: the names that are
// returned are in the order of the list.
func threeGateways(t *testing.T, c cluster) (p *v1alpha1.EgressPolicy, names []string) {
	t.Helper()
	for i, name := range []string{"n1", "n2", "n3"} {
		c.gateway(t, name, fmt.Sprintf("10.132.2.%d", 11+i), isGateway)
	}
	c.node(t, "other", nil)
	c.apply(t, bank)
	nettest.Eventually(t, 10*time.Second, func() error {
		p = &v1alpha1.EgressPolicy{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: "bank"}, p); err != nil || len(p.Status.Addresses) != 1 || len(p.Status.Addresses[0].Gateways) != 3 {
			return fmt.Errorf("%s %v", lists(p), err)
		}
		return nil
	})
	for _, g := range p.Status.Addresses[0].Gateways {
		names = append(names, g.Node)
	}
	return p, names
}

// order writes a list: "2: 1 0-" is of term 2, first names[1], then names[0], which leaves.
func order(names []string, list string) string {
	return "10.132.2.240 " + strings.NewReplacer(" 0", " "+names[0], " 1", " "+names[1], " 2", " "+names[2]).Replace(list)
}

func gatewayDrains(t *testing.T, c cluster) {
	c.apply(t, "kind: BGPConfiguration\nmetadata: {name: default}\nspec: {asn: 64513, drain: {timeout: 2s}}")
	p, names := threeGateways(t, c)
	c.owned(t, "bank", order(names, "1: 0 1 2"))
	if a := p.Status.Addresses[0]; p.Status.Gateway != names[0] || a.Gateways[0].Address != "10.132.2.1"+names[0][1:] || a.VNI == 0 {
		t.Errorf("status %+v", p.Status)
	}
	vni := p.Status.Addresses[0].VNI
	c.patch(t, &corev1.Node{}, names[0], `{"metadata":{"labels":{"waymark.io/drain":""}}}`)
	began := time.Now()
	p = c.owned(t, "bank", order(names, "2: 1 0- 2"))
	if p.Status.Addresses[0].VNI != vni {
		t.Errorf("the VNI was %d and is %d", vni, p.Status.Addresses[0].VNI)
	}
	c.told(t, "bank", "Moved", fmt.Sprintf("10.132.2.240 moved from %s to %s: %s drains", names[0], names[1], names[0]))
	c.owned(t, "bank", order(names, "2: 1 2"))
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("what it had was given up after %v, want 2s", took)
	}
	c.patch(t, &corev1.Node{}, names[0], `{"metadata":{"labels":{"waymark.io/drain":null}}}`)
	c.owned(t, "bank", order(names, "2: 1 2 0"))
	c.patch(t, &corev1.Node{}, names[1], `{"metadata":{"labels":{"egress":null}}}`) // no longer selected
	c.owned(t, "bank", order(names, "3: 2 1- 0"))
	c.owned(t, "bank", order(names, "3: 2 0"))
	if out, err := c.kube.Kubectl("get", "egp", "bank"); err != nil || !strings.Contains(out, " "+names[2]+" ") {
		t.Errorf("no owner in %s, %v", out, err)
	}
}

func gatewayFails(t *testing.T, c cluster) {
	p, names := threeGateways(t, c)
	c.owner(t, names[2], p) // nodes see it before the controller does
	p = c.owned(t, "bank", order(names, "2: 2 0 1"))
	c.told(t, "bank", "Failover", fmt.Sprintf("10.132.2.240 moved from %s to %s: %s has taken over", names[0], names[2], names[2]))
	c.ready(t, names[0], false)
	c.ready(t, names[1], false)
	c.ready(t, names[0], true) // who comes back does not take over
	c.ready(t, names[1], true)
	var took []time.Duration
	for range 20 {
		next := p.Status.Addresses[0].Gateways[1].Node
		begin := time.Now()
		c.owner(t, next, p)
		nettest.Eventually(t, 10*time.Second, func() error {
			p = &v1alpha1.EgressPolicy{}
			if err := c.Get(t.Context(), client.ObjectKey{Name: "bank"}, p); err != nil || p.Status.Gateway != next {
				return fmt.Errorf("%s owns, want %s, %v", p.Status.Gateway, next, err)
			}
			return nil
		})
		took = append(took, time.Since(begin))
	}
	percentiles(t, "from a report of a failover to the new list", took, time.Second)
	first, second := p.Status.Addresses[0].Gateways[0].Node, p.Status.Addresses[0].Gateways[1].Node
	c.ready(t, first, false)
	c.told(t, "bank", "Failover", fmt.Sprintf("10.132.2.240 moved from %s to %s: %s is not Ready", first, second, first))
	c.ready(t, first, true)
	c.owner(t, second, c.owned(t, "bank", order([]string{second, first, p.Status.Addresses[0].Gateways[2].Node}, "23: 0 1 2")))
}

// addressesStay changes much around two policies that have addresses.
func addressesStay(t *testing.T, c cluster) {
	for i, name := range []string{"n1", "n2", "n3", "n4"} {
		c.gateway(t, name, fmt.Sprintf("10.132.2.%d", 11+i), isGateway)
	}
	pooled := strings.NewReplacer("name: bank", "name: pooled", "addresses: [10.132.2.240]", "pool: egress").Replace(bank)
	own := strings.NewReplacer("name: bank", "name: own", ", addresses: [10.132.2.240]", "").Replace(bank)
	c.apply(t, "kind: AddressPool\nmetadata: {name: egress}\nspec: {cidrs: [10.132.2.240/29], use: Egress}", bank, pooled, own)
	read := func() (all string) {
		t.Helper()
		nettest.Eventually(t, 10*time.Second, func() error {
			all = ""
			for _, name := range []string{"bank", "pooled", "own"} {
				var p v1alpha1.EgressPolicy
				if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &p); err != nil || len(p.Status.Addresses) != 1 || len(p.Status.Addresses[0].Gateways) != 4 {
					return fmt.Errorf("%s: %s, %v", name, lists(&p), err)
				}
				all += fmt.Sprintf("%s %d %s\n", name, p.Status.Addresses[0].VNI, lists(&p))
			}
			return nil
		})
		return all
	}
	before := read()
	t.Log(before)
	c.apply(t, strings.NewReplacer("name: pooled", "name: another", "203.0.113", "192.0.2").Replace(pooled),
		strings.NewReplacer("name: own", "name: a", "203.0.113", "198.51.100").Replace(own))
	for _, name := range []string{"another", "a"} {
		c.condition(t, &v1alpha1.EgressPolicy{}, name, "Valid", "True", "Valid", "")
	}
	c.patch(t, &v1alpha1.AddressPool{}, "egress", `{"spec":{"cidrs":["10.132.2.224/28","10.132.2.240/28"]}}`)
	c.node(t, "n0", nil)
	if after := read(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	// A controller that starts anew knows nothing but what is in the status.
	var noted v1alpha1.EgressPolicyList
	if err := c.List(t.Context(), &noted); err != nil {
		t.Fatal(err)
	}
	restarted := &egressOwners{Client: c.Client, events: events.NewFakeRecorder(10)}
	if _, err := restarted.Reconcile(t.Context(), ctrl.Request{}); err != nil {
		t.Fatal(err)
	}
	for _, was := range noted.Items {
		var p v1alpha1.EgressPolicy
		if err := c.Get(t.Context(), client.ObjectKey{Name: was.Name}, &p); err != nil || lists(&p) != lists(&was) {
			t.Errorf("%s had %s, and has %s, %v", was.Name, lists(&was), lists(&p), err)
		}
	}
	c.patch(t, &v1alpha1.EgressPolicy{}, "bank", `{"spec":{"source":"Node","gateway":null}}`)
	c.owned(t, "bank", "")
}

// TestLive counts how long agents say nothing by what the controller has heard itself.
func TestLive(t *testing.T) {
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "u"}, Status: corev1.NodeStatus{
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
	old := metav1.NewTime(time.Now().Add(-24 * time.Hour))
	state := v1alpha1.NodeRoutingState{ObjectMeta: metav1.ObjectMeta{Name: "n1", OwnerReferences: []metav1.OwnerReference{{UID: "u"}}}}
	var r egressOwners
	start := time.Now()
	for i, step := range []struct {
		at       time.Duration
		reported metav1.Time
		dead     bool
	}{
		{0, metav1.Time{}, false}, {begin, metav1.Time{}, false}, {begin + time.Second, metav1.Time{}, true}, // never
		{2 * begin, old, false}, {2*begin + silence, old, false}, {2*begin + silence + time.Second, old, true}, // once
		{time.Hour, metav1.NewTime(start), false},
	} {
		state.Status.Reported = step.reported
		state.Status.Egress = []v1alpha1.EgressState{{VNI: 7, Term: 2, Owner: "n1"}}
		live := r.live(start.Add(step.at), []corev1.Node{node}, []v1alpha1.NodeRoutingState{state})
		if live.Dead["n1"] != step.dead || live.Reports[ipam.Place{Node: "n1", VNI: 7, Term: 2}].Self == step.dead {
			t.Errorf("step %d: %+v, want dead %v", i+1, live, step.dead)
		}
	}
	state.OwnerReferences[0].UID = "an earlier Node of the name"
	if live := r.live(start.Add(2*time.Hour), []corev1.Node{node}, []v1alpha1.NodeRoutingState{state}); len(live.Reports) > 0 {
		t.Errorf("another machine reports: %+v", live)
	}
	node.Status.Conditions[0].Status = corev1.ConditionUnknown
	if live := r.live(start.Add(2*time.Hour), []corev1.Node{node}, nil); !live.Dead["n1"] {
		t.Errorf("not Ready: %+v", live)
	}
}

func tunnelsOfNodes(t *testing.T, c cluster) {
	peers := func(name, want string) {
		t.Helper()
		c.state(t, name, func(s *v1alpha1.NodeRoutingState) error {
			if got := strings.Join(s.Spec.TunnelPeers, " "); got != want {
				return fmt.Errorf("%s accepts tunnels of %q, want %q", name, got, want)
			}
			return nil
		})
	}
	c.gateway(t, "n1", "10.132.2.12", isGateway)
	c.gateway(t, "n2", "10.132.2.13", nil)
	c.apply(t, bank)
	c.owned(t, "bank", "10.132.2.240 1: n1")
	peers("n1", "10.132.2.12/31")
	c.gateway(t, "n3", "10.132.2.14", nil)
	peers("n1", "10.132.2.12/31 10.132.2.14/32")
	peers("n2", "")
	c.patch(t, &v1alpha1.EgressPolicy{}, "bank", `{"spec":{"source":"Node","gateway":null}}`)
	peers("n1", "")
}
