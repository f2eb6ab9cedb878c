package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

const shopObjects = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: default}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default}
spec: {nodeName: node-1, serviceAccountName: default, automountServiceAccountToken: false, containers: [{name: c, image: c}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.77, ports: [{port: 80}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: few}
rules:
- {apiGroups: [""], resources: [nodes], verbs: [list]}
- {apiGroups: [waymark.io], resources: ["*"], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: few}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}]
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: few}
`

// TestFactsFromTheCluster: what a real API server says of addresses. All of them are here, and nobody listens.
func TestFactsFromTheCluster(t *testing.T) {
	k := startCluster(t)
	k.Apply(t, shopObjects)
	if _, err := k.Kubectl("patch", "pod", "p", "--subresource=status", "-p", `{"status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.7"}], "podIP": "10.244.1.7"}}`); err != nil {
		t.Fatal(err)
	}
	nettest.Run(t, "ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo")
	t.Cleanup(func() { nettest.Run(t, "ip", "route", "del", "local", "10.0.0.0/8", "dev", "lo") })
	check := func(to string, want ...string) {
		t.Helper()
		text, err := run(t, "", "check", "reach", "--to", to, "--timeout", "500ms")
		if !errors.Is(err, errFound) {
			t.Errorf("%s: %v", to, err)
		}
		contains(t, text, want...)
	}
	check("10.244.1.7:1", "whose Pod default/p on node-1", "announced 10.244.1.0/24 to rr1, tor", "NobodyListens 10.244.1.7 is reached, and nobody listens on port 1")
	check("10.244.2.7:1", "announced 10.244.2.0/24 to none", "Stale no pod has 10.244.2.7, which is in 10.244.2.0/24 of node-2: the pod is gone, its entry is not")
	check("10.96.0.77:1", "whose Service default/web")
	check("10.132.2.11:1", "whose Node node-1")
	check("10.132.7.20:1", "whose Datacenter")

	admin, err := os.ReadFile(k.Admin)
	if err != nil {
		t.Fatal(err)
	}
	bob := filepath.Join(t.TempDir(), "bob")
	if err := os.WriteFile(bob, []byte(strings.Replace(string(admin), "token: admin", "token: admin, as: bob", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", bob)
	check("10.244.1.7:1", "whose Pod on node-1", "note this user may not list Pods: whose an address is, and whether the pod is still there, is not known",
		"note this user may not list Services: their addresses are not known as such")
}
