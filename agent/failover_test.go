package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/route"
)

// TestFailoversAreCounted follows a node through what becomes of the gateways n2 and n3 of an address.
func TestFailoversAreCounted(t *testing.T) {
	n2, n3 := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	now := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	a := &Agent{Log: slog.New(slog.DiscardHandler)}
	list := v1alpha1.EgressAddress{Address: "198.51.100.7", VNI: 7, Term: 1, Gateways: []v1alpha1.EgressOwner{{Node: "n2", Address: "192.0.2.2"}, {Node: "n3", Address: "192.0.2.3"}}}
	snapshot := Snapshot{
		Synced: true, Controlled: true,
		State: &v1alpha1.NodeRoutingState{Spec: v1alpha1.NodeRoutingStateSpec{PodCIDRs: []v1alpha1.PrefixVerdict{{Prefix: "10.244.1.0/24"}}}},
		Nodes: []corev1.Node{{
			ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24"}},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}},
		}},
		Policies: []v1alpha1.EgressPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "bank"}, Spec: v1alpha1.EgressPolicySpec{
			Source: v1alpha1.SourceGateway, Destinations: []string{"203.0.113.0/24"},
			Gateway: &v1alpha1.EgressGateway{Addresses: []string{"198.51.100.7"}, Fallback: "Drop"},
		}}},
	}
	pass := func(one, two Health) EgressState {
		t.Helper()
		now = now.Add(10 * time.Second)
		a.gateways.since = map[netip.Addr]time.Time{n2: now.Add(-50 * time.Millisecond), n3: now.Add(-250 * time.Millisecond)}
		a.gateways.detect = map[netip.Addr]time.Duration{n2: 600 * time.Millisecond, n3: 600 * time.Millisecond}
		snapshot.Policies[0].Status.Addresses = []v1alpha1.EgressAddress{list}
		facts := EgressFacts{Underlay: route.Underlay{MTU: 1450}, Self: Alive, Health: map[netip.Addr]Health{n2: one, n3: two}, Now: now}
		if a.plan.Egress != nil {
			facts.Choices, facts.Marks = a.plan.Egress.Choices, a.plan.Egress.Marks
		}
		a.plan = Decide("n1", snapshot, Facts{Told: true, Egress: facts})
		a.countFailovers(now)
		states := a.egressStates()
		if len(states) != 1 {
			t.Fatalf("%d addresses: %v", len(states), a.plan.Problems)
		}
		return states[0]
	}
	want := func(what string, s EgressState, gateway string, failovers int64, outage time.Duration) {
		t.Helper()
		if s.Gateway != gateway || s.Failovers != failovers || s.Outage != outage {
			t.Errorf("%s: gateway %q, %d failovers, outage %v; want %q, %d, %v", what, s.Gateway, s.Failovers, s.Outage, gateway, failovers, outage)
		}
	}
	want("begin", pass(Alive, Alive), "n2", 0, 0)
	s := pass(Dead, Alive)
	want("the first dies", s, "n3", 1, 650*time.Millisecond)
	if f := s.LastFailover; f == nil || *f != (Failover{At: now, From: "n2", To: "n3", Outage: 650 * time.Millisecond}) {
		t.Errorf("last failover: %+v", f)
	}
	want("nothing happens", pass(Dead, Alive), "n3", 1, 650*time.Millisecond)
	want("it comes back", pass(Returned, Alive), "n3", 1, 650*time.Millisecond)
	list.Gateways[1].Leaving = true
	want("the second drains", pass(Alive, Alive), "n2", 1, 650*time.Millisecond)
	list.Gateways[1].Leaving = false
	list.Term, list.Gateways[0], list.Gateways[1] = 2, list.Gateways[1], list.Gateways[0]
	want("the controller moves it", pass(Alive, Alive), "n3", 1, 650*time.Millisecond)
	want("the second dies", pass(Alive, Dead), "n2", 2, 1500*time.Millisecond)
	s = pass(Dead, Dead)
	want("so does the first", s, "", 3, 2150*time.Millisecond)
	if s.LastFailover.To != "" {
		t.Errorf("last failover: %+v", s.LastFailover)
	}
}

// TestConnectionsOfALostGateway looks which connections are left as the health of their gateway changes, while another one has
// the address or this one has kept it.
func TestConnectionsOfALostGateway(t *testing.T) {
	const mark = 5
	for _, test := range []struct {
		name    string
		gateway string // that has the address
		died    bool   // while the agent was away
		diag    bfd.Diag
		left    bool
	}{
		{"has died", "n3", true, bfd.DiagConcatenatedPath, false},
		{"has come back from a drain", "n3", false, bfd.DiagConcatenatedPath, true},
		{"has died, and has the address", "n2", true, bfd.DiagConcatenatedPath, true},
		{"was out of sight", "n3", true, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClockwork(true)
			c.remember.Failed = map[netip.Addr]uint64{gatewayA: 3}
			c.passive, c.sessions[0].Failures = 1, 3
			if test.died {
				c.sessions[0].Failures++
			}
			c.becomes(bfd.Up, test.diag, true)
			c.after(time.Second)
			left := true
			a := &Agent{Log: slog.New(slog.DiscardHandler), gateways: c.gateways, Forget: func(context.Context, uint32, uint32) (int, error) {
				left = false
				return 1, nil
			}}
			a.snapshot.Synced = true
			a.marks = map[Way]uint16{{VNI: 7, Gateway: gatewayA}: mark}
			a.plan.Egress = &EgressPlan{Marks: a.marks, States: []EgressState{{
				VNI: 7, Choice: Choice{Gateway: test.gateway}, Gateways: []GatewayState{{Node: "n2", Address: gatewayA}, {Node: "n3", Address: netip.MustParseAddr("192.0.2.3")}},
			}}}
			if err := a.forget(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left != test.left {
				t.Errorf("connections are left: %v, want %v", left, test.left)
			}
		})
	}
}

// TestConnectionsOfANodeThatWasCutOff looks which of those are left that leave by the node itself.
func TestConnectionsOfANodeThatWasCutOff(t *testing.T) {
	for _, test := range []struct {
		name, gateway string
		cut, left     bool
	}{
		{"another has the address", "n3", true, false},
		{"nobody else has it", "n2", true, true},
		{"after a drain", "n3", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClockwork(true)
			c.becomes(bfd.Up, 0, false)
			c.after(0)
			c.after(meetTime)
			c.becomes(bfd.Down, 0, !test.cut)
			if test.cut {
				c.after(0)
			}
			c.becomes(bfd.Up, 0, false)
			c.after(time.Second)
			left := true
			a := &Agent{Node: "n2", Log: slog.New(slog.DiscardHandler), gateways: c.gateways, Forget: func(context.Context, uint32, uint32) (int, error) {
				left = false
				return 1, nil
			}}
			a.snapshot.Synced = true
			a.marks = map[Way]uint16{{VNI: 7}: 5}
			a.plan.Egress = &EgressPlan{Marks: a.marks, States: []EgressState{{
				VNI: 7, Choice: Choice{Gateway: test.gateway}, Gateways: []GatewayState{{Node: "n2"}, {Node: "n3", Address: gatewayA}},
			}}}
			if err := a.forget(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left != test.left {
				t.Errorf("connections are left: %v, want %v", left, test.left)
			}
		})
	}
}
