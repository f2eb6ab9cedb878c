package agent

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/ipam"
)

// gatewayNodes are n1 to n4, the gateways a, b and c among them.
func gatewayNodes(drains ...string) string {
	var nodes []string
	for i, name := range []string{"n1", "a", "b", "c"} {
		labels := `egress: "yes"`
		if name == "n1" {
			labels = ""
		}
		if slices.Contains(drains, name) {
			labels += `, waymark.io/drain: ""`
		}
		nodes = append(nodes, fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {%s}}\nspec: {podCIDRs: [10.244.%d.0/24]}\n"+
			"status: {addresses: [{type: ExternalIP, address: 192.0.2.%d}, {type: InternalIP, address: \"2001:db8::%d\"}, {type: InternalIP, address: 10.132.2.%d}]}\n",
			name, labels, i, i, i+1, 11+i))
	}
	return strings.Join(nodes, "---\n")
}

const gatewayPolicies = "---\n" +
	"apiVersion: waymark.io/v1alpha1\nkind: AddressPool\nmetadata: {name: egress}\nspec: {cidrs: [10.132.2.240/28, \"2001:db8:1::/64\"], use: Egress}\n---\n" +
	"apiVersion: waymark.io/v1alpha1\nkind: EgressPolicy\nmetadata: {name: pooled}\nspec: {source: Gateway, destinations: [203.0.113.0/24], gateway: {nodeSelector: {matchLabels: {egress: \"yes\"}}, pool: egress}}\n---\n" +
	"apiVersion: waymark.io/v1alpha1\nkind: EgressPolicy\nmetadata: {name: fixed}\nspec: {source: Gateway, destinations: [198.51.100.0/24], gateway: {nodeSelector: {matchLabels: {egress: \"yes\"}}, addresses: [10.132.2.241, 10.132.2.242]}}\n---\n" +
	"apiVersion: waymark.io/v1alpha1\nkind: EgressPolicy\nmetadata: {name: own}\nspec: {source: Gateway, destinations: [192.0.2.0/24], gateway: {nodeSelector: {matchLabels: {egress: \"yes\"}}}}\n"

// TestOwners reads the same files as another node does, in another order, and drains a gateway.
func TestOwners(t *testing.T) {
	s := snapshot(t, gatewayNodes()+gatewayPolicies)
	owners, problems := Owners(s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	other := s
	other.Nodes, other.Policies = slices.Clone(s.Nodes), slices.Clone(s.Policies)
	slices.Reverse(other.Nodes)
	slices.Reverse(other.Policies)
	if got, _ := Owners(other); !reflect.DeepEqual(got, owners) {
		t.Errorf("another node has %v, not %v", got, owners)
	}
	first, vnis := map[string]int{}, map[int32]bool{}
	for policy, count := range map[string]int{"pooled": 2, "fixed": 2, "own": 1} {
		if len(owners[policy]) != count {
			t.Fatalf("%s has %+v", policy, owners[policy])
		}
		for _, a := range owners[policy] {
			first[a.Gateways[0].Node]++
			vnis[a.VNI] = true
			if a.Term != 1 || len(a.Gateways) != 3 {
				t.Errorf("%s: %+v", policy, a)
			}
			for _, g := range a.Gateways {
				if want := map[string]string{"a": "10.132.2.12", "b": "10.132.2.13", "c": "10.132.2.14"}[g.Node]; g.Address != want || g.Leaving {
					t.Errorf("%s: gateway %+v, want %s", policy, g, want)
				}
			}
		}
	}
	if len(vnis) != 5 || first["a"]+first["b"]+first["c"] != 5 || max(first["a"], first["b"], first["c"]) > 2 {
		t.Errorf("VNIs %v, first of the lists %v", vnis, first)
	}
	if owners["own"][0].Address != "" || owners["fixed"][0].Address != "10.132.2.241" {
		t.Errorf("%+v", owners)
	}
	drained, _ := Owners(snapshot(t, gatewayNodes("a")+gatewayPolicies))
	for policy, before := range owners {
		for i, was := range before {
			is := drained[policy][i]
			wasFirst := was.Gateways[0].Node == "a"
			if is.Address != was.Address || is.VNI != was.VNI || wasFirst != (is.Term == 2) || !wasFirst && is.Gateways[0] != was.Gateways[0] {
				t.Errorf("%s: %+v, without a %+v", policy, was, is)
			}
			if !slices.ContainsFunc(is.Gateways, func(g v1alpha1.EgressOwner) bool { return g.Node == "a" && g.Leaving }) || is.Gateways[0].Node == "a" {
				t.Errorf("%s: a does not leave: %+v", policy, is)
			}
		}
	}
}

// TestAssign goes on from the status that an earlier controller has left.
func TestAssign(t *testing.T) {
	s := snapshot(t, gatewayNodes()+gatewayPolicies)
	addresses, moves := Assign(s, Liveness{Dead: map[string]bool{"c": true}})
	if len(moves) > 0 || len(addresses["own"][0].Gateways) != 2 {
		t.Fatalf("at the start: %v %v", addresses, moves)
	}
	keep := func() {
		for i := range s.Policies {
			s.Policies[i].Status.Addresses = addresses[s.Policies[i].Name]
		}
	}
	keep()
	again, moves := Assign(s, Liveness{Dead: map[string]bool{"c": true}})
	if !reflect.DeepEqual(again, addresses) || len(moves) > 0 {
		t.Errorf("nothing has changed: %v, was %v, %v", again, addresses, moves)
	}
	was := addresses["fixed"][0]
	next := was.Gateways[1].Node
	place := ipam.Place{Node: next, VNI: uint32(was.VNI), Term: was.Term}
	addresses, moves = Assign(s, Liveness{Reports: map[ipam.Place]ipam.Report{place: {Self: true, Nodes: 2}}})
	is := addresses["fixed"][0]
	if is.Gateways[0].Node != next || is.Term != 2 || len(is.Gateways) != 3 || len(moves) != 1 || moves[0].Cause != ipam.Failover ||
		!strings.HasPrefix(moves[0].String(), "10.132.2.241 moved from "+was.Gateways[0].Node+" to "+next+": ") {
		t.Errorf("%+v became %+v, %v", was, is, moves)
	}
	keep()
	s.Policies[0].Status.Addresses = append(s.Policies[0].Status.Addresses, v1alpha1.EgressAddress{Address: "nonsense", VNI: 3, Term: 1})
	if again, _ := Assign(s, Liveness{}); !reflect.DeepEqual(again, addresses) {
		t.Errorf("a status that is not ours: %v", again)
	}
}

func TestNodePrefixes(t *testing.T) {
	var got []string
	for _, p := range NodePrefixes(snapshot(t, gatewayNodes()).Nodes) {
		got = append(got, p.String())
	}
	if want := "10.132.2.11/32 10.132.2.12/31 10.132.2.14/32 2001:db8::1/128 2001:db8::2/127 2001:db8::4/128"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}
