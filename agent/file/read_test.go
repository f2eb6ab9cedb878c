package file

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
)

const (
	peer = `apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: rr1}
spec:
  address: 10.132.2.254
  asn: 64512
`
	node = `apiVersion: v1
kind: Node
metadata:
  name: n1
spec:
  podCIDRs:
  - 10.244.1.0/24
`
	secret = `apiVersion: v1
kind: Secret
metadata:
  name: rr
data:
  password: aHVudGVyMg==
stringData:
  token: hunter2
`
)

func load(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// take is the snapshot of one file's contents.
func take(c contents) agent.Snapshot {
	s := agent.Snapshot{Problems: c.problems}
	for _, o := range c.objects {
		add(&s, o.value)
	}
	return s
}

func TestNodesAsKubectlPrintsThem(t *testing.T) {
	text := load(t, "nodes.yaml")
	s := take(read("nodes.yaml", text))
	want := []corev1.Node{{
		ObjectMeta: metav1.ObjectMeta{
			Name: "n1", UID: "0b5a1d9c-0000-4000-8000-000000000001",
			CreationTimestamp: metav1.NewTime(time.Date(2024, 3, 1, 8, 0, 0, 0, time.UTC).Local()),
			Labels:            map[string]string{"kubernetes.io/hostname": "n1", "rack": "a"},
			Annotations: map[string]string{
				"kubeadm.alpha.kubernetes.io/cri-socket": "unix:///var/run/containerd/containerd.sock",
				"node.alpha.kubernetes.io/ttl":           "0",
				"waymark.io/asn":                         "4200000001",
			},
		},
		Spec: corev1.NodeSpec{
			PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24", "fd00:244:1::/64"},
			Taints: []corev1.Taint{{Key: "waymark.io/drain", Effect: "NoSchedule"}},
		},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: "InternalIP", Address: "192.168.0.1"}, {Type: "Hostname", Address: "n1"}}},
	}, {
		ObjectMeta: metav1.ObjectMeta{
			Name: "n2", UID: "0b5a1d9c-0000-4000-8000-000000000002",
			CreationTimestamp: metav1.NewTime(time.Date(2024, 3, 2, 8, 0, 0, 0, time.UTC).Local()),
		},
		Spec: corev1.NodeSpec{PodCIDR: "10.244.2.0/24"},
	}}
	if !reflect.DeepEqual(s.Nodes, want) || len(s.Problems) > 0 {
		t.Errorf("got  %+v\nwant %+v\nproblems %v", s.Nodes, want, s.Problems)
	}

	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.MarshalIndent(tree, "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"json":                     string(asJSON) + "\n",
		"json without newline":     string(asJSON),
		"items indented":           strings.ReplaceAll(string(text), "\n", "\n  "),
		"windows line ends":        strings.ReplaceAll(string(text), "\n", "\r\n"),
		"a comment between":        strings.ReplaceAll(string(text), "\n- ", "\n# another\n\n- "),
		"directive and byte order": "\ufeff%YAML 1.1\n---\n" + string(text) + "...\n",
	} {
		if name == "items indented" {
			text = strings.ReplaceAll(text, "\n  items:", "\nitems:")
			text = strings.ReplaceAll(text, "\n  kind: List\n  metadata:\n    resourceVersion: \"\"\n  ", "\nkind: List\nmetadata: {}\n")
		}
		c := read("nodes", []byte(text))
		if s := take(c); !reflect.DeepEqual(s.Nodes, want) || len(s.Problems) > 0 || !c.good || !c.closed {
			t.Errorf("%s: got %+v, problems %v", name, s.Nodes, s.Problems)
		}
	}
}

func TestEveryKind(t *testing.T) {
	c := read("waymark.yaml", load(t, "waymark.yaml"))
	s := take(c)
	if len(s.Problems) > 0 || !c.good || len(c.objects) != 6 {
		t.Fatalf("%d objects, problems %v", len(c.objects), s.Problems)
	}
	p := s.Peers[0].Spec
	if p.Timers.Hold.Duration != 90*time.Second || *p.BFD.Multiplier != 3 || p.Import[0].Action != "Reject" || *p.Attributes.MED != 10 ||
		p.NodeSelector.MatchLabels["rack"] != "a" || p.PasswordSecret.Key != "password" || *s.Configurations[0].Spec.Learn.Accept[0].MaxLength != 28 {
		t.Errorf("fields are lost: %+v", p)
	}
	want := map[string][]byte{"password": []byte("hunter2"), "other": []byte("plain")}
	if got := s.Secrets[0]; !reflect.DeepEqual(got.Data, want) || got.Namespace != "waymark-system" {
		t.Errorf("secret %v", got)
	}
	if s.Policies[0].Spec.Gateway.Fallback != "Drop" || s.Pools[0].Spec.Use != "Egress" || s.Datacenters[0].Spec.Gateways[0].Name != "core1" {
		t.Errorf("fields are lost: %+v %+v %+v", s.Policies, s.Pools, s.Datacenters)
	}
}

// TestProblems: what is wrong is said with its line, and the good object after it is read all the same.
func TestProblems(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(peer, old, new, 1) }
	for name, tt := range map[string]struct{ text, want string }{
		"unknown field":        {replace("asn", "asnn"), `x.yaml:6: BGPPeer/rr1: Invalid: unknown field spec.asnn: did you mean asn?`},
		"no suggestion":        {replace("  asn", "  colour: red\n  asn"), `x.yaml:6: BGPPeer/rr1: Invalid: unknown field spec.colour`},
		"wrong case":           {replace("asn", "ASN"), `x.yaml:6: BGPPeer/rr1: Invalid: unknown field spec.ASN: did you mean asn?`},
		"duplicate field":      {peer + "  asn: 64513\n", `x.yaml:7: BGPPeer/rr1: Invalid: spec.asn: duplicate field, first in line 6`},
		"duplicate label":      {replace("{name: rr1}", "{name: rr1, labels: {a: b, a: c}}"), `x.yaml:3: BGPPeer/rr1: Invalid: metadata.labels[a]: duplicate field`},
		"text for a number":    {replace("64512", "as64512"), `x.yaml:6: BGPPeer/rr1: Invalid: spec.asn: expected a whole number, found text`},
		"number too large":     {peer + "  port: 4294967296\n", `x.yaml:7: BGPPeer/rr1: Invalid: spec.port: expected a whole number, found a number`},
		"fraction":             {replace("64512", "6.5"), `x.yaml:6: BGPPeer/rr1: Invalid: spec.asn: expected a whole number, found a number with a fraction, or one that is too large`},
		"number for text":      {replace("10.132.2.254", "10"), `x.yaml:5: BGPPeer/rr1: Invalid: spec.address: expected text, found a number (in quotes it would be text)`},
		"text for a bool":      {peer + "  passive: yes\n", `x.yaml:7: BGPPeer/rr1: Invalid: spec.passive: expected true or false, found text`},
		"duration":             {peer + "  timers:\n    hold: 90\n", `x.yaml:8: BGPPeer/rr1: Invalid: spec.timers.hold: expected a duration, as 90s or 300ms`},
		"list for fields":      {peer + "  timers: []\n", `x.yaml:7: BGPPeer/rr1: Invalid: spec.timers: expected fields, found a list`},
		"fields for a list":    {peer + "  families: {ipv4: true}\n", `x.yaml:7: BGPPeer/rr1: Invalid: spec.families: expected a list, found fields`},
		"validation":           {peer + "  import:\n  - prefix: 10.0.0.0/8\n    action: Accept\n  - action: Reject\n    prefix: 10.0.0.1/8\n", `x.yaml:11: BGPPeer/rr1: Invalid: spec.import[1].prefix: Invalid value: "10.0.0.1/8": has host bits set: did you mean 10.0.0.0/8`},
		"annotation":           {strings.Replace(node, "name: n1", "name: n1\n  annotations:\n    waymark.io/asn: '0'", 1), `x.yaml:6: Node/n1: Invalid: metadata.annotations[waymark.io/asn]: Required value: an AS number, 1..4294967295`},
		"PodCIDR":              {strings.Replace(node, "1.0/24", "1.1/24", 1), `x.yaml:7: Node/n1: Invalid: spec.podCIDRs[0]: Invalid value: "10.244.1.1/24": has host bits set: did you mean 10.244.1.0/24`},
		"old PodCIDR":          {strings.Replace(node, "podCIDRs:\n  - 10", "podCIDR: 710", 1), `x.yaml:5: Node/n1: Invalid: spec.podCIDRs[0]: Invalid value: "710.244.1.0/24": is not a prefix, as 10.132.0.0/16 or 2001:db8::/32`},
		"nameless node":        {strings.Replace(node, "name:", "nam:", 1), `x.yaml:3: Invalid: metadata.name: Required value`},
		"syntax":               {replace("  address", " address"), `x.yaml:6: Syntax: mapping values are not allowed in this context`},
		"unknown anchor":       {replace("64512", "*as"), `x.yaml:1: Syntax: unknown anchor`},
		"no kind":              {replace("kind: BGPPeer\n", ""), `x.yaml:1: Invalid: apiVersion and kind must be set: not a manifest, or cut off`},
		"kind of ours":         {replace("BGPPeer", "BGPPeeer"), `x.yaml:1: BGPPeeer/rr1: UnknownKind: there is no BGPPeeer in waymark.io/v1alpha1: did you mean BGPPeer?`},
		"no kind of ours":      {replace("BGPPeer", "Route"), `x.yaml:1: Route/rr1: UnknownKind: there is no Route in waymark.io/v1alpha1`},
		"group of a kind":      {replace("waymark.io", "waymark"), `x.yaml:1: BGPPeer/rr1: UnknownKind: a BGPPeer of waymark/v1alpha1 is not read here: ignored: the BGPPeer of Waymark is of waymark.io/v1alpha1`},
		"version of a node":    {replace("BGPPeer", "Node"), `x.yaml:1: Node/rr1: UnknownKind: there is no Node in waymark.io/v1alpha1: a Node is of v1`},
		"version of ours":      {replace("v1alpha1", "v1"), `x.yaml:1: BGPPeer/rr1: UnknownKind: there is no BGPPeer in waymark.io/v1: the BGPPeer of Waymark is of waymark.io/v1alpha1`},
		"somebody else's kind": {"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", `x.yaml:1: Pod/p: Ignored: a Pod of v1 is not read here: ignored`},
		"not a mapping":        {"hello\n", `x.yaml:1: Invalid: apiVersion and kind must be set: not a manifest, or cut off`},
		"list without items":   {"apiVersion: v1\nkind: List\n", `x.yaml:1: Invalid: a list without items`},
		"line in a list": {"apiVersion: v1\nitems:\n- " + strings.ReplaceAll(strings.Replace(peer, "asn", "asnn: 1\n  asn", 1), "\n", "\n  ") + "\nkind: List\n",
			`x.yaml:8: BGPPeer/rr1: Invalid: unknown field spec.asnn: did you mean asn?`},
		"two configurations": {"apiVersion: waymark.io/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: second}\nspec: {asn: 1}\n",
			`x.yaml:3: BGPConfiguration/second: Duplicate: there is one BGPConfiguration, named default: this one is ignored`},
	} {
		t.Run(name, func(t *testing.T) {
			c := read("x.yaml", []byte(tt.text+"---\n"+strings.ReplaceAll(node, "n1", "beside")))
			if len(c.objects) != 1 || c.objects[0].name != "beside" {
				t.Errorf("read %v", c.objects)
			}
			var got []string
			for _, p := range c.problems {
				got = append(got, p.String())
			}
			if strings.Join(got, "|") != tt.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), tt.want)
			}
		})
	}
}

func TestAnchorsTieItemsTogether(t *testing.T) {
	c := read("x.yaml", []byte("apiVersion: v1\nkind: List\nitems:\n- apiVersion: waymark.io/v1alpha1\n  kind: BGPPeer\n"+
		"  metadata: {name: rr1}\n  spec: &rr {address: 10.0.0.1, asn: 1}\n"+
		"- apiVersion: waymark.io/v1alpha1\n  kind: BGPPeer\n  metadata: {name: rr2}\n  spec: *rr\n"))
	if len(c.objects) != 2 || !c.good {
		t.Errorf("read %v, problems %v", c.objects, c.problems)
	}
}

// TestSecretsStaySecret breaks a Secret at every place in many ways: no problem ever shows a part of what is in it.
func TestSecretsStaySecret(t *testing.T) {
	breaks := []string{"*", "&", "!", "!!int ", "'", `"`, "{", "[", "- ", ": ", "%", "@", "`", "\t", "\x00", "\xff", "|", ">", "\n", "#", "? ", "<<: "}
	problems := 0
	for i := range len(secret) + 1 {
		for _, insert := range breaks {
			for _, text := range []string{secret[:i] + insert + secret[i:], secret[:i] + insert} {
				for _, p := range read("x.yaml", []byte(text)).problems {
					problems++
					for _, private := range []string{"hunter", "aHVudGVy", "nter2", "VyMg"} {
						if strings.Contains(p.String(), private) {
							t.Fatalf("%q: %v", text, p)
						}
					}
				}
			}
		}
	}
	if problems < 1000 {
		t.Errorf("only %d problems: nothing was broken", problems)
	}
}

// TestDumpOfACluster reads objects as kubectl prints them, with what the API server and the controllers have added.
func TestDumpOfACluster(t *testing.T) {
	dump := `apiVersion: v1
kind: List
items:
- apiVersion: waymark.io/v1alpha1
  kind: NodeRole
  metadata:
    name: egress
    creationTimestamp: "2026-01-12T08:00:01Z"
    generation: 1
    resourceVersion: "7"
    managedFields:
    - apiVersion: waymark.io/v1alpha1
      fieldsType: FieldsV1
      fieldsV1: {"f:spec": {"f:label": {}}}
      manager: kubectl
      operation: Apply
      time: "2026-01-12T08:00:01Z"
  spec: {label: {key: cluster.k8s/egress}, nodeSelector: {}}
  status: {labelled: 1, ofALaterVersion: true}
- apiVersion: waymark.io/v1alpha1
  kind: NodeRoutingState
  metadata: {name: n1}
  spec: {podCIDRs: [{prefix: 10.244.1.0/24}]}
  status: {wanted: 1, established: 1, sessions: [{peer: rr1, state: Established}]}
`
	other := "apiVersion: waymark.io/v1alpha1\nkind: NodeRole\nmetadata: {name: egress}\nspec: {label: {key: k}, nodeSelector: {}}\n"
	s, where := Read(map[string][]byte{"dump.yaml": []byte(dump), "other.yaml": []byte(other)})
	if len(s.Roles) != 1 || s.Roles[0].Spec.Label.Key != "cluster.k8s/egress" || len(s.Problems) != 1 ||
		s.Problems[0].String() != "other.yaml:1: NodeRole/egress: Duplicate: is also in dump.yaml:4, which is the one in force" {
		t.Errorf("roles %v, problems %v", s.Roles, s.Problems)
	}
	if where["NodeRole/egress"] != "dump.yaml:4" || where["NodeRoutingState/n1"] != "dump.yaml:20" {
		t.Errorf("where: %v", where)
	}
}
