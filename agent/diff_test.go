package agent

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route"
)

// TestDiff changes one thing in the objects of a cluster and tells what that means for a node.
func TestDiff(t *testing.T) {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	minute := &metav1.Duration{Duration: time.Minute}
	no, low, pool := false, int32(10), []string{"10.132.0.0/16"}
	base := func() Snapshot {
		return Snapshot{
			Synced: true, Controlled: true,
			Nodes: []corev1.Node{{
				ObjectMeta: meta("n1"),
				Spec:       corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24"}},
				Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.132.2.11"}}},
			}},
			State: &v1alpha1.NodeRoutingState{Spec: v1alpha1.NodeRoutingStateSpec{PodCIDRs: []v1alpha1.PrefixVerdict{{Prefix: "10.244.1.0/24"}}}},
			Configurations: []v1alpha1.BGPConfiguration{{ObjectMeta: meta("default"), Spec: v1alpha1.BGPConfigurationSpec{
				ASN: 64513, Learn: v1alpha1.Learn{Accept: []v1alpha1.LearnRule{{Prefix: "10.0.0.0/8"}}},
			}}},
			Peers: []v1alpha1.BGPPeer{
				{ObjectMeta: meta("rr1"), Spec: v1alpha1.BGPPeerSpec{Address: "10.132.2.254", ASN: 64512}},
				{ObjectMeta: meta("rr2"), Spec: v1alpha1.BGPPeerSpec{Address: "10.132.2.253", ASN: 64512, BFD: &v1alpha1.BFD{}}},
			},
			Policies: []v1alpha1.EgressPolicy{{ObjectMeta: meta("inside"), Spec: v1alpha1.EgressPolicySpec{Destinations: pool, Source: "Pod"}}},
			Pods: []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "x", Labels: map[string]string{"app": "a"}},
				Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.1.5"}}}}},
		}
	}
	// gateway is a policy with an address that these nodes may own.
	gateway := func(nodes ...string) v1alpha1.EgressPolicy {
		p := v1alpha1.EgressPolicy{ObjectMeta: meta("bank"), Spec: v1alpha1.EgressPolicySpec{
			Destinations: []string{"203.0.113.0/24"}, Source: "Gateway", Gateway: &v1alpha1.EgressGateway{Addresses: []string{"198.51.100.7"}},
		}}
		address := v1alpha1.EgressAddress{Address: "198.51.100.7", VNI: 7, Term: 1}
		for _, name := range nodes {
			address.Gateways = append(address.Gateways, v1alpha1.EgressOwner{Node: name, Address: "10.132.2.1" + name[1:]})
		}
		p.Status.Addresses = []v1alpha1.EgressAddress{address}
		return p
	}
	tests := map[string]struct {
		change func(*Snapshot)
		want   string
	}{
		"nothing": {func(*Snapshot) {}, ""},
		"another address": {func(s *Snapshot) { s.Peers[0].Spec.Address = "10.132.2.252" },
			"- session rr1 with 10.132.2.254, AS 64512, is removed\n+ session rr1 with 10.132.2.252, AS 64512, is added"},
		"one session": {func(s *Snapshot) { s.Peers[0].Spec.Timers.Hold = minute }, "~ session rr1 is reset: timers"},
		"a session and more": {func(s *Snapshot) { s.Peers[0].Spec.Timers.Hold, s.Peers[0].Spec.BFD = minute, &v1alpha1.BFD{} },
			"~ session rr1 is reset: timers; changes too: bfd is added"},
		"no reset": {func(s *Snapshot) {
			s.Peers[0].Spec.Export = []v1alpha1.FilterRule{{Prefix: "10.244.0.0/16", Action: "Accept"}}
			s.Peers[0].Name = "first"
		}, "~ session first changes without a reset: name, export"},
		"BFD": {func(s *Snapshot) { s.Peers[1].Spec.BFD.Interval = minute }, "~ session rr2 changes without a reset: bfd"},
		"no BFD": {func(s *Snapshot) { s.Peers[1].Spec.BFD = nil },
			"~ session rr2 changes without a reset: bfd is removed, and a router with strict BFD ends the session if it still has it"},
		"all sessions": {func(s *Snapshot) { s.Configurations[0].Spec.ASN = 64514 },
			"~ session rr1 is reset: asn\n~ session rr2 is reset: asn\n! node loses all sessions that it has (2), until new ones are up"},
		"no peers": {func(s *Snapshot) { s.Peers = nil },
			"- session rr1 with 10.132.2.254, AS 64512, is removed\n- session rr2 with 10.132.2.253, AS 64512, is removed\n" +
				"! node loses all sessions that it has (2), until new ones are up"},
		"nothing announced": {func(s *Snapshot) { s.Configurations[0].Spec.Advertise.PodCIDRs = &no }, "! prefix 10.244.1.0/24 is withdrawn"},
		"communities": {func(s *Snapshot) { s.Configurations[0].Spec.Advertise.Communities = []string{"64512:1"} },
			"~ prefix 10.244.1.0/24 is announced with communities 64512:1, before none"},
		"drain": {func(s *Snapshot) { s.Nodes[0].Labels = map[string]string{v1alpha1.Drain: ""} },
			"! node drains: it withdraws all it announces, sessions stay\n~ session rr1 changes without a reset: attributes\n" +
				"~ session rr2 changes without a reset: attributes\n! prefix 10.244.1.0/24 is withdrawn"},
		"learn": {func(s *Snapshot) {
			s.Configurations[0].Spec.Learn = v1alpha1.Learn{Accept: []v1alpha1.LearnRule{{Prefix: "10.0.0.0/8", MaxLength: &low}}, Metric: &low}
		}, "+ routes to 10.0.0.0/8 of length 8..10 are learned\n! routes to 10.0.0.0/8 of length 8..8 are learned only if another rule says so\n" +
			"~ routes go to table 254 with metric 10, before table 254, metric 200"},
		"policies": {func(s *Snapshot) {
			s.Policies[0].Spec.Source, s.Policies[0].Spec.Priority = "Node", &low
			s.Policies[0].Spec.Destinations = []string{"10.132.0.0/16", "10.133.0.0/16"}
			s.Policies[0].Spec.ExcludeDestinations = []string{"10.132.9.0/24"}
			s.Policies = append(s.Policies, v1alpha1.EgressPolicy{ObjectMeta: meta("rest"), Spec: v1alpha1.EgressPolicySpec{Source: "Node"}})
		}, "~ policy inside changes for new connections: priority 10, before 1000; source Node, before Pod; destinations: +10.133.0.0/16; " +
			"excluded destinations: +10.132.9.0/24, before none\n+ policy rest is added: priority 1000, source Node"},
		"selected pods": {func(s *Snapshot) {
			s.Policies[0].Spec.Pods = &v1alpha1.PodSelection{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}}
		}, "~ policy inside changes for new connections: selected pods, before all"},
		"no policy": {func(s *Snapshot) { s.Policies = nil }, "- policy inside is removed: priority 1000, source Pod"},
		"a policy that cannot be": {func(s *Snapshot) { s.Policies[0].Spec.Source = "Gateway" },
			"- policy inside is removed: priority 1000, source Pod\n" +
				"! problem comes: EgressPolicy/inside: Invalid: source: Gateway needs spec.gateway: not in force"},
		"a conflict that is in force": {func(s *Snapshot) { s.State.Spec.PodCIDRs[0].Conflict = "n2 has it" },
			"! problem comes: Node/n1: Overlap: n2 has it; it was announced before and stays: correct the one that is wrong, or drain the node to withdraw it"},
		"nobody knows who we are": {func(s *Snapshot) { s.Nodes[0].Annotations = map[string]string{v1alpha1.AnnotationASN: "x"} },
			`! problem comes: Node/n1: Invalid: annotation waymark.io/asn: "x" is not an AS number (1..4294967295): BGP stays as it is`},
	}
	facts := Facts{
		Told: true, Drained: true, Announced: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
		Egress: EgressFacts{Underlay: route.Underlay{MTU: 1450}, Self: Alive},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := Decide("n1", base(), facts)
			changed := base()
			tt.change(&changed)
			var got []string
			for _, c := range Diff(before, Decide("n1", changed, facts)) {
				got = append(got, c.String())
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tt.want)
			}
		})
	}

	// The same with a gateway: n1 is the second of three that may own the address, and its pods use it.
	withGateway := func() Snapshot {
		s := base()
		s.Policies = []v1alpha1.EgressPolicy{gateway("n2", "n1", "n3")}
		return s
	}
	for name, tt := range map[string]struct {
		change func(*v1alpha1.EgressPolicy)
		want   string
	}{
		"nothing": {func(*v1alpha1.EgressPolicy) {}, ""},
		"a new owner": {func(p *v1alpha1.EgressPolicy) { *p = gateway("n1", "n2", "n3"); p.Status.Addresses[0].Term = 2 },
			"~ prefix 198.51.100.7/32 is announced with rank 0, before 2\n" +
				"~ egress 198.51.100.7 has the owner n1, before n2\n~ egress 198.51.100.7 may be owned by n1, n2, n3, before by n2, n1, n3"},
		"a drain": {func(p *v1alpha1.EgressPolicy) {
			*p = gateway("n3", "n1", "n2")
			p.Status.Addresses[0].Term, p.Status.Addresses[0].Gateways[2].Leaving = 2, true
		}, "~ egress 198.51.100.7 has the owner n3, before n2\n~ egress 198.51.100.7 may be owned by n3, n1, n2 (leaving), before by n2, n1, n3"},
		"not here": {func(p *v1alpha1.EgressPolicy) { *p = gateway("n2") },
			"! prefix 198.51.100.7/32 is withdrawn\n~ egress 198.51.100.7 may be owned by n2, before by n2, n1, n3"},
		"by nobody": {func(p *v1alpha1.EgressPolicy) { *p = gateway() },
			"! prefix 198.51.100.7/32 is withdrawn\n! egress 198.51.100.7 has no owner, before n2: the fallback is in force\n" +
				"~ egress 198.51.100.7 may be owned by nobody, before by n2, n1, n3"},
		"for no pods": {func(p *v1alpha1.EgressPolicy) {
			p.Spec.Pods = &v1alpha1.PodSelection{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "none"}}}
		}, "~ policy bank changes for new connections: selected pods, before all\n- egress 198.51.100.7 is used by no pods here any more"},
		"fallback": {func(p *v1alpha1.EgressPolicy) { p.Spec.Gateway.Fallback = "Node" },
			"~ policy bank changes for new connections: fallback Node, before Drop"},
		"BFD": {func(p *v1alpha1.EgressPolicy) { p.Spec.Gateway.BFD = &v1alpha1.BFD{Interval: minute} },
			"~ egress gateway 10.132.2.12 is watched every 1m0s, 3 times, before every 300ms, 3 times\n" +
				"~ egress gateway 10.132.2.13 is watched every 1m0s, 3 times, before every 300ms, 3 times"},
		"another source": {func(p *v1alpha1.EgressPolicy) { p.Spec.Source, p.Spec.Gateway, p.Status.Addresses = "Node", nil, nil },
			"! prefix 198.51.100.7/32 is withdrawn\n~ policy bank changes for new connections: source Node, before Gateway\n" +
				"- egress 198.51.100.7 is removed"},
	} {
		t.Run("gateway: "+name, func(t *testing.T) {
			changed := withGateway()
			tt.change(&changed.Policies[0])
			var got []string
			for _, c := range Diff(Decide("n1", withGateway(), facts), Decide("n1", changed, facts)) {
				got = append(got, c.String())
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), tt.want)
			}
		})
	}
	if all := Diff(Plan{}, Decide("n1", base(), facts)); len(all) != 5 {
		t.Errorf("a new node: %v", all)
	}
}
