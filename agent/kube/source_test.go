package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// access is what the account of an agent may read here: nothing but what the source is to ask for.
const access = `
---
apiVersion: v1
kind: Namespace
metadata: {name: waymark-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: agent, namespace: waymark-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: agent}
rules:
- {apiGroups: [""], resources: [nodes], resourceNames: [node-1], verbs: [list, watch]}
- {apiGroups: [waymark.io], resources: [noderoutingstates], resourceNames: [node-1], verbs: [list, watch]}
- apiGroups: [waymark.io]
  resources: [bgpconfigurations, bgppeers, egresspolicies, addresspools, datacenternetworks]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: agent}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: agent}
subjects: [{kind: ServiceAccount, name: agent, namespace: waymark-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: agent, namespace: waymark-system}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [rr], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: agent, namespace: waymark-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: agent}
subjects: [{kind: ServiceAccount, name: agent, namespace: waymark-system}]
`

func peer(name, address, more string) string {
	return fmt.Sprintf("apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: %s}\nspec: {address: %s, asn: 64512%s}\n---\n", name, address, more)
}

func secret(name string) string {
	return fmt.Sprintf(", passwordSecret: {namespace: waymark-system, name: %s, key: password}", name)
}

// TestReadsNothingElse runs a source whose account may read only its own Node, its own NodeRoutingState, the objects of the
// group, and one Secret by name: a request for more would fail.
func TestReadsNothingElse(t *testing.T) {
	k := startKube(t)
	k.Apply(t, base+access)
	var others strings.Builder
	for i := range 200 {
		fmt.Fprintf(&others, "apiVersion: v1\nkind: Node\nmetadata: {name: other-%d}\n---\n", i)
	}
	k.Apply(t, others.String())
	for _, name := range []string{"rr", "other"} {
		kubectl(t, k, "create secret generic -n waymark-system "+name+" --from-literal=password=secret-"+name)
	}
	r := start(t, k.Kubeconfig(t, strings.TrimSpace(kubectl(t, k, "create token agent -n waymark-system"))), t.TempDir())
	s := r.peers(t, "rr1")
	if err := errors.Join(has("nodes", names(s.Nodes), "node-1"), has("secrets", names(s.Secrets), "")); err != nil {
		t.Error(err)
	}
	if s.State == nil || s.State.Name != "node-1" || !s.Controlled {
		t.Errorf("state is %+v, want that of node-1, and that the node is controlled", s.State)
	}

	// A Secret comes with the peer that names it, at once, and goes with it. That of another rack's peer is not asked for.
	k.Apply(t, peer("rr2", "10.0.0.3", secret("rr"))+peer("rr3", "10.0.0.4", secret("other")+", nodeSelector: {matchLabels: {rack: b}}"))
	s = r.peers(t, "rr1 rr2 rr3")
	if err := has("secrets", names(s.Secrets), "rr"); err != nil || string(s.Secrets[0].Data["password"]) != "secret-rr" {
		t.Errorf("with the peer: %v", err)
	}
	if r.Errors() > 0 || len(s.Problems) > 0 {
		t.Errorf("%d requests failed: %v", r.Errors(), s.Problems)
	}
	kubectl(t, k, "delete bgppeer rr2 rr3")
	if s = r.peers(t, "rr1"); len(s.Secrets) > 0 {
		t.Errorf("without the peer there is Secret %s", names(s.Secrets))
	}

	// One that may not be read is a problem, and holds nothing up.
	k.Apply(t, peer("rr4", "10.0.0.5", secret("other")))
	s = r.peers(t, "rr1 rr4")
	if err := problem(s, "Secret/waymark-system/other", "Refused"); err != nil || strings.Contains(r.log.String(), "secret-") {
		t.Errorf("%v\n%s", err, r.log)
	}
	kubectl(t, k, "delete bgppeer rr4")
	r.until(t, func(s agent.Snapshot) error {
		if len(s.Problems) > 0 {
			return fmt.Errorf("there are still %v", s.Problems)
		}
		return nil
	})
}

const workload = `
---
apiVersion: v1
kind: Namespace
metadata: {name: pay, labels: {team: pay}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: pay}
---
apiVersion: v1
kind: Pod
metadata: {name: here, namespace: pay, labels: {app: bank}, annotations: {much: text}}
spec: {nodeName: node-1, containers: [{name: a, image: b}]}
---
apiVersion: v1
kind: Pod
metadata: {name: elsewhere, namespace: pay, labels: {app: bank}}
spec: {nodeName: node-2, containers: [{name: a, image: b}]}
---
`

func policy(selection string) string {
	return "apiVersion: waymark.io/v1alpha1\nkind: EgressPolicy\nmetadata: {name: bank}\nspec: {source: Pod, destinations: [203.0.113.0/24]" + selection + "}\n"
}

// watches counts the watch requests that the API server serves now for a kind.
func watches(t testing.TB, k *nettest.Kube, resource string) int {
	t.Helper()
	metrics := kubectl(t, k, "get --raw /metrics")
	total := 0
	for _, m := range regexp.MustCompile(`(?m)^apiserver_longrunning_requests\{.*resource="`+resource+`".*\} (\d+)$`).FindAllStringSubmatch(metrics, -1) {
		var n int
		fmt.Sscan(m[1], &n)
		total += n
	}
	return total
}

// TestPodsWhileAPolicySelects wants the node's pods and the namespaces watched exactly while a policy asks for them.
func TestPodsWhileAPolicySelects(t *testing.T) {
	k := startKube(t)
	k.Apply(t, base+workload+policy(", pods: {podSelector: {}, namespaceSelector: {}}"))
	pods, namespaces := watches(t, k, "pods"), watches(t, k, "namespaces") // those of the API server itself
	r := start(t, k.Admin, t.TempDir())
	expect := func(wantPods, wantNamespaces string) agent.Snapshot {
		t.Helper()
		return r.until(t, func(s agent.Snapshot) error {
			return errors.Join(synced(s), has("pods", names(s.Pods), wantPods), has("namespaces", names(s.Namespaces), wantNamespaces))
		})
	}
	watched := func(morePods, moreNamespaces int) {
		t.Helper()
		r.until(t, func(agent.Snapshot) error {
			if p, n := watches(t, k, "pods")-pods, watches(t, k, "namespaces")-namespaces; p != morePods || n != moreNamespaces {
				return fmt.Errorf("%d watches for pods and %d for namespaces, want %d and %d", p, n, morePods, moreNamespaces)
			}
			return nil
		})
	}
	expect("", "")
	watched(0, 0) // an empty selector is all

	k.Apply(t, policy(", pods: {podSelector: {matchLabels: {app: bank}}}"))
	pod := expect("here", "").Pods[0]
	watched(1, 0)
	if pod.Namespace != "pay" || pod.Labels["app"] != "bank" || len(pod.Spec.Containers) > 0 || len(pod.Annotations) > 0 || len(pod.ManagedFields) > 0 {
		t.Errorf("the pod is kept as %+v", pod)
	}
	if out, err := k.Kubectl("patch", "pod", "-n", "pay", "here", "--subresource=status", "-p",
		`{"status": {"phase": "Running", "podIP": "10.244.1.7", "podIPs": [{"ip": "10.244.1.7"}]}}`); err != nil {
		t.Fatal(err, out)
	}
	r.until(t, func(s agent.Snapshot) error {
		if s.Pods[0].Status.Phase != corev1.PodRunning || len(s.Pods[0].Status.PodIPs) != 1 || s.Pods[0].Status.PodIPs[0].IP != "10.244.1.7" {
			return fmt.Errorf("the pod has %+v", s.Pods[0].Status)
		}
		return nil
	})

	k.Apply(t, policy(", pods: {namespaceSelector: {matchLabels: {team: pay}}}"))
	expect("here", "default kube-node-lease kube-public kube-system pay")
	watched(1, 1)
	kubectl(t, k, "label namespace pay team=play --overwrite")
	r.until(t, func(s agent.Snapshot) error {
		return has("label", s.Namespaces[len(s.Namespaces)-1].Labels["team"], "play")
	})

	kubectl(t, k, "delete egresspolicy bank")
	expect("", "")
	watched(0, 0)

	// At rest each of the fixed lists is one watch, which lasts ten to twenty minutes: seven requests in that time.
	before := map[string]int{}
	for _, resource := range []string{"nodes", "noderoutingstates", "bgpconfigurations", "bgppeers", "egresspolicies", "addresspools",
		"datacenternetworks", "noderoles", "secrets", "pods", "namespaces"} {
		before[resource] = watches(t, k, resource)
	}
	r.stop()
	total := 0
	nettest.Eventually(t, 10*time.Second, func() error {
		total = 0
		for resource, n := range before {
			total += n - watches(t, k, resource)
		}
		return has("watches for bgppeers", fmt.Sprint(watches(t, k, "bgppeers")), fmt.Sprint(before["bgppeers"]-1))
	})
	if total != 7 {
		t.Errorf("the source held %d watches, want 7", total)
	}
}

// TestNobodyIsToldOfNothing changes what has no meaning for the agent, then in the same object something that has: of that
// alone the agent is told.
func TestNobodyIsToldOfNothing(t *testing.T) {
	k := startKube(t)
	k.Apply(t, base)
	r := start(t, k.Admin, t.TempDir())
	r.until(t, synced)
	for _, c := range []struct{ object, nothing, something string }{
		{"node/node-1", `{"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-21T06:0%d:00Z"}],
			"images": [{"names": ["image:%[1]d"], "sizeBytes": 1}]}}`, `{"metadata": {"labels": {"rack": "b"}}}`},
		{"noderoutingstate/node-1", `{"status": {"version": "%d"}}`, `{"spec": {"podCIDRs": [{"prefix": "10.244.1.0/24", "conflict": "x"}]}}`},
		{"bgppeer/rr1", `{"status": {"wanted": 1%d}}`, `{"spec": {"asn": 64514}}`},
	} {
		before := r.notified.Load()
		for i := range 5 {
			if _, err := k.Kubectl("patch", c.object, "--subresource=status", "--type=merge", "-p", fmt.Sprintf(c.nothing, i)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := k.Kubectl("patch", c.object, "--type=merge", "-p", c.something); err != nil {
			t.Fatal(err)
		}
		r.until(t, func(agent.Snapshot) error { // the events of one object come in order
			if r.notified.Load() == before {
				return errors.New("nobody is told")
			}
			return nil
		})
		if n := r.notified.Load() - before; n != 1 {
			t.Errorf("%s: told %d times, want 1", c.object, n)
		}
	}
	s := r.Snapshot()
	if s.Nodes[0].Labels["rack"] != "b" || s.State.Spec.PodCIDRs[0].Conflict != "x" || s.Peers[0].Spec.ASN != 64514 {
		t.Errorf("told of something else: %+v", s)
	}
	if len(s.Nodes[0].Status.Images)+len(s.Nodes[0].Status.Conditions)+len(s.Nodes[0].ManagedFields) > 0 {
		t.Errorf("the node is kept with images, conditions or managed fields: %+v", s.Nodes[0])
	}
}

// TestWhatIsNotGoodKeepsItsLastVersion makes objects bad in ways that the API server lets through.
func TestWhatIsNotGoodKeepsItsLastVersion(t *testing.T) {
	k := startKube(t)
	k.Apply(t, base)
	r := start(t, k.Admin, t.TempDir())
	r.until(t, synced)
	kubectl(t, k, "annotate node node-1 waymark.io/asn=none")
	k.Apply(t, peer("rr1", "224.0.0.1", "")+peer("rr2", "224.0.0.2", "")+peer("rr3", "10.0.0.9", ""))
	s := r.peers(t, "rr1 rr3") // rr2 has never been good
	r.until(t, func(now agent.Snapshot) error {
		s = now
		return errors.Join(problem(s, "Node/node-1", "Invalid"), problem(s, "BGPPeer/rr1", "Invalid"), problem(s, "BGPPeer/rr2", "Invalid"))
	})
	if got := s.Peers[0].Spec.Address; got != "10.0.0.2" || len(s.Nodes[0].Annotations["waymark.io/asn"]) > 0 {
		t.Errorf("a bad object took effect: %v, %v", got, s.Nodes[0].Annotations)
	}
	kubectl(t, k, "delete bgppeer rr1 rr2")
	kubectl(t, k, "annotate node node-1 waymark.io/asn=64999 --overwrite")
	r.until(t, func(s agent.Snapshot) error {
		if len(s.Problems) > 0 || s.Nodes[0].Annotations["waymark.io/asn"] != "64999" {
			return fmt.Errorf("%v, %v", s.Problems, s.Nodes[0].Annotations)
		}
		return has("peers", names(s.Peers), "rr3")
	})
}

// TestControlPlaneGone stops the API server and etcd one after the other. What was known stays; what changes meanwhile, and
// what is deleted, is known afterwards; and each outage is one line in the log.
func TestControlPlaneGone(t *testing.T) {
	k := startKube(t)
	k.Apply(t, base+"---\n"+peer("rr2", "10.0.0.3", ""))
	r := start(t, k.Admin, t.TempDir())
	r.peers(t, "rr1 rr2")
	const gone, back = "does not answer", "answers again"
	unreachable := func(s agent.Snapshot) error { return problem(s, apiServer, "Unreachable") }

	k.StopAPI()
	s := r.until(t, unreachable)
	if err := errors.Join(synced(s), has("peers", names(s.Peers), "rr1 rr2")); err != nil {
		t.Errorf("without the API server: %v", err)
	}
	k.StartAPI(t)
	kubectl(t, k, "delete bgppeer rr2")
	k.Apply(t, peer("rr3", "10.0.0.4", ""))
	r.until(t, func(s agent.Snapshot) error {
		if unreachable(s) == nil {
			return fmt.Errorf("still %v", s.Problems)
		}
		return errors.Join(synced(s), has("peers", names(s.Peers), "rr1 rr3"))
	})
	if n, m := r.log.count(gone), r.log.count(back); n != 1 || m != 1 || r.Errors() == 0 {
		t.Errorf("the log says %d times that the API server is gone and %d times that it is back, of %d errors\n%s", n, m, r.Errors(), r.log)
	}

	k.KillEtcd()
	if _, err := k.Kubectl("--request-timeout=2s", "delete", "bgppeer", "rr3"); err == nil {
		t.Error("the API server writes without etcd")
	}
	if err := errors.Join(synced(r.Snapshot()), has("peers", names(r.Snapshot().Peers), "rr1 rr3")); err != nil {
		t.Errorf("without etcd: %v", err)
	}
	k.StartEtcd(t)
	r.until(t, func(agent.Snapshot) error {
		_, err := k.Kubectl("delete", "bgppeer", "rr3", "--ignore-not-found")
		return err
	})
	r.peers(t, "rr1")
}

// TestStartWithoutAPIServer starts a source from what one before it has kept.
func TestStartWithoutAPIServer(t *testing.T) {
	k := startKube(t)
	dir := t.TempDir()
	k.Apply(t, base+"---\n"+peer("rr2", "10.0.0.3", secret("rr")))
	kubectl(t, k, "create namespace waymark-system")
	kubectl(t, k, "create secret generic -n waymark-system rr --from-literal=password=secret")
	before := time.Now()
	r := start(t, k.Admin, dir)
	first := r.peers(t, "rr1 rr2")
	r.stop()
	info, err := os.Stat(r.file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the snapshot is kept with mode %v, want 0600: %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("%v is left beside it", left)
	}
	k.StopAPI()

	r = start(t, k.Admin, dir)
	s := r.until(t, synced)
	if s.Restored.Before(before) || s.Restored.After(time.Now()) {
		t.Errorf("restored is %v, want the time it was taken", s.Restored)
	}
	err = errors.Join(problem(s, apiServer, "Unreachable"), has("peers", names(s.Peers), names(first.Peers)),
		has("nodes", names(s.Nodes), "node-1"), has("secrets", names(s.Secrets), "rr"))
	if err != nil || s.State == nil || !s.Controlled || string(s.Secrets[0].Data["password"]) != "secret" || s.Nodes[0].UID != first.Nodes[0].UID {
		t.Errorf("restored %+v: %v", s, err)
	}
	if r.log.count("going by the last snapshot") != 1 || strings.Contains(r.log.String(), "password") {
		t.Errorf("the log does not say so, or too much\n%s", r.log)
	}

	useless := []struct{ name, text, want string }{
		{"corrupt", `{"node": "node-1", "taken": "2026-`, "unexpected end of JSON input"},
		{"of another node", strings.Replace(read(t, r.file), "node-1", "node-2", 1), "is of node"},
		{"empty", `{"node": "node-1"}`, "not complete"},
	}
	var others []*running
	for _, c := range useless {
		other := t.TempDir()
		if err := os.WriteFile(filepath.Join(other, "snapshot.json"), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		others = append(others, start(t, k.Admin, other))
	}
	for i, c := range useless {
		o := others[i]
		s := o.until(t, func(s agent.Snapshot) error { return problem(s, o.file, "Unusable") })
		if s.Synced || len(s.Nodes) > 0 || !strings.Contains(o.log.String(), c.want) {
			t.Errorf("a file that is %s was taken: %+v\n%s", c.name, s, o.log)
		}
		o.stop()
	}

	k.StartAPI(t)
	kubectl(t, k, "delete bgppeer rr1")
	r.peers(t, "rr2")
}

// TestStartWithoutAKind: a kind that the API server does not know any more, or refuses, stays as the agent before this one
// had it, and all else is live.
func TestStartWithoutAKind(t *testing.T) {
	k := startKube(t)
	dir := t.TempDir()
	k.Apply(t, base+"---\napiVersion: waymark.io/v1alpha1\nkind: AddressPool\nmetadata: {name: egress}\nspec: {cidrs: [10.9.0.0/24], use: Egress}\n")
	r := start(t, k.Admin, dir)
	r.until(t, func(s agent.Snapshot) error { return errors.Join(synced(s), has("pools", names(s.Pools), "egress")) })
	r.stop()
	kubectl(t, k, "delete crd addresspools.waymark.io")
	r = start(t, k.Admin, dir)
	r.until(t, func(s agent.Snapshot) error {
		if !s.Restored.IsZero() {
			return fmt.Errorf("all is from the disk, of %v", s.Restored)
		}
		return errors.Join(synced(s), has("pools", names(s.Pools), "egress"), problem(s, "AddressPool", "Refused"))
	})
	kubectl(t, k, "label node node-1 seen=yes")
	r.until(t, func(s agent.Snapshot) error {
		return errors.Join(synced(s), has("label", s.Nodes[0].Labels["seen"], "yes"))
	})

	fresh := start(t, k.Admin, t.TempDir()) // nobody has left it a snapshot
	fresh.until(t, func(s agent.Snapshot) error {
		return errors.Join(problem(s, "AddressPool", "Refused"), has("nodes", names(s.Nodes), "node-1"))
	})
	if s := fresh.Snapshot(); s.Synced {
		t.Error("synced, but a kind was never told")
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
