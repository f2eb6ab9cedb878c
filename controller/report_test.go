package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

func reports(t *testing.T, c cluster) {
	c.apply(t, "kind: BGPPeer\nmetadata: {name: rr1}\nspec: {address: 10.132.2.254, asn: 64512}",
		"kind: EgressPolicy\nmetadata: {name: datacenter}\nspec: {destinations: [10.132.0.0/16], source: Pod}")
	for i, name := range []string{"n1", "n2", "n3"} {
		c.node(t, name, nil, fmt.Sprintf("10.244.%d.0/24", i))
	}
	up := v1alpha1.SessionStatus{Peer: "rr1", State: "Established"}
	policy := []v1alpha1.PolicyStatus{{Name: "datacenter", Generation: 1}}
	c.report(t, "n1", v1alpha1.NodeRoutingStateStatus{Sessions: []v1alpha1.SessionStatus{up}, Policies: policy})
	c.report(t, "n2", v1alpha1.NodeRoutingStateStatus{
		Sessions: []v1alpha1.SessionStatus{{Peer: "rr1", State: "Active", LastError: "connection refused"}},
		Problems: []v1alpha1.ProblemStatus{{Object: "EgressPolicy/datacenter", Reason: "Invalid", Message: "it is too late"}},
	})
	await := func(peer, egress string) {
		t.Helper()
		nettest.Eventually(t, 10*time.Second, func() error {
			for want, args := range map[string][]string{
				peer:   {"bgppeer", "rr1", "-o", "jsonpath={.status.established}/{.status.wanted} {.status.down} {.status.lastError}"},
				egress: {"egp", "datacenter", "-o", `jsonpath={.status.nodes} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`},
			} {
				if got, err := c.kube.Kubectl(append([]string{"get"}, args...)...); err != nil || strings.TrimSpace(got) != want {
					return fmt.Errorf("%s: %q, want %q: %v", args[1], got, want, err)
				}
			}
			return nil
		})
	}
	await(`1/2 ["n2"] n2: connection refused`, "1 False in force on 1 of 2 nodes, not on n2; n2: it is too late")
	c.condition(t, &v1alpha1.EgressPolicy{}, "datacenter", "Valid", "False", "Invalid", "on n2: it is too late")
	c.report(t, "n2", v1alpha1.NodeRoutingStateStatus{Sessions: []v1alpha1.SessionStatus{up}, Policies: policy})
	await("2/2", "2 True in force on 2 nodes")
	c.condition(t, &v1alpha1.EgressPolicy{}, "datacenter", "Valid", "True", "Valid", "")
	c.patch(t, &v1alpha1.EgressPolicy{}, "datacenter", `{"spec":{"source":"Node"}}`)
	await("2/2", "0 False in force on 0 of 2 nodes, not on n1, n2")
}

// conditions applies, for each kind of problem, the objects that make it; the last of them is the one to blame.
func conditions(t *testing.T, c cluster) {
	for name, tt := range map[string]struct {
		objects               []string
		blamed                v1alpha1.Object
		reason, message, cure string
	}{
		"pools that overlap": {[]string{"kind: AddressPool\nmetadata: {name: a}\nspec: {cidrs: [10.9.0.0/24], use: Egress}",
			"kind: AddressPool\nmetadata: {name: b}\nspec: {cidrs: [10.9.0.128/25], use: Egress}"},
			&v1alpha1.AddressPool{}, "Overlap", "overlaps 10.9.0.0/24 of AddressPool a", `{"spec":{"cidrs":["10.8.0.0/24"]}}`},
		"a pool by itself": {[]string{"kind: AddressPool\nmetadata: {name: b}\nspec: {cidrs: [10.9.0.0/24, 10.9.0.128/25], use: Egress}"},
			&v1alpha1.AddressPool{}, "Invalid", "overlaps 10.9.0.0/24 of the same list", `{"spec":{"cidrs":["10.9.0.0/24"]}}`},
		"a pool that is missing": {[]string{"kind: EgressPolicy\nmetadata: {name: b}\nspec: {destinations: [203.0.113.0/24], source: Gateway, gateway: {pool: none}}"},
			&v1alpha1.EgressPolicy{}, "MissingPool", "there is no AddressPool none", `{"spec":{"gateway":{"pool":null}}}`},
		"a policy that never applies": {[]string{"kind: EgressPolicy\nmetadata: {name: a}\nspec: {priority: 1, source: Pod}",
			"kind: EgressPolicy\nmetadata: {name: b}\nspec: {destinations: [203.0.113.0/24], source: Node}"},
			&v1alpha1.EgressPolicy{}, "Shadowed", "decided before by a", `{"spec":{"priority":0}}`},
		"peers at one address": {[]string{"kind: BGPPeer\nmetadata: {name: a}\nspec: {address: 10.132.2.254, asn: 64512}",
			"kind: BGPPeer\nmetadata: {name: b}\nspec: {address: 10.132.2.254, asn: 64512}"},
			&v1alpha1.BGPPeer{}, "Duplicate", "BGPPeer a has the same address", `{"spec":{"address":"10.132.2.253"}}`},
		"an address outside the pools": {[]string{"kind: AddressPool\nmetadata: {name: a}\nspec: {cidrs: [10.132.2.240/29], use: Egress}",
			"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {addresses: [10.132.2.230]}}"},
			&v1alpha1.EgressPolicy{}, "OutsidePools", "10.132.2.230 is in no AddressPool", `{"spec":{"gateway":{"addresses":["10.132.2.241"]}}}`},
		"an address of two policies": {[]string{"kind: EgressPolicy\nmetadata: {name: a}\nspec: {destinations: [203.0.113.0/24], source: Gateway, gateway: {addresses: [10.132.2.240]}}",
			"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {nodeSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}, addresses: [10.132.2.240]}}"},
			&v1alpha1.EgressPolicy{}, "Taken", "is of EgressPolicy a", `{"spec":{"gateway":{"nodeSelector":null}}}`},
		"an address of a node": {[]string{"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {addresses: [10.132.2.11]}}"},
			&v1alpha1.EgressPolicy{}, "InUse", "is of node address n1", `{"spec":{"gateway":{"addresses":["10.132.2.12"]}}}`},
		"an address of a pod": {[]string{"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {addresses: [10.244.11.7]}}"},
			&v1alpha1.EgressPolicy{}, "InUse", "is of Node n1", `{"spec":{"gateway":{"addresses":["10.132.2.12"]}}}`},
		"an address of a router": {[]string{"kind: DatacenterNetwork\nmetadata: {name: default}\nspec: {cidrs: [10.132.0.0/16], gateways: [{name: core1, address: 10.132.2.254, dialect: frr, nodeSubnets: [10.132.2.0/24]}]}",
			"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {addresses: [10.132.2.254]}}"},
			&v1alpha1.EgressPolicy{}, "InUse", "is of DatacenterNetwork default (gateway core1)", `{"spec":{"gateway":{"addresses":["10.132.2.253"]}}}`},
		"an empty pool": {[]string{"kind: AddressPool\nmetadata: {name: a}\nspec: {cidrs: [10.132.2.240/32], use: Egress}",
			"kind: EgressPolicy\nmetadata: {name: a}\nspec: {destinations: [203.0.113.0/24], source: Gateway, gateway: {pool: a}}",
			"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {pool: a}}"},
			&v1alpha1.EgressPolicy{}, "Exhausted", "the pool has no IPv4 address left", `{"spec":{"gateway":{"pool":null}}}`},
		"a pool for Services": {[]string{"kind: AddressPool\nmetadata: {name: a}\nspec: {cidrs: [10.9.0.0/24], use: LoadBalancer}",
			"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {pool: a}}"},
			&v1alpha1.EgressPolicy{}, "WrongUse", "AddressPool a is for LoadBalancer", `{"spec":{"gateway":{"pool":null}}}`},
		"no gateway": {[]string{"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {nodeSelector: {matchLabels: {no: \"yes\"}}}}"},
			&v1alpha1.EgressPolicy{}, "NoGateway", "no node matches gateway.nodeSelector", `{"spec":{"gateway":{"nodeSelector":null}}}`},
		"no gateway with IPv6": {[]string{"kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {addresses: [\"2001:db8::1\"]}}"},
			&v1alpha1.EgressPolicy{}, "NoFamily", "has an IPv6 address", `{"spec":{"gateway":{"addresses":["10.132.2.12"]}}}`},
		"a cluster in the datacenter": {[]string{"kind: DatacenterNetwork\nmetadata: {name: default}\nspec: {cidrs: [10.132.0.0/16], clusterCIDRs: [10.132.64.0/18]}"},
			&v1alpha1.DatacenterNetwork{}, "Overlap", "10.132.64.0/18 of spec.clusterCIDRs", `{"spec":{"clusterCIDRs":["10.244.0.0/16"]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			c.gateway(t, "n1", "10.132.2.11", nil)
			c.apply(t, tt.objects...)
			object := "b"
			if _, singleton := tt.blamed.(*v1alpha1.DatacenterNetwork); singleton {
				object = v1alpha1.DefaultName
			}
			c.condition(t, tt.blamed, object, "Valid", "False", tt.reason, tt.message)
			kind := strings.TrimPrefix(fmt.Sprintf("%T", tt.blamed), "*v1alpha1.")
			c.event(t, kind, object, tt.reason)
			c.patch(t, tt.blamed, object, tt.cure)
			c.condition(t, tt.blamed, object, "Valid", "True", "Valid", "")
			c.event(t, kind, object, "Valid")
		})
	}
	t.Run("an address of a Service", func(t *testing.T) {
		c.gateway(t, "n1", "10.132.2.11", nil)
		const service = "{apiVersion: v1, kind: Service, metadata: {name: NAME, namespace: default}, spec: {externalIPs: [ADDRESS], ports: [{port: 80}]}}"
		one := strings.NewReplacer("NAME", "one", "ADDRESS", "10.132.2.12").Replace(service)
		c.kube.Apply(t, one)
		c.apply(t, "kind: EgressPolicy\nmetadata: {name: b}\nspec: {source: Gateway, gateway: {addresses: [10.132.2.12]}}")
		c.condition(t, &v1alpha1.EgressPolicy{}, "b", "Valid", "False", "InUse", "10.132.2.12 is of Service default/one: not in force")
		c.owned(t, "b", "")
		if _, err := c.kube.KubectlAs(c.kube.Admin, one, "delete", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		c.condition(t, &v1alpha1.EgressPolicy{}, "b", "Valid", "True", "Valid", "")
		c.owned(t, "b", "10.132.2.12 1: n1")
		two := strings.NewReplacer("NAME", "two", "ADDRESS", "10.132.2.12").Replace(service) // who came later takes nothing away
		c.kube.Apply(t, two)
		c.condition(t, &v1alpha1.EgressPolicy{}, "b", "Valid", "False", "InUse", "it stays in force")
		c.owned(t, "b", "10.132.2.12 1: n1")
		if _, err := c.kube.KubectlAs(c.kube.Admin, two, "delete", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a Secret that is missing", func(t *testing.T) {
		c.node(t, "n1", nil, "10.244.1.0/24")
		c.apply(t, "kind: BGPConfiguration\nmetadata: {name: default}\nspec: {asn: 64513}",
			"kind: BGPPeer\nmetadata: {name: c}\nspec: {address: 10.132.2.254, asn: 64512, passwordSecret: {namespace: waymark-system, name: rr, key: password}}")
		c.condition(t, &v1alpha1.BGPConfiguration{}, "default", "Valid", "True", "Valid", "")
		c.report(t, "n1", v1alpha1.NodeRoutingStateStatus{Problems: []v1alpha1.ProblemStatus{
			{Object: "BGPPeer/c", Reason: "MissingSecret", Message: "there is no key"}, {Object: "BGPPeer/c", Reason: "PeerIsSelf", Message: "it is me"}}})
		c.condition(t, &v1alpha1.BGPPeer{}, "c", "Valid", "False", "MissingSecret", "on n1: there is no key")
		c.event(t, "BGPPeer", "c", "MissingSecret")
	})
}

func letGo(t *testing.T, c cluster) {
	c.apply(t, "kind: BGPConfiguration\nmetadata: {name: default}\nspec: {asn: 64513}",
		"kind: EgressPolicy\nmetadata: {name: datacenter}\nspec: {destinations: [10.132.0.0/16], source: Pod}")
	n := c.node(t, "n1", nil, "10.244.1.0/24")
	c.patch(t, n, "n1", `{"spec":{"taints":[{"key":"waymark.io/not-ready","effect":"NoSchedule"},{"key":"other","effect":"NoSchedule"}]}}`)
	ready := v1alpha1.NodeRoutingStateStatus{
		Gate: v1alpha1.GateStatus{Open: true}, Wanted: 1, Established: 1, Announced: []string{"10.244.1.0/24"},
		Policies: []v1alpha1.PolicyStatus{{Name: "datacenter", Generation: 1}},
	}
	held := func() bool {
		t.Helper()
		var node corev1.Node
		if err := c.Get(t.Context(), client.ObjectKey{Name: "n1"}, &node); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == "other" }) {
			t.Fatalf("taints: %v", node.Spec.Taints)
		}
		return slices.ContainsFunc(node.Spec.Taints, holds)
	}
	for name, spoil := range map[string]func(*v1alpha1.NodeRoutingStateStatus){
		"the gate is closed":       func(s *v1alpha1.NodeRoutingStateStatus) { s.Gate.Open = false },
		"no session":               func(s *v1alpha1.NodeRoutingStateStatus) { s.Established = 0 },
		"the prefix is unannouced": func(s *v1alpha1.NodeRoutingStateStatus) { s.Announced = []string{"10.244.9.0/24"} },
		"an older policy":          func(s *v1alpha1.NodeRoutingStateStatus) { s.Policies = []v1alpha1.PolicyStatus{{Name: "datacenter"}} },
		"the policy is missing":    func(s *v1alpha1.NodeRoutingStateStatus) { s.Policies = nil },
	} {
		spoilt := ready
		spoil(&spoilt)
		c.report(t, "n1", spoilt)
		for range 10 {
			if !held() {
				t.Fatalf("let go though %s", name)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	c.report(t, "n1", ready)
	nettest.Eventually(t, 10*time.Second, func() error {
		if held() {
			return fmt.Errorf("the taint is still there")
		}
		return nil
	})
}

func TestSettled(t *testing.T) {
	no := false
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	policies := []v1alpha1.EgressPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 2}}}
	good := func() *v1alpha1.NodeRoutingState {
		return &v1alpha1.NodeRoutingState{
			ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: "u"}}},
			Spec:       v1alpha1.NodeRoutingStateSpec{PodCIDRs: []v1alpha1.PrefixVerdict{{Prefix: "10.244.1.0/24"}}},
			Status: v1alpha1.NodeRoutingStateStatus{Gate: v1alpha1.GateStatus{Open: true}, Announced: []string{"10.244.1.0/24"},
				Policies: []v1alpha1.PolicyStatus{{Name: "p", Generation: 2}}},
		}
	}
	for name, tt := range map[string]struct {
		change        func(*v1alpha1.NodeRoutingState)
		configuration *v1alpha1.BGPConfiguration
		want          bool
	}{
		"good":             {func(*v1alpha1.NodeRoutingState) {}, &v1alpha1.BGPConfiguration{}, true},
		"no configuration": {func(*v1alpha1.NodeRoutingState) {}, nil, false},
		"of an older Node": {func(s *v1alpha1.NodeRoutingState) { s.OwnerReferences[0].UID = "old" }, &v1alpha1.BGPConfiguration{}, false},
		"not judged":       {func(s *v1alpha1.NodeRoutingState) { s.Spec.PodCIDRs = nil }, &v1alpha1.BGPConfiguration{}, false},
		"a newer policy":   {func(s *v1alpha1.NodeRoutingState) { s.Status.Policies[0].Generation = 3 }, &v1alpha1.BGPConfiguration{}, true},
		"another notation": {func(s *v1alpha1.NodeRoutingState) {
			s.Spec.PodCIDRs[0].Prefix, s.Status.Announced = "FD00:0:0:1::/64", []string{"fd00:0:0:1::/64"}
		}, &v1alpha1.BGPConfiguration{}, true},
		"nothing announced": {func(s *v1alpha1.NodeRoutingState) { s.Status.Announced = nil }, &v1alpha1.BGPConfiguration{}, false},
		"nothing to announce": {func(s *v1alpha1.NodeRoutingState) { s.Status.Announced = nil },
			&v1alpha1.BGPConfiguration{Spec: v1alpha1.BGPConfigurationSpec{Advertise: v1alpha1.Advertise{PodCIDRs: &no}}}, true},
		"a policy that cannot be": {func(s *v1alpha1.NodeRoutingState) {
			s.Status.Policies = nil
			s.Status.Problems = []v1alpha1.ProblemStatus{{Object: "EgressPolicy/p", Reason: "Invalid"}}
		}, &v1alpha1.BGPConfiguration{}, true},
	} {
		state := good()
		tt.change(state)
		if got := settled(node, state, tt.configuration, policies); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
