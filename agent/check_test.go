package agent

import (
	"strings"
	"testing"
)

const (
	older   = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, creationTimestamp: \"2026-01-01T00:00:00Z\", labels: {rack: a}, annotations: {tor: 10.132.2.254}}\nspec: {podCIDRs: [10.244.1.0/24, \"2001:db8:1::/64\"]}\nstatus: {addresses: [{type: InternalIP, address: 10.132.2.11}]}\n"
	younger = "apiVersion: v1\nkind: Node\nmetadata: {name: n0, creationTimestamp: \"2026-01-02T00:00:00Z\", labels: {rack: b}}\nspec: {podCIDRs: [10.244.2.0/24]}\nstatus: {addresses: [{type: InternalIP, address: 10.132.2.12}]}\n"
	network = "apiVersion: waymark.io/v1alpha1\nkind: DatacenterNetwork\nmetadata: {name: default}\nspec: {cidrs: [10.132.0.0/16], clusterCIDRs: [10.244.0.0/16], gateways: [{name: core1, address: 10.132.2.254}]}\n"
)

// object is a manifest of our group in one line.
func manifest(kind, name, spec string) string {
	return "apiVersion: waymark.io/v1alpha1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		objects []string
		want    string
	}{
		"all is well": {[]string{older, younger, network,
			manifest("AddressPool", "egress", "cidrs: [10.132.2.240/29], use: Egress"),
			manifest("EgressPolicy", "bank", "source: Gateway, destinations: [203.0.113.0/24], gateway: {pool: egress}"),
			manifest("EgressPolicy", "rest", "priority: 2000, source: Node"),
			manifest("BGPPeer", "rr1", "address: 10.132.2.254, asn: 64512, nodeSelector: {matchLabels: {rack: a}}"),
			manifest("BGPPeer", "rr2", "address: 10.132.2.254, asn: 64512, nodeSelector: {matchLabels: {rack: b}}, passwordSecret: {namespace: w, name: rr, key: password}"),
			manifest("NodeRole", "egress", "label: {key: cluster.k8s/egress, value: enabled}"),
			manifest("NodeRole", "ingress", "label: {key: cluster.k8s/ingress, value: enabled}"),
		}, ""},
		"two nodes, one PodCIDR": {[]string{strings.Replace(younger, "10.244.2.0", "10.244.1.0", 1), older},
			"Node/n0: Overlap: 10.244.1.0/24 of Node n0 overlaps 10.244.1.0/24 of Node n1, which is older: not announced"},
		"two nodes, one address": {[]string{strings.Replace(younger, "10.132.2.12", "10.132.2.11", 1), older},
			"Node/n1: Duplicate: 10.132.2.11 is the InternalIP of Node n0 too: what is sent to one may reach the other; correct the one that is wrong, or delete the Node that is gone"},
		"a PodCIDR in another": {[]string{strings.Replace(younger, "10.244.2.0/24", "10.244.0.0/16", 1), older},
			"Node/n0: Overlap: 10.244.0.0/16 of Node n0 overlaps 10.244.1.0/24 of Node n1, which is older: not announced"},
		"a PodCIDR in the datacenter": {[]string{strings.Replace(older, "10.244.1.0", "10.132.7.0", 1), network}, `
DatacenterNetwork/default: Overlap: 10.132.7.0/24 of Node n1 overlaps 10.132.0.0/16 of DatacenterNetwork default: not announced; there are 1 such PodCIDRs: they or spec.cidrs are wrong
Node/n1: Overlap: 10.132.7.0/24 of Node n1 overlaps 10.132.0.0/16 of DatacenterNetwork default: not announced`},
		"a PodCIDR over the nodes": {[]string{strings.Replace(older, "10.244.1.0", "10.132.2.0", 1), younger},
			"Node/n1: Overlap: 10.132.2.0/24 of Node n1 overlaps 10.132.2.11/32 of node address n1; and 1 more: not announced"},
		"the cluster in the datacenter": {[]string{strings.Replace(network, "10.244.0.0", "10.132.0.0", 1)},
			"DatacenterNetwork/default: Overlap: 10.132.0.0/16 of spec.clusterCIDRs overlaps 10.132.0.0/16 of spec.cidrs: an address there belongs to the cluster or to the datacenter, not to both"},
		"two datacenters": {[]string{network, manifest("DatacenterNetwork", "dc2", "cidrs: [10.0.0.0/8]")},
			"DatacenterNetwork/dc2: Duplicate: there is one DatacenterNetwork, named default: this one is ignored"},
		"two configurations": {[]string{manifest("BGPConfiguration", "mine", "asn: 1")},
			"BGPConfiguration/mine: Duplicate: there is one BGPConfiguration, named default: this one is ignored"},
		"pools": {[]string{older, network, manifest("AddressPool", "a", "cidrs: [10.9.0.0/24], use: Egress"),
			manifest("AddressPool", "b", "cidrs: [10.9.0.128/25], use: LoadBalancer"), manifest("AddressPool", "c", "cidrs: [10.244.1.128/25], use: Egress"),
			manifest("AddressPool", "d", "cidrs: [10.132.2.248/29], use: Egress"), manifest("AddressPool", "e", "cidrs: [10.132.2.8/29], use: Egress")}, `
AddressPool/b: Overlap: 10.9.0.128/25 of AddressPool b overlaps 10.9.0.0/24 of AddressPool a, which is as old and first by name
AddressPool/c: Overlap: 10.244.1.128/25 of AddressPool c overlaps 10.244.1.0/24 of Node n1
AddressPool/d: Overlap: 10.132.2.248/29 of AddressPool d overlaps 10.132.2.254/32 of DatacenterNetwork default (gateway core1)
AddressPool/e: Overlap: 10.132.2.8/29 of AddressPool e overlaps 10.132.2.11/32 of node address n1`},
		"no such pool": {[]string{manifest("EgressPolicy", "bank", "source: Gateway, destinations: [203.0.113.0/24], gateway: {pool: egress}")},
			"EgressPolicy/bank: MissingPool: spec.gateway.pool: there is no AddressPool egress"},
		"a pool of another use": {[]string{manifest("AddressPool", "lb", "cidrs: [10.9.0.0/24], use: LoadBalancer"),
			manifest("EgressPolicy", "bank", "source: Gateway, destinations: [203.0.113.0/24], gateway: {pool: lb}")},
			"EgressPolicy/bank: WrongUse: spec.gateway.pool: AddressPool lb is for LoadBalancer: want one with use: Egress"},
		"a full pool": {[]string{manifest("AddressPool", "egress", "cidrs: [10.9.0.1/32], use: Egress"),
			manifest("EgressPolicy", "a", "source: Gateway, destinations: [203.0.113.0/24], gateway: {pool: egress}"),
			manifest("EgressPolicy", "b", "source: Gateway, destinations: [198.51.100.0/24], gateway: {pool: egress}")},
			"EgressPolicy/b: Exhausted: the pool has no IPv4 address left"},
		"addresses outside and inside the pools": {[]string{older, younger, manifest("AddressPool", "egress", "cidrs: [10.132.2.240/29], use: Egress"),
			manifest("EgressPolicy", "bank", "source: Gateway, destinations: [203.0.113.0/24], gateway: {addresses: [10.132.2.240, 10.132.2.250]}")},
			"EgressPolicy/bank: OutsidePools: 10.132.2.250 is in no AddressPool with use: Egress: not in force"},
		"addresses of others": {[]string{older, younger, network, manifest("AddressPool", "lb", "cidrs: [10.9.0.0/24], use: LoadBalancer"),
			manifest("EgressPolicy", "bank", "source: Gateway, destinations: [203.0.113.0/24], gateway: {addresses: [10.132.2.11, 10.244.2.9, 10.132.2.254, 10.9.0.7, 10.132.2.240]}")}, `
EgressPolicy/bank: InUse: 10.132.2.11 is of node address n1: not in force
EgressPolicy/bank: InUse: 10.244.2.9 is of Node n0: not in force
EgressPolicy/bank: InUse: 10.132.2.254 is of DatacenterNetwork default (gateway core1): not in force
EgressPolicy/bank: InUse: 10.9.0.7 is of AddressPool lb: not in force`},
		"one address, two policies": {[]string{older, younger,
			manifest("EgressPolicy", "a", "source: Gateway, destinations: [203.0.113.0/24], gateway: {addresses: [10.132.2.240]}"),
			manifest("EgressPolicy", "b", "source: Gateway, destinations: [198.51.100.0/24], gateway: {addresses: [10.132.2.240], nodeSelector: {matchLabels: {rack: a}}}"),
			manifest("EgressPolicy", "c", "source: Gateway, destinations: [192.0.2.0/24], gateway: {addresses: [10.132.2.240], nodeSelector: {}}")},
			"EgressPolicy/b: Taken: 10.132.2.240 is of EgressPolicy a, which has another gateway.nodeSelector and goes first by age and name: not in force here"},
		"no gateway": {[]string{older, younger, manifest("EgressPolicy", "bank", "source: Gateway, destinations: [203.0.113.0/24], gateway: {nodeSelector: {matchLabels: {rack: c}}}")},
			"EgressPolicy/bank: NoGateway: no node matches gateway.nodeSelector: the fallback is in force"},
		"no gateway with IPv6": {[]string{older, younger, manifest("EgressPolicy", "bank", "source: Gateway, destinations: [203.0.113.0/24], gateway: {addresses: [10.132.2.240, \"2001:db8::1\"]}")},
			"EgressPolicy/bank: NoFamily: 2001:db8::1: no node that matches gateway.nodeSelector has an IPv6 address: the fallback is in force"},
		"a policy behind two others": {[]string{manifest("EgressPolicy", "first", "priority: 5, source: Pod, destinations: [10.0.0.0/9]"),
			manifest("EgressPolicy", "second", "priority: 6, source: Pod, destinations: [10.128.0.0/9]"),
			manifest("EgressPolicy", "late", "source: Node, destinations: [10.1.0.0/16, 10.200.0.0/16]")},
			"EgressPolicy/late: Shadowed: it never applies: all its destinations are decided before by first, second, for all pods; give it a lower spec.priority, or narrow the earlier one"},
		"a policy behind the datacenter's": {[]string{network, manifest("EgressPolicy", "a", "source: Pod, destinationsFrom: DatacenterNetwork"),
			manifest("EgressPolicy", "b", "source: Node, destinations: [10.132.7.0/24], pods: {podSelector: {matchLabels: {a: b}}}")},
			"EgressPolicy/b: Shadowed: it never applies: all its destinations are decided before by a, for all pods; give it a lower spec.priority, or narrow the earlier one"},
		"two policies for everything": {[]string{network, manifest("EgressPolicy", "a", "source: Pod"), manifest("EgressPolicy", "b", "source: Node")},
			"EgressPolicy/b: Shadowed: it never applies: all its destinations are decided before by a, for all pods; give it a lower spec.priority, or narrow the earlier one"},
		"a policy for what an earlier one leaves out": {[]string{manifest("EgressPolicy", "a", "source: Pod, excludeDestinations: [10.7.0.0/16]"),
			manifest("EgressPolicy", "b", "source: Node, destinations: [10.0.0.0/8]")}, ""},
		"a policy that leaves out the same": {[]string{manifest("EgressPolicy", "a", "source: Pod, destinations: [10.0.0.0/8], excludeDestinations: [10.7.0.0/16]"),
			manifest("EgressPolicy", "b", "source: Node, destinations: [10.0.0.0/8], excludeDestinations: [10.6.0.0/15]")},
			"EgressPolicy/b: Shadowed: it never applies: all its destinations are decided before by a, for all pods; give it a lower spec.priority, or narrow the earlier one"},
		"a policy for a part of the cluster": {[]string{network, manifest("EgressPolicy", "a", "source: Pod"),
			manifest("EgressPolicy", "b", "source: Node, destinations: [10.244.7.0/24]")}, ""},
		"an earlier policy for some pods": {[]string{manifest("EgressPolicy", "a", "source: Pod, pods: {podSelector: {matchLabels: {a: b}}}"),
			manifest("EgressPolicy", "b", "source: Node, destinations: [10.0.0.0/8]")}, ""},
		"two peers at one address": {[]string{older, younger, manifest("BGPPeer", "rr1", "address: 10.132.2.253, asn: 64512"),
			manifest("BGPPeer", "rr2", "address: 10.132.2.253, asn: 64512, nodeSelector: {matchLabels: {rack: b}}")},
			"BGPPeer/rr2: Duplicate: on Node n0 BGPPeer rr1 has the same address 10.132.2.253: one of the two is ignored there"},
		"a peer of an annotation": {[]string{older, younger, manifest("BGPPeer", "rr1", "address: 10.132.2.254, asn: 64512"),
			manifest("BGPPeer", "tor", "fromNodeAnnotation: tor, asn: 64512")},
			"BGPPeer/tor: Duplicate: on Node n1 BGPPeer rr1 has the same address 10.132.2.254: one of the two is ignored there"},
		"no such key": {[]string{"apiVersion: v1\nkind: Secret\nmetadata: {namespace: w, name: rr}\nstringData: {other: x}\n",
			manifest("BGPPeer", "rr1", "address: 10.132.2.254, asn: 64512, passwordSecret: {namespace: w, name: rr, key: password}")},
			`BGPPeer/rr1: MissingSecret: there is no key "password" in Secret w/rr`},
		"two roles of one label": {[]string{manifest("NodeRole", "b", "label: {key: k, value: v}"), manifest("NodeRole", "a", "label: {key: k, value: v}")},
			"NodeRole/b: Duplicate: NodeRole a keeps the label k=v already: this one does nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range Check(snapshot(t, strings.Join(tt.objects, "---\n"))) {
				got = append(got, p.String())
			}
			if want := strings.TrimPrefix(tt.want, "\n"); strings.Join(got, "\n") != want {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	s := snapshot(t, strings.Join([]string{older, strings.Replace(younger, "[10.244.2.0/24]", "[10.244.1.0/24, 10.244.9.1/24, 10.244.8.0/24]", 1)}, "---\n"))
	verdicts := Judge(s.Nodes, s.Datacenters)
	for _, v := range verdicts["n1"] {
		if v.Conflict != "" {
			t.Errorf("the older node: %+v", v)
		}
	}
	want := []string{"10.244.1.0/24 of Node n0 overlaps 10.244.1.0/24 of Node n1, which is older", `"10.244.9.1/24" has host bits set: did you mean 10.244.9.0/24`, ""}
	for i, v := range verdicts["n0"] {
		if v.Conflict != want[i] {
			t.Errorf("%s: %q, want %q", v.Prefix, v.Conflict, want[i])
		}
	}
	if len(verdicts["n1"]) != 2 || len(verdicts["n0"]) != 3 {
		t.Errorf("%v", verdicts)
	}
}
