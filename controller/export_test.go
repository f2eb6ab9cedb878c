package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route/export"
)

const exportNetwork = `kind: DatacenterNetwork
metadata: {name: default}
spec:
  cidrs: [10.132.0.0/16]
  clusterCIDRs: [10.131.0.0/16]
  gateways: [{name: core1, address: 192.0.2.254, dialect: frr, nodeSubnets: [10.132.2.0/24]}]`

// at gives a Node an address.
func (c cluster) at(t *testing.T, name, address string, podCIDRs ...string) {
	t.Helper()
	n := c.node(t, name, nil, podCIDRs...)
	patch := fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":%q}]}}`, address)
	if err := c.Status().Patch(t.Context(), n, client.RawPatch("application/strategic-merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// exported waits until a key of an export's ConfigMap is as wanted.
func (c cluster) exported(t *testing.T, name, key, want string) *corev1.ConfigMap {
	t.Helper()
	var m corev1.ConfigMap
	nettest.Eventually(t, 10*time.Second, func() error {
		m = corev1.ConfigMap{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "waymark-system", Name: "waymark-routes-" + name}, &m); err != nil {
			return err
		}
		if m.Data[key] != strings.TrimPrefix(want, "\n") {
			return fmt.Errorf("%s is\n%s\nwant%s", key, m.Data[key], want)
		}
		return nil
	})
	return &m
}

// eventWith waits for an Event whose note has a text.
func (c cluster) eventWith(t *testing.T, name, reason, text string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		var events eventsv1.EventList
		if err := c.List(t.Context(), &events); err != nil {
			return err
		}
		var notes []string
		for _, e := range events.Items {
			if e.Regarding.Kind == "StaticRouteExport" && e.Regarding.Name == name && e.Reason == reason {
				notes = append(notes, e.Note)
			}
		}
		if !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, text) }) {
			return fmt.Errorf("no Event %s of %s with %q: %q", reason, name, text, notes)
		}
		return nil
	})
}

func (c cluster) metric(t *testing.T, line string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		text, err := get("http://" + metricsAddress + "/metrics")
		if err == nil && !strings.Contains(text, "\n"+line+"\n") {
			err = fmt.Errorf("no metric %s in\n%s", line, strings.Join(slices.DeleteFunc(strings.Split(text, "\n"),
				func(l string) bool { return !strings.HasPrefix(l, "waymark_static") }), "\n"))
		}
		return err
	})
}

func exportCommands(t *testing.T, c cluster) {
	c.at(t, "n1", "10.132.2.21", "10.131.21.0/24")
	c.at(t, "n2", "10.132.2.22", "10.131.22.0/24")
	c.at(t, "n3", "10.133.9.9", "10.131.23.0/24")
	c.apply(t, exportNetwork, "kind: StaticRouteExport\nmetadata: {name: plain}\nspec: {gateway: core1, tag: 42}")
	m := c.exported(t, "plain", "commands", `
! n1
ip route 10.131.21.0/24 10.132.2.21 tag 42
! n2
ip route 10.131.22.0/24 10.132.2.22 tag 42
`)
	var e v1alpha1.StaticRouteExport
	c.condition(t, &e, "plain", "Exported", "True", "Exported", "10.131.23.0/24 of n3: no gateway has 10.133.9.9")
	c.condition(t, &e, "plain", "Valid", "True", "Valid", "")
	if e.Status.Routes != 2 || e.Status.MissingCount != 1 || len(e.Status.Missing) != 1 || e.Status.Format != "frr" || e.Status.ConfigMap != m.Name {
		t.Errorf("status %+v", e.Status)
	}
	if o := m.OwnerReferences; len(o) != 1 || o[0].Kind != "StaticRouteExport" || o[0].UID != e.UID {
		t.Errorf("owned by %+v", o)
	}
	c.metric(t, `waymark_static_routes{export="plain",gateway="core1",state="wanted"} 2`)
	c.metric(t, `waymark_static_routes{export="plain",gateway="core1",state="missing"} 1`)

	// A change is told, by an Event and by the commands for it.
	c.at(t, "n4", "10.132.2.24", "10.131.24.0/24")
	c.exported(t, "plain", "diff", "\n! n4\nip route 10.131.24.0/24 10.132.2.24 tag 42\n")
	c.eventWith(t, "plain", "Changed", "the commands have changed: 1 new")
	c.metric(t, `waymark_static_routes{export="plain",gateway="core1",state="wanted"} 3`)

	// So is one that leaves all numbers as they are.
	n4 := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n4"}}
	moved := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"addresses":[{"type":"InternalIP","address":"10.132.2.44"}]}}`))
	if err := c.Status().Patch(t.Context(), n4, moved); err != nil {
		t.Fatal(err)
	}
	const last = "\n! n4\nip route 10.131.24.0/24 10.132.2.44 tag 42\nno ip route 10.131.24.0/24 10.132.2.24\n"
	c.exported(t, "plain", "diff", last)
	c.eventWith(t, "plain", "Changed", "the commands have changed: 1 changed")

	// Nothing is written when nothing changes.
	settled := c.exported(t, "plain", "diff", last)
	if err := c.Get(t.Context(), client.ObjectKey{Name: "plain"}, &e); err != nil {
		t.Fatal(err)
	}
	c.node(t, "n9", map[string]string{"more": "work"}, "10.131.22.0/24") // judged, and refused
	c.condition(t, &v1alpha1.StaticRouteExport{}, "plain", "Exported", "True", "Exported", "2 without a route")
	again := c.exported(t, "plain", "diff", last)
	if again.ResourceVersion != settled.ResourceVersion {
		t.Errorf("the ConfigMap was written without a change: %s, %s", settled.ResourceVersion, again.ResourceVersion)
	}
	c.patch(t, &v1alpha1.StaticRouteExport{}, "plain", `{"spec":{"format":"linux","tag":null}}`)
	c.eventWith(t, "plain", "Changed", "another format: linux")
	if out, err := c.kube.Kubectl("get", "sre", "plain"); err != nil || !strings.Contains(out, "IN STEP") || !strings.Contains(out, "linux") {
		t.Errorf("%v\n%s", err, out)
	}
}

func exportRunning(t *testing.T, c cluster) {
	c.at(t, "n1", "10.132.2.21", "10.131.10.0/24")
	c.at(t, "n2", "10.132.2.22", "10.131.22.0/24")
	c.apply(t, exportNetwork, "kind: StaticRouteExport\nmetadata: {name: compared}\nspec: {gateway: core1, running: {configMap: core1-running}}")
	var e v1alpha1.StaticRouteExport
	c.condition(t, &e, "compared", "InStep", "Unknown", "NotRead", "there is no ConfigMap waymark-system/core1-running")
	running := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "waymark-system", Name: "core1-running"},
		Data:       map[string]string{"running": "hostname core1\nip route 10.131.101.0/24 10.132.2.21\nip route 10.131.22.0/24 10.132.2.22\nip route 0.0.0.0/0 192.0.2.1\n"},
	}
	if err := c.Create(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(t.Context(), running) })
	c.condition(t, &e, "compared", "InStep", "False", "Differs", "1 near miss")
	c.eventWith(t, "compared", "Differs", "1 near miss")
	if d := e.Status.Difference; d == nil || d.NearMiss != 1 || d.Right != 1 || d.Foreign != 1 || len(d.Lines) != 3 {
		t.Errorf("difference %+v", d)
	}
	c.exported(t, "compared", "diff", "\n! n1\nip route 10.131.10.0/24 10.132.2.21\nno ip route 10.131.101.0/24 10.132.2.21\n")
	c.metric(t, `waymark_static_routes{export="compared",gateway="core1",state="differing"} 1`)

	running.Data["running"] = "ip route 10.131.10.0/24 10.132.2.21\nip route 10.131.22.0/24 10.132.2.22\n"
	if err := c.Update(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	c.condition(t, &e, "compared", "InStep", "True", "InStep", "")
	c.eventWith(t, "compared", "InStep", "the router has the routes")
	c.exported(t, "compared", "diff", "")
	c.metric(t, `waymark_static_routes{export="compared",gateway="core1",state="differing"} 0`)

	running.Data["running"] += "ip route 10.131.23.0/24 10.132.2.300\n"
	if err := c.Update(t.Context(), running); err != nil {
		t.Fatal(err)
	}
	c.condition(t, &e, "compared", "InStep", "Unknown", "NotRead", "line 3")
}

func exportRefused(t *testing.T, c cluster) {
	c.at(t, "n1", "10.132.2.21", "10.131.21.0/24")
	c.apply(t, exportNetwork)
	taken := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: "waymark-system", Name: "waymark-routes-taken",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.APIVersion, Kind: "StaticRouteExport", Name: "taken", UID: "of-an-earlier-one"}},
	}, Data: map[string]string{"a": "b"}}
	if err := c.Create(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(t.Context(), taken) })
	for name, tt := range map[string]struct{ spec, reason, message string }{
		"taken":   {"{gateway: core1}", "Taken", "ConfigMap waymark-system/waymark-routes-taken is somebody else's"},
		"nobody":  {"{gateway: core9}", "NoGateway", `no gateway "core9"; it has core1`},
		"no-word": {"{gateway: core1, format: vyos, tag: 1}", "NotInFormat", "a static route has no tag there"},
	} {
		c.apply(t, "kind: StaticRouteExport\nmetadata: {name: "+name+"}\nspec: "+tt.spec)
		c.condition(t, &v1alpha1.StaticRouteExport{}, name, "Exported", "False", tt.reason, tt.message)
		c.eventWith(t, name, tt.reason, tt.message)
	}
	c.condition(t, &v1alpha1.StaticRouteExport{}, "nobody", "Valid", "False", "MissingGateway", "no gateway")
	c.exported(t, "taken", "commands", "")
	c.patch(t, &v1alpha1.StaticRouteExport{}, "nobody", `{"spec":{"gateway":"core1"}}`)
	c.condition(t, &v1alpha1.StaticRouteExport{}, "nobody", "Exported", "True", "Exported", "")
}

// exportPaths has a gateway whose routes to the pods of both nodes lead to the first, which forwards.
func exportPaths(t *testing.T, c cluster) {
	gw := nettest.New(t, "gw")
	nettest.Join(t, nettest.Self, "wan", []string{"192.0.2.1/24"}, gw, "wan", []string{"192.0.2.254/24"})
	t.Cleanup(func() { nettest.Self.IP(t, "link del wan") })
	gw.IP(t, "link add lan type bridge")
	gw.IP(t, "link set lan up")
	gw.IP(t, "addr add 10.132.2.254/24 dev lan")
	nodes := map[string]nettest.NS{}
	for _, last := range []string{"21", "22"} {
		ns := nettest.New(t, "n"+last)
		nodes[last] = ns
		nettest.Join(t, ns, "eth0", []string{"10.132.2." + last + "/24"}, gw, string(ns), nil)
		gw.IP(t, "link set "+string(ns)+" master lan")
		for _, command := range []string{"route add default via 10.132.2.254", "link add cni0 type bridge", "link set cni0 up", "addr add 10.131." + last + ".1/24 dev cni0"} {
			ns.IP(t, command)
		}
		gw.IP(t, "route add 10.131."+last+".0/24 via 10.132.2.21")
		c.at(t, "n"+last, "10.132.2."+last, "10.131."+last+".0/24")
	}
	nodes["21"].IP(t, "route add 10.131.22.0/24 via 10.132.2.22")
	for _, ns := range []nettest.NS{gw, nodes["21"], nodes["22"]} { // else it is by luck whom they answer
		ns.Run(t, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
	}
	nettest.Self.IP(t, "route add 10.131.0.0/16 via 192.0.2.254")
	c.apply(t, exportNetwork, "kind: StaticRouteExport\nmetadata: {name: probed}\nspec: {gateway: core1, probe: true, interval: 60s}")
	var e v1alpha1.StaticRouteExport
	c.condition(t, &e, "probed", "Reachable", "False", "WrongPath", "1 right, 1 wrong node; 10.131.22.0/24 of n22: node n21 (10.132.2.21) is on the way to 10.131.22.1")
	c.eventWith(t, "probed", "WrongPath", "node n21 (10.132.2.21) is on the way")
	if p := e.Status.Probe; p == nil || p.Right != 1 || p.Wrong != 1 || len(p.Findings) != 1 || p.Findings[0].Verdict != "wrong node" || p.Time.IsZero() {
		t.Errorf("probe %+v", p)
	}
	c.metric(t, `waymark_static_routes{export="probed",gateway="core1",state="wrong"} 1`)

	gw.IP(t, "route replace 10.131.22.0/24 via 10.132.2.22")
	c.patch(t, &v1alpha1.StaticRouteExport{}, "probed", `{"spec":{"interval":"120s"}}`) // a change is reason to look at once
	c.condition(t, &e, "probed", "Reachable", "True", "Reachable", "")
	c.eventWith(t, "probed", "Reachable", "packets to all pod subnets come to their nodes")
	c.metric(t, `waymark_static_routes{export="probed",gateway="core1",state="wrong"} 0`)
	c.patch(t, &v1alpha1.StaticRouteExport{}, "probed", `{"spec":{"probe":false}}`)
	nettest.Eventually(t, 10*time.Second, func() error {
		if err := c.Get(t.Context(), client.ObjectKey{Name: "probed"}, &e); err != nil {
			return err
		}
		if e.Status.Probe != nil || meta.FindStatusCondition(e.Status.Conditions, "Reachable") != nil {
			return fmt.Errorf("it still says %+v", e.Status)
		}
		return nil
	})
}

// TestLargeExport has 5,000 nodes of both families in every dialect: all fit into a ConfigMap.
func TestLargeExport(t *testing.T) {
	var nodes []corev1.Node
	for i := range 5000 {
		nodes = append(nodes, corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("ip-10-132-%d-%d.eu-central-1.compute.internal", 100+i>>8, i&255)},
			Spec:       corev1.NodeSpec{PodCIDRs: []string{fmt.Sprintf("10.%d.%d.0/24", 64+i>>8, i&255), fmt.Sprintf("2001:db8:1:%x::/64", i)}},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.132.%d.%d", 100+i>>8, i&255)},
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("2001:db8:2::%x", 1+i)},
			}},
		})
	}
	networks := []v1alpha1.DatacenterNetwork{{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.DatacenterNetworkSpec{
		CIDRs: []string{"10.132.0.0/16"},
		Gateways: []v1alpha1.Gateway{{Name: "core1", Address: "10.132.2.254", Dialect: "frr",
			NodeSubnets: []string{"10.132.0.0/16", "2001:db8:2::/64"}}},
	}}}
	want, err := agent.WantStaticRoutes(nodes, networks, "core1")
	if err != nil || len(want.Routes["core1"]) != 10000 {
		t.Fatalf("%d routes, %v", len(want.Routes["core1"]), err)
	}
	for _, format := range export.Dialects() {
		begin := time.Now()
		e := &v1alpha1.StaticRouteExport{Spec: v1alpha1.StaticRouteExportSpec{Gateway: "core1", Format: format}}
		x, err := newExporting(e, &want)
		if err != nil {
			t.Fatal(err)
		}
		var m corev1.ConfigMap
		if err := pack(&m, x.commands, x.commands); err != nil { // as if all were to be entered
			t.Errorf("%s: %v", format, err)
		}
		size := 0
		for _, text := range m.Data {
			size += len(text)
		}
		for _, data := range m.BinaryData {
			size += len(data)
		}
		if text, err := unpack(&m, commandsKey); err != nil || text != x.commands {
			t.Errorf("%s: unpacked %d bytes of %d, %v", format, len(text), len(x.commands), err)
		}
		t.Logf("%-14s %7d bytes of commands, %7d in the ConfigMap, %v", format, len(x.commands), size, time.Since(begin).Round(time.Millisecond))
	}
}
