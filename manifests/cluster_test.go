package manifests

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestAgentInItsPod runs the agent as its pod says, with the token and so the rights that a pod on its node gets: it reads
// its objects and the password, announces the PodCIDR, and reports.
func TestAgentInItsPod(t *testing.T) {
	const apiServer = "198.18.1.1"
	node, router := nettest.New(t, "node"), nettest.New(t, "router")
	nettest.Join(t, router, "eth0", []string{"198.18.0.1/30"}, node, "eth0", []string{"198.18.0.2/30"})
	nettest.Join(t, nettest.Self, "node", []string{apiServer + "/30"}, node, "api", []string{"198.18.1.2/30"})
	frr := nettest.StartFRR(t, router, false, `
router bgp 64512
 bgp router-id 198.18.0.1
 no bgp ebgp-requires-policy
 neighbor 198.18.0.2 remote-as 64513
 neighbor 198.18.0.2 password sesame
exit
`)
	k := nettest.StartKube(t, nettest.Self, apiServer)
	install(t, k)
	k.Apply(t, `
{apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {podCIDRs: [10.244.1.0/24], podCIDR: 10.244.1.0/24}}
---
{apiVersion: v1, kind: Pod, metadata: {name: agent-1, namespace: waymark-system}, spec: {serviceAccountName: waymark-agent, nodeName: node-1, containers: [{name: agent, image: none}]}}
---
{apiVersion: v1, kind: Secret, metadata: {name: waymark-bgp, namespace: waymark-system}, stringData: {router: sesame}}
---
{apiVersion: waymark.io/v1alpha1, kind: BGPConfiguration, metadata: {name: default}, spec: {asn: 64513}}
---
{apiVersion: waymark.io/v1alpha1, kind: BGPPeer, metadata: {name: router}, spec: {address: 198.18.0.1, asn: 64512, passwordSecret: {namespace: waymark-system, name: waymark-bgp, key: router}}}
---
{apiVersion: waymark.io/v1alpha1, kind: EgressPolicy, metadata: {name: pay}, spec: {destinations: [192.0.2.0/24], source: Pod, pods: {namespaceSelector: {matchLabels: {team: pay}}}}}
---
{apiVersion: waymark.io/v1alpha1, kind: NodeRoutingState, metadata: {name: node-1}, spec: {podCIDRs: [{prefix: 10.244.1.0/24}]}}
`)
	do := kubectl(t, k)
	do("patch", "node", "node-1", "--subresource", "status", "-p", `{"status":{"addresses":[{"type":"InternalIP","address":"198.18.0.2"}]}}`)
	token := do("create", "token", "waymark-agent", "--namespace", namespace, "--bound-object-kind", "Pod", "--bound-object-name", "agent-1")
	pods := kubelet{node: node, host: t.TempDir(), fields: map[string]string{"spec.nodeName": "node-1"}, account: k.Kubeconfig(t, strings.TrimSpace(token))}
	pods.run(t, as[appsv1.DaemonSet](t, kustomize(t, "base")["DaemonSet/"+namespace+"/waymark-agent"]).Spec.Template.Spec)

	nettest.Eventually(t, 60*time.Second, func() error {
		out, err := frr.Vtysh("show ip route bgp")
		if err != nil || !strings.Contains(out, "10.244.1.0/24") {
			return fmt.Errorf("the router has no route to the pods: %v %s", err, out)
		}
		out, err = k.Kubectl("get", "nrs", "node-1", "-o", "jsonpath={.status.established} {.status.announced[0]} {.status.problems}")
		if err != nil || out != "1 10.244.1.0/24 " {
			return fmt.Errorf("the agent's report: %q %v", out, err)
		}
		s, err := telemetry.Client{RunDir: filepath.Join(pods.host, "run/waymark")}.Status(t.Context())
		if err != nil || !s.Ready || len(s.Problems) > 0 {
			return fmt.Errorf("the agent's status: %+v %v", s, err)
		}
		return nil
	})
}

// TestControllerInItsPod runs both replicas as their pods say, with the account's token: nothing that they do is forbidden,
// and the other one takes over.
func TestControllerInItsPod(t *testing.T) {
	k := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	install(t, k)
	k.Apply(t, `
{apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {podCIDRs: [10.244.1.0/24], podCIDR: 10.244.1.0/24}}
---
{apiVersion: waymark.io/v1alpha1, kind: BGPConfiguration, metadata: {name: default}, spec: {asn: 64513}}
---
{apiVersion: waymark.io/v1alpha1, kind: BGPPeer, metadata: {name: router}, spec: {address: 198.18.0.1, asn: 64512}}
---
{apiVersion: waymark.io/v1alpha1, kind: EgressPolicy, metadata: {name: all}, spec: {source: Pod}}
---
{apiVersion: waymark.io/v1alpha1, kind: NodeRole, metadata: {name: egress}, spec: {label: {key: cluster.k8s/egress}, nodeSelector: {}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: waymark-registry, namespace: waymark-system}, stringData: {auth: "shop:sesame"}}
---
{apiVersion: waymark.io/v1alpha1, kind: RegistryCheck, metadata: {name: shop}, spec: {egressPolicy: all, registry: {zookeeper: {servers: ["127.0.0.1:9"],
  authSecret: {namespace: waymark-system, name: waymark-registry, key: auth}}}}}
`)
	do := kubectl(t, k)
	do("patch", "node", "node-1", "--subresource", "status", "-p", `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`)
	token := do("create", "token", "waymark-controller", "--namespace", namespace)
	pods := kubelet{node: nettest.Self, host: t.TempDir(), fields: map[string]string{"metadata.namespace": namespace},
		account: k.Kubeconfig(t, strings.TrimSpace(token))}
	pod := as[appsv1.Deployment](t, kustomize(t, "base")["Deployment/"+namespace+"/waymark-controller"]).Spec.Template.Spec
	first := pods.run(t, pod)
	want := func(what string, args ...string) {
		t.Helper()
		nettest.Eventually(t, 60*time.Second, func() error {
			out, err := k.Kubectl(append([]string{"get"}, args...)...)
			if err != nil || out != what {
				return fmt.Errorf("got %q, want %q: %v", out, what, err)
			}
			return nil
		})
	}
	const valid = `jsonpath={.status.conditions[?(@.type=="Valid")].status}`
	want("10.244.1.0/24", "nrs", "node-1", "-o", "jsonpath={.spec.podCIDRs[0].prefix}")
	want("enabled", "node", "node-1", "-o", `jsonpath={.metadata.labels.cluster\.k8s/egress}`)
	for _, object := range []string{"bgpconf/default", "bgppeer/router", "egp/all", "noderole/egress", "rck/shop"} {
		want("True", object, "-o", valid)
	}
	// It has the Secret and the pods, and reaches no registry.
	want("NotRead", "rck/shop", "-o", `jsonpath={.status.conditions[?(@.type=="Reachable")].reason}`)
	want("NotAsked", "egp/all", "-o", `jsonpath={.status.conditions[?(@.type=="Proven")].reason}`)
	if out, err := k.Kubectl("get", "rck/shop", "-o", "yaml"); err != nil || !strings.Contains(out, "connection refused") || strings.Contains(out, "forbidden") {
		t.Errorf("the check says %s %v", out, err)
	}
	// A policy that can never apply, a wrong one, an Event of it.
	k.Apply(t, `{apiVersion: waymark.io/v1alpha1, kind: EgressPolicy, metadata: {name: never}, spec: {source: Node, priority: 2000}}`)
	want("False", "egp/never", "-o", valid)
	nettest.Eventually(t, 10*time.Second, func() error {
		out, err := k.Kubectl("get", "events", "--all-namespaces", "--field-selector", "involvedObject.name=never", "-o", "name")
		if err == nil && out == "" {
			err = fmt.Errorf("no Event of the policy")
		}
		return err
	})
	do("delete", "noderole", "egress", "--timeout", "30s")
	want("", "node", "node-1", "-o", `jsonpath={.metadata.labels.cluster\.k8s/egress}`)

	// The one that stops gives the Lease back.
	if err := first.Stop(); err != nil {
		t.Errorf("the first replica ends with %v", err)
	}
	second := pods.run(t, pod)
	do("delete", "node", "node-1")
	want("", "nrs", "-o", "name")
	for _, replica := range []*nettest.Process{first, second} {
		if output := replica.Output(); strings.Contains(output, "forbidden") {
			t.Errorf("the controller may not do what it wants:\n%s", output)
		}
	}
}
