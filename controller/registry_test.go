package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/internal/zookeepertest"
	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

const (
	registryUser, registryPassword = "waymark", "open-sesame-4711"

	registryHost, registryNode, registryPod = "192.0.2.66", "192.0.2.65", "10.244.65.7"
)

// openSessions opens sessions from an address, which end with the test or by what is returned.
func openSessions(t *testing.T, from string, n int) (end func()) {
	t.Helper()
	var all []*zookeeper.Session
	end = func() {
		for _, s := range all {
			s.Close()
		}
		all = nil
	}
	t.Cleanup(end)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	for range n {
		conn, err := dialer.DialContext(t.Context(), "tcp", registryHost+":2181")
		if err != nil {
			t.Fatal(err)
		}
		s, err := zookeeper.Open(context.Background(), conn, registry.Secret{}, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return end
}

// registryAt starts a ZooKeeper that only who has the password reads, with providers in it: two that are reached and 60 that are not.
func registryAt(t *testing.T) {
	t.Helper()
	host := nettest.New(t, "registry")
	nettest.Join(t, nettest.Self, "registry", []string{registryNode + "/30", registryPod + "/32"}, host, "eth0", []string{registryHost + "/30"})
	host.IP(t, "route add "+registryPod+" via "+registryNode)
	zookeepertest.Start(t, host, registryHost, "maxClientCnxns=5\n4lw.commands.whitelist=*")
	listener, err := net.Listen("tcp", registryPod+":20880")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	c, _, err := zk.Connect([]string{registryHost}, 10*time.Second, zk.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.AddAuth("digest", []byte(registryUser+":"+registryPassword)); err != nil {
		t.Fatal(err)
	}
	put := func(at string) {
		acl := zk.DigestACL(zk.PermAll, registryUser, registryPassword)
		parts := strings.Split(strings.Trim(at, "/"), "/")
		for i := range parts {
			name := "/" + strings.Join(parts[:i+1], "/")
			if _, err := c.Create(name, nil, 0, acl); err != nil && !errors.Is(err, zk.ErrNodeExists) {
				t.Fatalf("create %s: %v", name, err)
			}
		}
	}
	for _, service := range []string{"com.x.Good", "com.x.Better"} {
		put("/prod/dubbo/" + service + "/providers/" + url.QueryEscape("thrift://"+registryPod+":20880/"+service+"?application=shop"))
	}
	for i := range 60 {
		put("/prod/dubbo/com.x.Bad/providers/" + url.QueryEscape(fmt.Sprintf("thrift://%s:%d/com.x.Bad?application=shop&password=%s", registryHost, 30000+i, registryPassword)))
	}
	put("/prod/dubbo/com.x.Other/providers/" + url.QueryEscape("rmi://"+registryHost+":1099/com.x.Other"))
}

const shopCheck = `kind: RegistryCheck
metadata: {name: shop}
spec:
  registry:
    zookeeper:
      servers: ["192.0.2.66:2181"]
      chroot: /prod
      authSecret: {namespace: waymark-system, name: waymark-registry, key: auth}
  timeout: 1s
  protocols: [thrift]
  egressPolicy: proven
  fromPods: [{namespace: default, selector: {matchLabels: {app: cart}}}]
`

func (c cluster) check(t *testing.T, name, condition string, status metav1.ConditionStatus, reason, message string) *v1alpha1.RegistryCheck {
	t.Helper()
	var check v1alpha1.RegistryCheck
	c.condition(t, &check, name, condition, status, reason, message)
	return &check
}

func registryChecked(t *testing.T, c cluster) {
	registryAt(t)
	c.gateway(t, "reg-1", registryNode, nil)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}} // pods need one
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), account) })
	c.pod(t, "cart-0", "reg-1", registryPod)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "waymark-system", Name: "waymark-registry"},
		StringData: map[string]string{"auth": registryUser + ":" + registryPassword + "\n"}}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), secret) })
	endNode := openSessions(t, registryNode, 4)
	c.apply(t, "kind: EgressPolicy\nmetadata: {name: proven}\nspec: {source: Pod}", shopCheck)

	check := c.check(t, "shop", "Reachable", "False", "NobodyListens", "60 of 62 providers are not reached")
	if n := len(check.Status.Findings); n != 50 || check.Status.FindingCount < 62 {
		t.Errorf("%d findings of %d", n, check.Status.FindingCount)
	}
	if first := check.Status.Findings[0]; first.Reason != "LimitNear" && first.Reason != "Masqueraded" {
		t.Errorf("the worst finding is %+v", first)
	}
	want := []v1alpha1.ProviderCount{{Class: "Pod", Addresses: 1, Reachable: 2}, {Class: "Public", Addresses: 60, Unreachable: 60}}
	if !slices.Equal(check.Status.Providers, want) {
		t.Errorf("providers %+v", check.Status.Providers)
	}
	if n := check.Status.Connections; len(n) != 1 || n[0].Address != registryNode || n[0].Connections != 4 || n[0].Limit != 5 || n[0].Who != "node reg-1" {
		t.Errorf("connections %+v", n)
	}
	c.check(t, "shop", "PodsSeen", "False", "Masqueraded", "pods of reg-1")
	c.check(t, "shop", "LimitNear", "True", "LimitNear", "4 of the 5 connections")
	c.check(t, "shop", "Valid", "True", "Valid", "")
	c.condition(t, &v1alpha1.EgressPolicy{}, "proven", "Proven", "False", "Masqueraded", "reg-1")
	c.event(t, "RegistryCheck", "shop", "Masqueraded")
	c.event(t, "RegistryCheck", "shop", "NobodyListens")
	c.event(t, "EgressPolicy", "proven", "Masqueraded")
	c.metric(t, `waymark_registry_providers{check="shop",class="Public",reachable="false"} 60`)
	c.metric(t, `waymark_registry_providers{check="shop",class="Pod",reachable="true"} 2`)
	c.metric(t, `waymark_registry_connections{address="192.0.2.65",check="shop",server="192.0.2.66:2181"} 4`)
	c.metric(t, `waymark_registry_connection_limit{check="shop",server="192.0.2.66:2181"} 5`)
	c.metric(t, `waymark_registry_masquerading_nodes{check="shop"} 1`)

	// The agent is asked for what only it sees. What it says from inside a pod weighs more: the node itself is the client.
	state := c.state(t, "reg-1", func(s *v1alpha1.NodeRoutingState) error {
		if n := s.Spec.Sights; len(n) != 1 || n[0].Pod != "default/cart-0" || n[0].Check != "shop" || n[0].Addresses[0] != registryPod {
			return fmt.Errorf("the agent is asked for %+v", n)
		}
		return nil
	})
	sight := v1alpha1.SightReport{Check: "shop", Pod: "default/cart-0", Server: "192.0.2.66:2181", Address: registryPod, Seen: registryPod, Time: metav1.Now()}
	c.report(t, "reg-1", v1alpha1.NodeRoutingStateStatus{Sights: []v1alpha1.SightReport{sight}})
	check = c.check(t, "shop", "PodsSeen", "True", "PodAddressesSeen", "from pods of 1 nodes")
	if s := check.Status.FromPods; len(s) != 1 || !s[0].Own || s[0].Node != "reg-1" {
		t.Errorf("from pods %+v", s)
	}
	c.condition(t, &v1alpha1.EgressPolicy{}, "proven", "Proven", "True", "PodAddressesSeen", "RegistryCheck shop")
	c.event(t, "EgressPolicy", "proven", "PodAddressesSeen")
	sight.Seen = registryNode
	c.report(t, "reg-1", v1alpha1.NodeRoutingStateStatus{Sights: []v1alpha1.SightReport{sight}})
	c.condition(t, &v1alpha1.EgressPolicy{}, "proven", "Proven", "False", "Masqueraded", "the address of node reg-1")
	if len(state.Spec.PodCIDRs) == 0 {
		t.Error("what is asked of the agent has replaced the verdicts")
	}

	// Pods with their own addresses, and no node.
	endNode()
	openSessions(t, registryPod, 1)
	c.patch(t, &v1alpha1.RegistryCheck{}, "shop", `{"spec":{"fromPods":null,"dials":20}}`)
	c.check(t, "shop", "PodsSeen", "True", "PodAddressesSeen", "1 pods are connected with their own addresses")
	c.check(t, "shop", "LimitNear", "False", "Room", "")
	c.condition(t, &v1alpha1.EgressPolicy{}, "proven", "Proven", "True", "PodAddressesSeen", "")
	c.metric(t, `waymark_registry_masquerading_nodes{check="shop"} 0`)
	c.state(t, "reg-1", func(s *v1alpha1.NodeRoutingState) error {
		if len(s.Spec.Sights) > 0 {
			return fmt.Errorf("the agent is still asked for %+v", s.Spec.Sights)
		}
		return nil
	})

	// A policy that no registry can prove is none of its business.
	c.patch(t, &v1alpha1.EgressPolicy{}, "proven", `{"spec":{"source":"Node"}}`)
	c.check(t, "shop", "Valid", "False", "NotProvable", "has source: Node")
	nettest.Eventually(t, 10*time.Second, func() error {
		var p v1alpha1.EgressPolicy
		if err := c.Get(t.Context(), client.ObjectKey{Name: "proven"}, &p); err != nil {
			return err
		}
		if proven := meta.FindStatusCondition(p.Status.Conditions, "Proven"); proven != nil {
			return fmt.Errorf("it is still %+v", proven)
		}
		return nil
	})
	c.tellsNothing(t)
}

// tellsNothing looks for the password wherever the controller writes.
func (c cluster) tellsNothing(t *testing.T) {
	t.Helper()
	objects, err := c.kube.Kubectl("get", "rck,egp,nrs", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	var events eventsv1.EventList
	if err := c.List(t.Context(), &events); err != nil {
		t.Fatal(err)
	}
	metrics, err := get("http://" + metricsAddress + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"objects": objects, "events": fmt.Sprint(events), "metrics": metrics, "log": c.log.String()} {
		if len(text) < 100 || strings.Contains(text, registryPassword) {
			t.Errorf("%s tell the password, or nothing at all: %d bytes", where, len(text))
		}
	}
}

func registryUnread(t *testing.T, c cluster) {
	c.apply(t, "kind: EgressPolicy\nmetadata: {name: unproven}\nspec: {source: Pod}", strings.NewReplacer("name: shop", "name: unread", "proven", "unproven").Replace(shopCheck))
	c.check(t, "unread", "Reachable", "Unknown", "NotRead", `secrets "waymark-registry" not found`)
	c.check(t, "unread", "PodsSeen", "Unknown", "NotAsked", "")
	c.condition(t, &v1alpha1.EgressPolicy{}, "unproven", "Proven", "Unknown", "NotAsked", "")
}

func TestProof(t *testing.T) {
	now := time.Now()
	check := func(ago time.Duration, generation int64) *v1alpha1.RegistryCheck {
		c := &v1alpha1.RegistryCheck{ObjectMeta: metav1.ObjectMeta{Name: "shop", Generation: 2}}
		c.Status.LastRun = metav1.NewTime(now.Add(-ago))
		c.Status.Conditions = []metav1.Condition{{Type: "PodsSeen", Status: "True", Reason: "PodAddressesSeen", ObservedGeneration: generation}}
		return c
	}
	for want, c := range map[string]*v1alpha1.RegistryCheck{
		"True PodAddressesSeen": check(6*time.Minute, 2), "Unknown Stale": check(16*time.Minute, 2), "Unknown NotChecked": check(time.Minute, 1),
	} {
		if p := proof(c, now); fmt.Sprint(p.Status, " ", p.Reason) != want {
			t.Errorf("%+v, want %s", p, want)
		}
	}
}

// pod creates a Pod that runs on a node with an address, deleted with the test.
func (c cluster) pod(t *testing.T, name, node, address string) {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "cart"}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "c"}}},
	}
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), p, client.GracePeriodSeconds(0)) })
	patch := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}]}}`, address, address)
	if err := c.Status().Patch(t.Context(), p, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}
