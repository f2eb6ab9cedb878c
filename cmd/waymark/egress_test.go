package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

const bank = `
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: bank}
spec:
  priority: 20
  destinations: [203.0.113.0/24]
  excludeDestinations: [203.0.113.128/25]
  source: Gateway
  gateway: {nodeSelector: {matchLabels: {egress: "yes"}}, addresses: [198.51.100.7], fallback: Drop}
`

// testEgress goes on with the cluster: node-1, node-3 and node-4 are gateways of an address. The controller has node-1 first;
// node-3 has taken over from it, and the controller has not heard of that yet. Node-4 does not report.
func testEgress(t *testing.T, k *nettest.Kube, must func(...string) string) {
	k.Apply(t, bank)
	status := func(kind, name, patch string) {
		t.Helper()
		patch = strings.ReplaceAll(patch, "NOW", time.Now().UTC().Format(time.RFC3339))
		if out, err := k.Kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	contains(t, must("explain", "policy", "bank"), "It has no address: the controller has given it none yet")
	for _, node := range []string{"node-1", "node-3", "node-4"} {
		if _, err := k.Kubectl("label", "node", node, "egress=yes"); err != nil {
			t.Fatal(err)
		}
	}
	status("egp", "bank", `{"status": {"nodes": 2, "conditions": [{"type": "Valid", "status": "True", "reason": "Valid", "message": "", "lastTransitionTime": "NOW", "observedGeneration": 1},
	  {"type": "Ready", "status": "False", "reason": "NotOnAllNodes", "message": "not on node-2", "lastTransitionTime": "NOW", "observedGeneration": 1}], "addresses":
	  [{"address": "198.51.100.7", "vni": 7, "term": 2, "gateways": [{"node": "node-1", "address": "10.132.2.11"}, {"node": "node-3", "address": "10.132.2.13"}, {"node": "node-4", "address": "10.132.2.14"}]}]}}`)
	status("nrs", "node-1", `{"status": {"announced": ["10.244.1.0/24", "198.51.100.7/32"], "egress": [{"address": "198.51.100.7", "vni": 7, "term": 2, "owner": "node-3"}],
	  "policies": [{"name": "inside", "generation": 1}, {"name": "payments", "generation": 1}, {"name": "bank", "generation": 1}]}}`)
	status("nrs", "node-2", `{"status": {"egress": [{"address": "198.51.100.7", "vni": 7, "term": 2, "owner": "node-3", "uses": true, "dead": ["node-1"], "failovers": 1, "lastFailover": "NOW", "lastOutage": 550}],
	  "problems": [{"object": "EgressPolicy/bank", "reason": "TooMany", "message": "some"}]}}`)
	status("nrs", "node-3", `{"status": {"announced": ["10.244.3.0/24", "198.51.100.7/32"], "egress": [{"address": "198.51.100.7", "vni": 7, "term": 2, "owner": "node-3", "failovers": 1}],
	  "policies": [{"name": "bank", "generation": 1}]}}`)

	out := must("explain", "policy", "bank")
	contains(t, out, "EgressPolicy bank, generation 1, priority 20, source Gateway",
		"from all pods", "to 203.0.113.0/24, but not to 203.0.113.128/25",
		"with the address 198.51.100.7", "by nodes egress=yes", "without a gateway Drop",
		"condition Valid True: Valid", "condition Ready False: NotOnAllNodes: not on node-2",
		"ADDRESS 198.51.100.7, VNI 7, term 2",
		"owner, as the controller says node-1", "owner, as nodes see it node-3 on node-1, node-2, node-3, itself too",
		"1 node-1 10.132.2.11 does not answer node-2; announces the address",
		"2 node-3 10.132.2.13 announces the address",
		"3 node-4 10.132.2.14 the agent does not report",
		"node-1 yes no 198.51.100.7 by node-3 none",
		"node-3 yes no 198.51.100.7 by node-3 1",
		"node-4 no: the agent does not report no none none")
	if !strings.Contains(out, "550ms without") || !strings.Contains(out, "no: TooMany: some") {
		t.Errorf("of node-2:\n%s", out)
	}
	contains(t, must("explain", "policy", "payments"), "EgressPolicy payments, generation 1, priority 10, source Node",
		"from pods with app=pay, in namespaces with any labels", "node-1 yes", "node-2 no: the node has not taken it up yet")
	if _, err := run(t, "", "explain", "policy", "none"); err == nil || err.Error() != `there is no EgressPolicy "none"` {
		t.Errorf("of no policy: %v", err)
	}
	contains(t, must("explain", "node", "node-1"), "198.51.100.7 bank gateway node-3 node-1")
	contains(t, must("explain", "node", "node-2"), "198.51.100.7 bank uses it node-3 node-1")
	contains(t, must("explain", "node", "node-5"), "Node node-5 has never reported: below is what should be in force there")
	if out := must("explain", "node", "node-5"); strings.Contains(out, "NoUnderlay") {
		t.Errorf("a node of which nothing is known:\n%s", out)
	}
	contains(t, must("status"), "198.51.100.7 bank node-1 node-3, node-4 node-3 node-1, node-2, node-3")
	contains(t, must("routes"), "198.51.100.7/32 node-1 egress address of bank, first of its gateways",
		"198.51.100.7/32 node-3 egress address of bank, standby", "198.51.100.7/32 node-4 the agent does not report")
	var view overview
	if err := json.Unmarshal([]byte(must("status", "-o", "json")), &view); err != nil || len(view.Egress) != 1 || len(view.Egress[0].Seen["node-3"]) != 3 {
		t.Errorf("status as JSON: %v %+v", err, view.Egress)
	}

	plan := func(manifests string) string {
		t.Helper()
		out, err := run(t, manifests, "plan", "-f", "-")
		if err != nil && !errors.Is(err, errFound) {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	contains(t, plan(bank), "nothing changes on any of 5 nodes")
	drained := "apiVersion: v1\nkind: Node\nmetadata: {name: node-3, labels: {waymark.io/drain: ''}}\n"
	contains(t, plan(drained), "~ egress 198.51.100.7 has the owner node-1, before node-3", "on node-3:", "! prefix 198.51.100.7/32 is withdrawn")
	contains(t, plan(strings.Replace(bank, "fallback: Drop", "fallback: Node", 1)), "~ policy bank changes for new connections: fallback Node, before Drop")
	contains(t, plan(strings.Replace(bank, `{egress: "yes"}`, `{egress: "no"}`, 1)),
		"! problem comes: EgressPolicy/bank: NoGateway: no node matches gateway.nodeSelector: the fallback is in force",
		"on 3 nodes, node-1, node-3, node-4:", "! prefix 198.51.100.7/32 is withdrawn", "! egress 198.51.100.7 has no owner, before node-3: the fallback is in force")
	contains(t, plan(strings.NewReplacer("name: bank", "name: shop", "198.51.100.7", "198.51.100.8").Replace(bank)), "+ policy shop is added: priority 20, source Gateway")
}
