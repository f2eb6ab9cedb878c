package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp/neighbor"
)

// peered is a cluster with two reflectors: one for all nodes, and top-of-rack routers that Nodes name.
const peered = `apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asn: 64513
  advertise: {communities: ["64512:100"]}
  learn: {accept: [{prefix: 10.0.0.0/8, minLength: 8, maxLength: 28}]}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: rr1}
spec:
  address: 10.132.2.254
  asn: 64512
  families: [ipv4]
  maxPrefixes: 100
  passwordSecret: {namespace: waymark-system, name: rr, key: password}
  export: [{prefix: 10.132.9.0/24, maxLength: 32, action: Reject}]
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: tor}
spec: {fromNodeAnnotation: waymark.io/tor, asn: 64520, families: [ipv4]}
---
apiVersion: waymark.io/v1alpha1
kind: AddressPool
metadata: {name: egress}
spec: {cidrs: [10.132.2.240/29, 10.132.9.0/28], use: Egress}
---
apiVersion: waymark.io/v1alpha1
kind: AddressPool
metadata: {name: balancers}
spec: {cidrs: [10.132.8.0/24], use: LoadBalancer}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: bank}
spec: {destinations: [203.0.113.0/24], source: Gateway, gateway: {nodeSelector: {}, addresses: [10.132.7.7]}}
`

const clusterRange = `---
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec:
  cidrs: [10.132.0.0/16]
  clusterCIDRs: [10.131.0.0/16, 10.96.0.0/12]
  gateways: [{name: core1, address: 10.132.2.254, dialect: frr, nodeSubnets: [10.132.2.0/24]}]
`

// peeredNode is a Node with an address and more metadata.
func peeredNode(name, address, podCIDR, metadata string) string {
	return "---\napiVersion: v1\nkind: Node\nmetadata: {name: " + name + metadata + "}\nspec: {podCIDRs: [" + podCIDR + "]}\n" +
		"status: {addresses: [{type: InternalIP, address: " + address + "}]}\n"
}

const rackA = `, annotations: {waymark.io/tor: 10.132.2.1}`

func TestRoutersConfig(t *testing.T) {
	two := peered + clusterRange + peeredNode("node-1", "10.132.2.21", "10.131.8.0/24", rackA) + peeredNode("node-2", "10.132.2.22", "10.131.9.0/26", `, annotations: {waymark.io/asn: "64601"}`)
	for name, tt := range map[string]struct {
		manifests, args string
		want            []string // lines
		no              string
		err             string // "": none, "found": exit status 2
	}{
		"the gateway's dialect, and exactly the cluster's prefixes": {two, "--peer rr1", []string{
			"ip prefix-list waymark-rr1-ipv4-in seq 10 permit 10.131.0.0/16 ge 24 le 24",
			"ip prefix-list waymark-rr1-ipv4-in seq 20 permit 10.131.0.0/16 ge 26 le 26",
			"ip prefix-list waymark-rr1-ipv4-in seq 30 permit 10.132.2.240/29 ge 32 le 32",
			"ip prefix-list waymark-rr1-ipv4-in seq 40 permit 10.132.7.7/32",
			"ip prefix-list waymark-rr1-ipv4-in seq 50 permit 10.132.8.0/24 ge 32 le 32",
			"! At most 283 IPv4 prefixes from a node: a node has at most 1 of pods, and as many again while it is renumbered, egress addresses up to 25, addresses of load balancers up to 256",
			`! <PASSWORD> stands for key "password" of Secret waymark-system/rr: put it in by hand`,
			"! Nodes attach 64512:100 to all that they announce; nothing depends on it here",
			" neighbor 10.132.2.21 remote-as 64513", " neighbor 10.132.2.22 remote-as 64601",
		}, "10.132.9.0", ""},
		"each prefix by itself without the range of the cluster": {peered + peeredNode("node-1", "10.132.2.21", "10.131.8.0/24", ""), "--peer rr1 --format bird", []string{
			"    10.131.8.0/24,",
		}, "10.131.0.0", ""},
		"a range, and what nodes take": {two, "--peer rr1 --format juniper-junos --neighbors range --send accepted", []string{
			"set protocols bgp group waymark-rr1 dynamic-neighbor nodes allow 10.132.2.0/24",
			"set policy-options policy-statement waymark-rr1-out term ipv4 from route-filter 10.0.0.0/8 prefix-length-range /8-/28",
		}, "neighbor 10.132.2.21", ""},
		"a named network": {two, "--peer rr1 --neighbors range --subnet 10.132.2.16/28", []string{" bgp listen range 10.132.2.16/28 peer-group waymark-rr1"}, "10.132.2.0/24", ""},
		"routers from annotations": {two + peeredNode("node-3", "10.132.2.23", "10.131.10.0/24", strings.Replace(rackA, "2.1}", "2.2}", 1)), "--peer tor --format arista-eos", []string{
			"! BGPPeer tor of Waymark: this router has 10.132.2.1 and AS 64520; nodes have AS 64513 (eBGP)",
			"! BGPPeer tor of Waymark: this router has 10.132.2.2 and AS 64520; nodes have AS 64513 (eBGP)",
			"   neighbor 10.132.2.23 peer group waymark-tor",
		}, "10.132.2.22", ""},
		"a node without an address": {two + peeredNode("node-4", "fd00::4", "10.131.11.0/24", `, annotations: {waymark.io/router-id: 1.2.3.4}`), "--peer rr1", []string{" neighbor 10.132.2.21 description node-1"}, "node-4", "found"},
		"no such peer":              {two, "--peer rr2", nil, "", `there is no BGPPeer "rr2"; there are rr1, tor`},
		"no such format":            {two, "--peer rr1 --format vyos", nil, "", `there is no dialect "vyos"`},
		"no format":                 {two, "--peer tor", nil, "", "no gateway of the DatacenterNetwork has 10.132.2.1, so its dialect is not known: set --format"},
		"no network":                {peered + peeredNode("node-1", "10.132.2.21", "10.131.8.0/24", ""), "--peer rr1 --format frr --neighbors range", nil, "", "the network of node node-1, 10.132.2.21, is not known: name it by --subnet"},
		"no nodes":                  {peered, "--format frr", nil, "", "no node has a session to configure"},
		"nodes alone":               {peeredNode("node-1", "10.132.2.21", "10.131.8.0/24", ""), "--format frr", nil, "", "there is no BGPConfiguration"},
		"bad neighbors":             {two, "--neighbors some", nil, "", "--neighbors some: want each or range"},
		"bad send":                  {two, "--send some", nil, "", "--send some: want all or accepted"},
		"bad subnet":                {two, "--subnet 10.0.0.1/8", nil, "", "--subnet 10.0.0.1/8: "},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, tt.manifests, append([]string{"routers", "config", "--from", "-"}, strings.Fields(tt.args)...)...)
			for _, line := range tt.want {
				if !strings.Contains("\n"+out, "\n"+line+"\n") {
					t.Errorf("no line %q in\n%s", line, out)
				}
			}
			if tt.no != "" && strings.Contains(out, tt.no) {
				t.Errorf("there is %q in\n%s", tt.no, out)
			}
			wantError(t, err, tt.err)
		})
	}
}

// wantError compares how a command ends: "" is good, "found" exit status 2.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil, want == "found" && !errors.Is(err, errFound):
		t.Errorf("ends with %v", err)
	case want != "" && want != "found" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("ends with %v, want %s", err, want)
	}
}

// reported is a NodeRoutingState with one session.
func reported(node, state, lastError string) string {
	return fmt.Sprintf(`{apiVersion: waymark.io/v1alpha1, kind: NodeRoutingState, metadata: {name: %s}, status: {asn: 64513, routerID: 10.132.2.21,
  announced: [10.131.8.0/24], reported: %q, sessions: [{peer: rr1, address: 10.132.2.254, state: %s, lastError: %q}]}}`,
		node, time.Now().UTC().Format(time.RFC3339), state, lastError)
}

func TestRoutersExplain(t *testing.T) {
	objects := peered + clusterRange + peeredNode("node-1", "10.132.2.21", "10.131.8.0/24", "") + peeredNode("node-2", "10.132.2.22", "10.131.9.0/24", "")
	wrongAS := reported("node-1", "Active", "peer closed: it expects another AS than ours (NOTIFICATION 2/2)")
	for name, tt := range map[string]struct {
		states, args string
		want         []string
		err          string
	}{
		"wrong AS, in a list": {"---\napiVersion: v1\nkind: List\nitems:\n- " + wrongAS, "node-1 rr1", []string{
			"node-1 has no session with 10.132.2.254 (BGPPeer rr1) (Active): peer closed: it expects another AS than ours",
			"The router does not expect AS 64513 at the address of this node.", "- on the router: Let it expect AS 64513 from this neighbour.",
			"- in the cluster: Or give the node the AS that the router expects",
			"On the router it should be:\nrouter bgp 64512\n neighbor waymark-rr1 remote-as 64513\n",
		}, "found"},
		"in another dialect":        {"---\n" + wrongAS, "node-1 rr1 --format huawei-vrp", []string{"bgp 64512\n peer waymark-rr1 as-number 64513\n"}, "found"},
		"a router ID twice":         {"---\n" + reported("node-1", "Idle", "the peer has our router ID, or none") + "\n---\n" + reported("node-2", "Idle", ""), "node-1 rr1", []string{"Node node-2 has the router ID 10.132.2.21 too"}, "found"},
		"up":                        {"---\n" + reported("node-1", "Established", ""), "node-1 rr1", []string{"The session is up.\n", "IPv4 prefixes: 1 announced, at most 100 taken\n"}, ""},
		"an old report":             {"---\n" + strings.Replace(wrongAS, time.Now().UTC().Format("2006-"), "2020-", 1), "node-1 rr1", []string{"That was its last word: the agent does not report."}, "found"},
		"no report":                 {"", "node-1 rr1", nil, "node node-1: no report of its sessions: is the agent running there?"},
		"not its peer":              {"---\n" + wrongAS, "node-1 tor", nil, "BGPPeer tor is none of node node-1: it selects every node, and this one has no annotation waymark.io/tor"},
		"no such node":              {"---\n" + wrongAS, "node-7 rr1", nil, `there is no Node "node-7"`},
		"no such peer":              {"---\n" + wrongAS, "node-1 rr7", nil, `there is no BGPPeer "rr7"; there are rr1, tor`},
		"no agent":                  {"", "node-1 rr1 --run-dir /nonexistent", nil, "/nonexistent"},
		"a state that is malformed": {"---\n{apiVersion: waymark.io/v1alpha1, kind: NodeRoutingState, metadata: {name: node-1}, status: {sessions: 7}}", "node-1 rr1", nil, "cannot unmarshal number"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "dump.yaml")
			if err := os.WriteFile(file, []byte(objects+tt.states), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := run(t, "", append([]string{"routers", "explain", "--from", file}, strings.Fields(tt.args)...)...)
			for _, text := range tt.want {
				if !strings.Contains(out, text) {
					t.Errorf("no %q in\n%s", text, out)
				}
			}
			wantError(t, err, tt.err)
		})
	}
	out, err := run(t, objects+"---\n"+wrongAS, "routers", "explain", "node-1", "rr1", "--from", "-", "-o", "json")
	var read sessionExplanation
	if bad := json.Unmarshal([]byte(out), &read); bad != nil || read.Cause != "AS" || len(read.Changes) != 2 || read.Changes[0].Side != "router" {
		t.Errorf("%v: %s", bad, out)
	}
	wantError(t, err, "found")
}

// testRouters asks a cluster whose rr1 has no session with node-2, and with others has.
func testRouters(t *testing.T, must func(...string) string) {
	for _, dialect := range neighbor.Dialects() {
		if text := must("routers", "config", "--peer", "rr1", "--format", dialect); !strings.Contains(text, "10.132.2.12") {
			t.Errorf("%s:\n%s", dialect, text)
		}
	}
	contains(t, must("routers", "explain", "node-1", "rr1"), "The session is up.", "IPv4 prefixes: 2 announced")
}
