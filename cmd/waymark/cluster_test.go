package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// run is what the plugin prints when it is called with arguments, and how it ends.
func run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := rootCommand("kubectl-waymark")
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	err := cmd.Execute()
	return out.String(), err
}

const objects = `
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {asn: 64513, learn: {accept: [{prefix: 10.0.0.0/8, minLength: 8, maxLength: 28}]}}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: rr1}
spec:
  address: 10.132.2.254
  asn: 64512
  passwordSecret: {namespace: waymark-system, name: rr, key: one}
  import: [{prefix: 0.0.0.0/0, action: Reject}]
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: rr2}
spec:
  nodeSelector: {matchLabels: {rack: b}}
  address: 10.132.2.253
  asn: 64512
  passwordSecret: {namespace: waymark-system, name: rr, key: two}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {fromNodeAnnotation: waymark.io/tor, asn: 64600}
---
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec: {cidrs: [10.132.0.0/16], clusterCIDRs: [10.244.0.0/16]}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: inside}
spec: {destinationsFrom: DatacenterNetwork, source: Pod}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: payments}
spec:
  priority: 10
  pods: {podSelector: {matchLabels: {app: pay}}}
  destinations: [203.0.113.0/24]
  source: Node
`

// node is a Node with its first PodCIDR.
func node(number int, metadata string) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Node
metadata: {name: node-%d, %s}
spec: {podCIDR: 10.244.%d.0/24, podCIDRs: [10.244.%d.0/24]}
`, number, metadata, number, number)
}

// startCluster is an API server with objects and with nodes that have reported: node-1 is good, node-2 drains and has lost a
// session, node-3 waits for its verdict, node-4 has reported an hour ago, node-5 never.
func startCluster(t *testing.T) *nettest.Kube {
	t.Helper()
	k := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	t.Setenv("KUBECONFIG", k.Admin)
	if _, err := run(t, "", "peers"); err == nil || !strings.Contains(err.Error(), "127.0.0.1:6443: Waymark is not installed on this cluster: there is no bgpconfigurations.waymark.io") {
		t.Errorf("without Waymark: %v", err)
	}
	k.DefineKinds(t)
	k.Apply(t, objects+node(1, "labels: {rack: a}, annotations: {waymark.io/tor: 10.132.1.1, waymark.io/asn: '64701'}")+
		node(2, "labels: {rack: b, waymark.io/drain: ''}")+node(3, "labels: {rack: a}")+node(4, "labels: {rack: a}")+node(5, "labels: {rack: a}"))
	address := `{"status": {"addresses": [{"type": "InternalIP", "address": "10.132.2.%d"}], "conditions": [{"type": "Ready", "status": "True"}]}}`
	for i := 1; i <= 5; i++ {
		if _, err := k.Kubectl("patch", "node", fmt.Sprintf("node-%d", i), "--subresource=status", "-p", fmt.Sprintf(address, 10+i)); err != nil {
			t.Fatal(err)
		}
	}
	now, hour := time.Now().UTC().Format(time.RFC3339), time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	report := func(number int, spec, status string) {
		t.Helper()
		object := fmt.Sprintf("apiVersion: waymark.io/v1alpha1\nkind: NodeRoutingState\nmetadata: {name: node-%d}\nspec: %s\n", number, spec)
		k.Apply(t, object)
		object += "status: " + strings.NewReplacer("NOW", now, "HOUR", hour).Replace(status)
		if out, err := k.KubectlAs(k.Admin, object, "apply", "--server-side", "--subresource=status", "--field-manager=agent", "-f", "-"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	policies := "policies: [{name: inside, generation: 1}, {name: payments, generation: 1}]"
	good := "natBackend: nftables, version: v1, gate: {open: true, reason: Open}, " + policies
	report(1, "{podCIDRs: [{prefix: 10.244.1.0/24}]}", `{reported: NOW, asn: 64701, wanted: 2, established: 2, announced: [10.244.1.0/24], announcedCount: 1,
  learnedCount: 7, sessions: [{peer: rr1, address: 10.132.2.254, state: Established, since: HOUR}, {peer: tor, address: 10.132.1.1, state: Established, since: HOUR}], `+good+"}")
	report(2, "{podCIDRs: [{prefix: 10.244.2.0/24}]}", `{reported: NOW, asn: 64513, wanted: 2, established: 1, announced: [], announcedCount: 0, learnedCount: 3,
  sessions: [{peer: rr1, address: 10.132.2.254, state: Established, since: HOUR}, {peer: rr2, address: 10.132.2.253, state: Active, since: NOW, lastError: hold timer expired}],
  drain: {phase: Drained, since: NOW, message: no packet for 5s}, gate: {open: false, reason: Drain}, policies: [{name: inside, generation: 1}],
  problems: [{object: EgressPolicy/payments, reason: Invalid, message: cannot be}]}`)
	report(3, "{}", `{reported: NOW, asn: 64513, wanted: 1, established: 1, sessions: [{peer: rr1, address: 10.132.2.254, state: Established, since: HOUR}],
  gate: {open: false, reason: NotJudged, message: the controller has not said yet}, `+policies+`,
  problems: [{object: EgressPolicy/payments, reason: Invalid, message: cannot be}]}`)
	report(4, "{podCIDRs: [{prefix: 10.244.4.0/24}]}", `{reported: HOUR, asn: 64513, wanted: 1, established: 1, announced: [10.244.4.0/24], announcedCount: 1,
  sessions: [{peer: rr1, address: 10.132.2.254, state: Established, since: HOUR}], `+good+"}")
	return k
}

// contains wants lines in a text, each given by its words.
func contains(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		found := false
		for _, line := range strings.Split(text, "\n") {
			found = found || strings.Join(strings.Fields(line), " ") == want
		}
		if !found {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

func TestCluster(t *testing.T) {
	k := startCluster(t)
	must := func(args ...string) string {
		t.Helper()
		out, err := run(t, "", args...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}

	out := must("status")
	contains(t, out, "5 nodes, 1 good; 5 of 6 sessions up; 2 prefixes announced; 2 AS numbers, 64513..64701",
		"NODE SESSIONS ANNOUNCED LEARNED REPORTED STATE",
		"node-5 - - - never no report",
		"inside 4/5 node-5", "payments 3/5 node-2, node-5",
		"on node-2, node-3: EgressPolicy/payments: Invalid: cannot be")
	for _, want := range []string{"drained: no packet for 5s", "gate closed: NotJudged: the controller has not said yet", "stale: the agent does not report"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Index(out, "node-1 ") < strings.Index(out, "node-5 ") {
		t.Errorf("the good node is not the last:\n%s", out)
	}
	var view overview
	if err := json.Unmarshal([]byte(must("status", "-o", "json")), &view); err != nil || len(view.Nodes) != 5 || view.Nodes[3].Stale == "" {
		t.Errorf("status as JSON: %v %+v", err, view)
	}

	out = must("peers")
	contains(t, out, "rr1 10.132.2.254 64512 3/5 up", "rr2 10.132.2.253 64512 0/1 up", "tor annotation waymark.io/tor 64600 1/1 up",
		"rr2 is down:", "on node-2: Active: hold timer expired",
		"on node-4: Unknown: the agent does not report; last it said Established", "on node-5: Unknown: no report")
	if out = must("peers", "--node", "node-2"); strings.Contains(out, "node-4") || !strings.Contains(out, "rr2 on node-2: Active") {
		t.Errorf("of one node:\n%s", out)
	}

	contains(t, must("routes"), "10.244.1.0/24 node-1", "10.244.4.0/24 node-4 the agent does not report",
		"10.244.2.0/24 node-2 drained: no packet for 5s", "10.244.3.0/24 node-3 NotJudged: the controller has not said yet",
		"10.244.5.0/24 node-5 no report")
	var routes []routeView
	if err := json.Unmarshal([]byte(must("routes", "-o", "json")), &routes); err != nil || len(routes) != 5 || !routes[0].Announced {
		t.Errorf("routes as JSON: %v %+v", err, routes)
	}

	out = must("explain", "node", "node-1")
	contains(t, out, "AS 64701 from annotation waymark.io/asn of the Node", "router ID 10.132.2.11 the first IPv4 address in the Node's status", "gate: open",
		"10.244.1.0/24 announced it is this node's",
		"rr1 10.132.2.254 64512 1m30s ipv4, ipv6 it selects every node Established, 60m ago",
		"rr2 10.132.2.253 64512 - - it selects nodes with rack=b, and this one has rack=a not this node's",
		"tor 10.132.1.1 64600 1m30s ipv4, ipv6 it selects every node, with the address in annotation waymark.io/tor Established, 60m ago",
		"learned from all accept 10.0.0.0/8 length 8..28; all else is refused", "from rr1, before that reject 0.0.0.0/0 length 0..0; all else goes on",
		"10 payments Node 203.0.113.0/24, from 0 selected pods generation 1 in force", "1000 inside Pod 10.132.0.0/16 generation 1 in force")
	contains(t, must("explain", "node", "node-2"), "EgressPolicy/payments: Invalid: cannot be", "10.244.2.0/24 not announced: drained: no packet for 5s it is this node's",
		"tor annotation waymark.io/tor 64600 - - it selects every node, and this one has no annotation waymark.io/tor to take the address from not this node's")
	contains(t, must("explain", "node", "node-5"), "Node node-5 has never reported: below is what should be in force there", "10.244.5.0/24 not announced: no report nothing yet")
	if _, err := run(t, "", "explain", "node", "node-9"); err == nil || err.Error() != `there is no Node "node-9"` {
		t.Errorf("of no node: %v", err)
	}

	t.Run("plan", func(t *testing.T) { testPlan(t, k) })
	t.Run("egress", func(t *testing.T) { testEgress(t, k, must) })
	t.Run("export", func(t *testing.T) { testExport(t, k, must) })
	t.Run("routers", func(t *testing.T) { testRouters(t, must) })
	t.Run("cidr", testCIDRCheck)

	k.StopAPI()
	if _, err := run(t, "", "status"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("without an API server: %v", err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	if _, err := run(t, "", "status"); err == nil || !strings.Contains(err.Error(), "there is no kubeconfig") {
		t.Errorf("without a kubeconfig: %v", err)
	}
}

// testPlan plans, and then applies: what is in force must be what was planned from.
func testPlan(t *testing.T, k *nettest.Kube) {
	plan := func(manifests string, args ...string) string {
		t.Helper()
		out, err := run(t, manifests, append([]string{"plan", "-f", "-"}, args...)...)
		if changes := !strings.Contains(out, "nothing changes"); err != nil && !errors.Is(err, errFound) || changes != errors.Is(err, errFound) {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	contains(t, plan(objects), "nothing changes on any of 5 nodes")
	dump, err := k.Kubectl("get", "waymark,nodes", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, plan(dump), "nothing changes on any of 5 nodes")

	contains(t, plan(strings.Replace(objects, "asn: 64513", "asn: 64514", 1)), "on 3 nodes, node-3, node-4, node-5:", "~ session rr1 is reset: asn",
		"! node loses all sessions that it has (1), until new ones are up", "on node-2:", "~ session rr2 is reset: asn", "changes on 4 of 5 nodes")
	contains(t, plan(strings.Replace(objects, "key: two", "key: three", 1)), "~ session rr2 is reset: passwordSecret", "changes on 1 of 5 nodes")
	contains(t, plan(strings.Replace(objects, "spec: {asn: 64513,", "spec: {asn: 64513, advertise: {podCIDRs: false},", 1)), "on 4 nodes, node-1, node-3, node-4, node-5:",
		"! prefix 10.244.1.0/24, 10.244.3.0/24, 10.244.4.0/24, 10.244.5.0/24 is withdrawn", "changes on 4 of 5 nodes")
	drained := "apiVersion: v1\nkind: Node\nmetadata: {name: node-1, labels: {waymark.io/drain: ''}}\n"
	out := plan(drained)
	contains(t, out, "! node drains: it withdraws all it announces, sessions stay", "! prefix 10.244.1.0/24 is withdrawn", "changes on 1 of 5 nodes")
	contains(t, plan(drained, "--node", "node-3"), "nothing changes on any of 1 nodes")

	// A network of the datacenter that holds pods: what is announced stays, what is not yet is refused.
	contains(t, plan(strings.Replace(objects, "cidrs: [10.132.0.0/16]", "cidrs: [10.132.0.0/16, 10.244.4.0/23]", 1)),
		"! problem comes: DatacenterNetwork/default: Overlap: 10.244.0.0/16 of spec.clusterCIDRs overlaps 10.244.4.0/23 of spec.cidrs: an address there belongs to the cluster or to the datacenter, not to both",
		"on node-4:", "! problem comes: Node/node-4: Overlap: 10.244.4.0/24 of Node node-4 overlaps 10.244.4.0/23 of DatacenterNetwork default; "+
			"it was announced before and stays: correct the one that is wrong, or drain the node to withdraw it",
		"on node-5:", "! prefix 10.244.5.0/24 is withdrawn")

	pods := "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: default, labels: {app: pay, tier: x}}\n" +
		"spec: {nodeName: node-1, serviceAccountName: default, automountServiceAccountToken: false, containers: [{name: c, image: c}]}\n"
	k.Apply(t, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: default}\n---\n"+pods)
	if _, err := k.Kubectl("patch", "pod", "p", "--subresource=status", "-p", `{"status": {"podIP": "10.244.1.5", "podIPs": [{"ip": "10.244.1.5"}]}}`); err != nil {
		t.Fatal(err)
	}
	contains(t, plan(strings.Replace(objects, "app: pay", "app: shop", 1)), "on node-1:", "~ policy payments changes for new connections: pod addresses: 0 more, 1 fewer",
		"changes on 1 of 5 nodes")

	var view clusterPlan
	if err := json.Unmarshal([]byte(plan(drained, "-o", "json")), &view); err != nil || len(view.Nodes) != 1 || view.Nodes[0].Changes[0].Mark != "!" {
		t.Errorf("as JSON: %v %+v", err, view)
	}

	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: rr1}\nspec: {adress: 10.0.0.1, asn: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, "", "plan", "-f", bad); err == nil || !strings.Contains(err.Error(), "unknown field spec.adress: did you mean address?") {
		t.Errorf("a bad manifest: %v", err)
	}
}
