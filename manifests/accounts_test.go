package manifests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

const accountsObjects = `
{apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {taints: [{key: example.com/old, effect: NoSchedule}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: agent-1, namespace: waymark-system}, spec: {serviceAccountName: waymark-agent, nodeName: node-1, containers: [{name: agent, image: none}]}}
---
{apiVersion: v1, kind: Secret, metadata: {name: waymark-bgp, namespace: waymark-system}, stringData: {rr1: sesame}}
---
{apiVersion: v1, kind: Secret, metadata: {name: other, namespace: waymark-system}, stringData: {password: sesame}}
---
{apiVersion: v1, kind: Secret, metadata: {name: waymark-bgp, namespace: default}, stringData: {rr1: sesame}}
---
{apiVersion: waymark.io/v1alpha1, kind: BGPPeer, metadata: {name: rr1}, spec: {address: 198.18.0.1, asn: 64512}}
---
{apiVersion: waymark.io/v1alpha1, kind: NodeRole, metadata: {name: egress}, spec: {label: {key: cluster.k8s/egress}, nodeSelector: {}}}
---
{apiVersion: waymark.io/v1alpha1, kind: StaticRouteExport, metadata: {name: core1}, spec: {gateway: core1}}
---
{apiVersion: waymark.io/v1alpha1, kind: RegistryCheck, metadata: {name: shop}, spec: {registry: {zookeeper: {servers: ["192.0.2.2:2181"]}}}}
---
{apiVersion: waymark.io/v1alpha1, kind: NodeRoutingState, metadata: {name: node-1}}
---
{apiVersion: waymark.io/v1alpha1, kind: NodeRoutingState, metadata: {name: node-2}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: waymark-viewer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: operator}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: auditor}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: auditor}]
`

// TestAccounts sends with the accounts' tokens what they need, and what somebody who has stolen one would try.
func TestAccounts(t *testing.T) {
	k := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	install(t, k)
	k.StartControllerManager(t, "10.244.0.0/16", "clusterrole-aggregation-controller")
	k.Apply(t, accountsObjects)

	token := func(account string, args ...string) string {
		out, err := k.Kubectl(append([]string{"create", "token", account, "--namespace", namespace}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return k.Kubeconfig(t, strings.TrimSpace(out))
	}
	agent := token("waymark-agent", "--bound-object-kind", "Pod", "--bound-object-name", "agent-1")
	unbound := token("waymark-agent")
	watcher := token("waymark-bfd")
	controller := token("waymark-controller")

	// One request each, as the programs send it: kubectl patch would read before.
	const write, writeStatus = "apply --server-side --force-conflicts -f - < ", "apply --server-side --force-conflicts --subresource status -f - < "
	report := func(node string) string {
		return writeStatus + "{apiVersion: waymark.io/v1alpha1, kind: NodeRoutingState, metadata: {name: " + node + "}, status: {wanted: 1, established: 1}}"
	}
	verdict := func(node string) string {
		return write + "{apiVersion: waymark.io/v1alpha1, kind: NodeRoutingState, metadata: {name: " + node + "}, spec: {podCIDRs: [{prefix: 10.244.1.0/24}]}}"
	}
	const (
		peer       = write + "{apiVersion: waymark.io/v1alpha1, kind: BGPPeer, metadata: {name: rr1}, spec: {address: 198.18.0.9, asn: 64512}}"
		peerStatus = writeStatus + "{apiVersion: waymark.io/v1alpha1, kind: BGPPeer, metadata: {name: rr1}, status: {wanted: 1}}"
		roleStatus = writeStatus + "{apiVersion: waymark.io/v1alpha1, kind: NodeRole, metadata: {name: egress}, status: {labelled: 1}}"
		exportSpec = write + "{apiVersion: waymark.io/v1alpha1, kind: StaticRouteExport, metadata: {name: core1}, spec: {gateway: core2}}"
		exportSays = writeStatus + "{apiVersion: waymark.io/v1alpha1, kind: StaticRouteExport, metadata: {name: core1}, status: {routes: 1, missingCount: 0}}"
		checkSpec  = write + "{apiVersion: waymark.io/v1alpha1, kind: RegistryCheck, metadata: {name: shop}, spec: {registry: {zookeeper: {servers: ['192.0.2.3:2181']}}}}"
		checkSays  = writeStatus + "{apiVersion: waymark.io/v1alpha1, kind: RegistryCheck, metadata: {name: shop}, status: {findingCount: 1}}"
		commands   = write + "{apiVersion: v1, kind: ConfigMap, metadata: {name: waymark-routes-core1, namespace: waymark-system}, data: {commands: none}}"
		elsewhere  = write + "{apiVersion: v1, kind: ConfigMap, metadata: {name: waymark-routes-core1, namespace: default}, data: {commands: none}}"
		nodeStatus = writeStatus + "{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {phase: Running}}"
		odd        = writeStatus + `{apiVersion: waymark.io/v1alpha1, kind: NodeRoutingState, metadata: {name: node-1}, status: {reported: "2026-01-01t00:00:00z"}}`
		cordon     = `patch node node-1 -p {"spec":{"unschedulable":true}}`
	)
	run := func(account, command string) (string, error) {
		command, input, _ := strings.Cut(command, " < ")
		return k.KubectlAs(account, input, strings.Fields(command)...)
	}

	// Admission policies take a moment to be in force.
	for account, forbidden := range map[string]string{agent: report("node-2"), controller: cordon} {
		nettest.Eventually(t, 30*time.Second, func() error {
			command, input, found := strings.Cut(forbidden, " < ")
			if _, err := run(account, command+" --dry-run=server"+map[bool]string{true: " < "}[found]+input); err == nil {
				return fmt.Errorf("it may %s", forbidden)
			}
			return nil
		})
	}

	// What is added to the role view comes by a controller.
	nettest.Eventually(t, 30*time.Second, func() error {
		_, err := k.Kubectl("get", "nrs", "--as", "auditor")
		return err
	})

	const (
		may       = ""
		forbidden = "is forbidden: User"
		ownNode   = "an agent writes the state of its own node only"
		taints    = "of a node's spec the controller writes taints waymark.io/* only"
	)
	for _, c := range []struct{ account, command, want string }{
		{agent, "get node node-1", may},
		{agent, "get nodes --field-selector metadata.name=node-1", may},
		{agent, "get nrs node-1", may},
		{agent, "get bgpconf,bgppeers,egp,addresspools,datacenternetworks", may},
		{agent, "get pods --all-namespaces --field-selector spec.nodeName=node-1", may},
		{agent, "get namespaces", may},
		{agent, "get secret waymark-bgp --namespace waymark-system", may},
		{agent, "get secrets --namespace waymark-system --field-selector metadata.name=waymark-bgp", may},
		{agent, report("node-1"), may},
		{agent, "get secret other --namespace waymark-system", forbidden},
		{agent, "get secrets --namespace waymark-system", forbidden},
		{agent, "get secrets --namespace waymark-system --field-selector metadata.name=other", forbidden},
		{agent, "get secret waymark-bgp --namespace default", forbidden},
		{agent, "get secrets --all-namespaces", forbidden},
		{agent, "delete secret waymark-bgp --namespace waymark-system", forbidden},
		{agent, odd, "status.reported"}, // the API server takes it, clients do not: nobody could list the states any more
		{agent, report("node-2"), ownNode},
		{unbound, report("node-1"), ownNode},
		{agent, verdict("node-1"), forbidden},
		{agent, "label nrs node-1 a=b", forbidden},
		{agent, "delete nrs node-1", forbidden},
		{agent, "label node node-1 cluster.k8s/egress=enabled", forbidden},
		{agent, nodeStatus, forbidden},
		{agent, "delete bgppeer rr1", forbidden},
		{agent, peer, forbidden},
		{agent, peerStatus, forbidden},
		{agent, "delete pod agent-1 --namespace waymark-system", forbidden},
		{agent, "create token waymark-controller --namespace waymark-system", forbidden},
		{agent, "get services --all-namespaces", forbidden},
		{agent, "get configmaps --all-namespaces", forbidden},
		{agent, "get sre", forbidden},
		{agent, "get rck", forbidden},
		{agent, "get secret waymark-registry --namespace waymark-system", forbidden},

		{watcher, "get nodes", forbidden},
		{watcher, "get bgppeers", forbidden},

		{controller, "get nodes,bgpconf,bgppeers,egp,addresspools,datacenternetworks,noderoles,nrs,sre,rck", may},
		{controller, "get services --all-namespaces", may},
		{controller, "get service kubernetes --namespace default", forbidden},
		{controller, "label node node-1 cluster.k8s/egress=enabled", may},
		{controller, "taint node node-1 waymark.io/not-ready=:NoSchedule", may},
		{controller, "taint node node-1 waymark.io/not-ready-", may},
		{controller, "delete nrs node-2", may},
		{controller, verdict("node-1"), may},
		{controller, verdict("node-2"), may},
		{controller, peerStatus, may},
		{controller, roleStatus, may},
		{controller, exportSays, may},
		{controller, "get configmaps --namespace waymark-system", may},
		{controller, commands, may},
		{controller, exportSpec, forbidden},
		{controller, elsewhere, forbidden},
		{controller, "get configmaps --all-namespaces", forbidden},
		{controller, "delete configmap waymark-routes-core1 --namespace waymark-system", forbidden},
		{controller, "get lease waymark --namespace waymark-system", `"waymark" not found`},
		{controller, "get secrets --all-namespaces", forbidden},
		{controller, "get secret waymark-bgp --namespace waymark-system", forbidden},
		{controller, "get secret waymark-registry --namespace waymark-system", `"waymark-registry" not found`},
		{controller, "get secrets --namespace waymark-system --field-selector metadata.name=waymark-registry", forbidden},
		{controller, "get secret waymark-registry --namespace default", forbidden},
		{controller, "get pods --all-namespaces", may},
		{controller, "get pod nobody --namespace waymark-system", forbidden},
		{controller, checkSays, may},
		{controller, checkSpec, forbidden},
		{controller, "get leases --namespace waymark-system", forbidden},
		{controller, "get leases --namespace kube-system", forbidden},
		{controller, report("node-1"), forbidden},
		{controller, "taint node node-1 example.com/other=:NoExecute", taints},
		{controller, "taint node node-1 example.com/old-", taints},
		{controller, cordon, taints},
		{controller, "delete node node-1", forbidden},
		{controller, nodeStatus, forbidden},
		{controller, peer, forbidden},
		{controller, "delete crd bgppeers.waymark.io", forbidden},

		{k.Admin, "get waymark,nodes --as operator", may},
		{k.Admin, "get pods,namespaces --all-namespaces --as operator", may},
		{k.Admin, "get secrets --all-namespaces --as operator", forbidden},
		{k.Admin, "get secret waymark-bgp --namespace waymark-system --as operator", forbidden},
		{k.Admin, "delete nrs node-1 --as operator", forbidden},
		{k.Admin, "--as operator " + peer, forbidden},
		{k.Admin, "--as operator " + peerStatus, forbidden},
		{k.Admin, "get waymark --as auditor", may},
		{k.Admin, "get nodes --as auditor", forbidden},
		{k.Admin, "get secret waymark-bgp --namespace waymark-system --as auditor", forbidden},
		{k.Admin, "delete nrs node-1 --as auditor", forbidden},
	} {
		out, err := run(c.account, c.command)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.command, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %s %v, want %q", c.command, out, err, c.want)
		}
	}
	if out, err := k.Kubectl("get", "nrs", "node-1", "-o", "jsonpath={.status.established} {.spec.podCIDRs[0].prefix}"); err != nil || out != "1 10.244.1.0/24" {
		t.Errorf("what agent and controller have written: %q %v", out, err)
	}
}

// install applies the base and waits until the kinds are known.
func install(t testing.TB, k *nettest.Kube) {
	t.Helper()
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", "base"},
		{"wait", "--for=condition=Established", "--timeout=30s", "crd", "-l", "app.kubernetes.io/part-of=waymark"},
	} {
		if out, err := k.Kubectl(args...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}
