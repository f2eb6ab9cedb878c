package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestController tells what the controller does on one real API server. Each story cleans up behind itself.
func TestController(t *testing.T) {
	c := start(t)
	for _, story := range []struct {
		name string
		tell func(*testing.T, cluster)
	}{
		{"a new node is judged", newNode},
		{"two nodes claim one PodCIDR", twoNodes},
		{"a PodCIDR in the datacenter", inDatacenter},
		{"a node is deleted and comes again", nodeAgain},
		{"a role moves to the standby", roleMoves},
		{"a role leaves alone what others have set", roleOfOthers},
		{"two roles want one label", twoRoles},
		{"how fast a role follows", roleLatency},
		{"reports are added up", reports},
		{"objects beside each other", conditions},
		{"a new node is let go", letGo},
		{"a gateway drains", gatewayDrains},
		{"a gateway fails", gatewayFails},
		{"addresses stay", addressesStay},
		{"nodes that send tunnels", tunnelsOfNodes},
		{"static routes are written", exportCommands},
		{"a router is compared", exportRunning},
		{"static routes are refused", exportRefused},
		{"ways are probed", exportPaths},
		{"a registry is checked", registryChecked},
		{"a registry that cannot be read", registryUnread},
		{"metrics", metricsShown},
	} {
		t.Run(story.name, func(t *testing.T) { story.tell(t, c) })
	}
}

func newNode(t *testing.T, c cluster) {
	var took []time.Duration
	for i := range 20 {
		begin := time.Now()
		name, prefix := fmt.Sprintf("new-%d", i), fmt.Sprintf("10.244.%d.0/24", i)
		n := c.node(t, name, nil, prefix, fmt.Sprintf("2001:db8:0:%x::/64", i))
		state := c.state(t, name, judgedAs(prefix+fmt.Sprintf("\n2001:db8:0:%x::/64", i)))
		took = append(took, time.Since(begin))
		if !ownedBy(state, n.UID) {
			t.Errorf("%s is not the Node's: %v", name, state.OwnerReferences)
		}
	}
	percentiles(t, "from a new Node to its verdict", took, time.Second)
}

// percentiles logs how long something took, and fails when the worst is beyond all reason.
func percentiles(t *testing.T, what string, took []time.Duration, bound time.Duration) {
	t.Helper()
	slices.Sort(took)
	at := func(p int) time.Duration { return took[(len(took)-1)*p/100].Round(time.Millisecond) }
	t.Logf("%s: p50 %v, p99 %v, worst %v of %d", what, at(50), at(99), at(100), len(took))
	if at(99) > bound {
		t.Errorf("%s: p99 %v, want at most %v", what, at(99), bound)
	}
}

func twoNodes(t *testing.T, c cluster) {
	older := c.node(t, "z-older", nil, "10.244.7.0/24")
	nettest.Eventually(t, 3*time.Second, func() error { // creation times have seconds
		if time.Now().Unix() <= older.CreationTimestamp.Unix()+1 {
			return fmt.Errorf("the clock stands still")
		}
		return nil
	})
	c.node(t, "a-younger", nil, "10.244.7.0/24")
	c.state(t, "a-younger", judgedAs("10.244.7.0/24: 10.244.7.0/24 of Node a-younger overlaps 10.244.7.0/24 of Node z-older, which is older"))
	c.state(t, "z-older", judgedAs("10.244.7.0/24"))
	c.event(t, "Node", "a-younger", "Overlap")
	if err := c.Delete(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	c.state(t, "a-younger", judgedAs("10.244.7.0/24"))
}

func inDatacenter(t *testing.T, c cluster) {
	c.node(t, "n1", nil, "10.132.7.0/24")
	c.state(t, "n1", judgedAs("10.132.7.0/24"))
	c.apply(t, "kind: DatacenterNetwork\nmetadata: {name: default}\nspec: {cidrs: [10.132.0.0/16]}")
	c.state(t, "n1", judgedAs("10.132.7.0/24: 10.132.7.0/24 of Node n1 overlaps 10.132.0.0/16 of DatacenterNetwork default"))
	c.condition(t, &v1alpha1.DatacenterNetwork{}, "default", "Valid", "False", "Overlap", "10.132.7.0/24 of Node n1 overlaps")
	c.event(t, "DatacenterNetwork", "default", "Overlap")
}

func nodeAgain(t *testing.T, c cluster) {
	n := c.node(t, "n1", nil, "10.244.1.0/24")
	c.state(t, "n1", judgedAs("10.244.1.0/24"))
	c.report(t, "n1", v1alpha1.NodeRoutingStateStatus{Gate: v1alpha1.GateStatus{Open: true}})
	if err := c.Delete(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	again := c.node(t, "n1", nil, "10.244.2.0/24")
	c.state(t, "n1", func(s *v1alpha1.NodeRoutingState) error {
		if !ownedBy(s, again.UID) || s.Status.Gate.Open {
			return fmt.Errorf("the state is of the old node: %+v", s)
		}
		return judgedAs("10.244.2.0/24")(s)
	})
	if err := c.Delete(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	c.gone(t, &v1alpha1.NodeRoutingState{}, "n1")
}

const egress = "kind: NodeRole\nmetadata: {name: egress}\nspec: {label: {key: cluster.k8s/egress, value: enabled}, nodeSelector: {matchLabels: {egress: \"yes\"}}, nodes: 1, minReady: 1}"

// bearers waits until the label is on these nodes, and never on fewer than min.
func (c cluster) bearers(t *testing.T, least int, want ...string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		var nodes corev1.NodeList
		if err := c.List(t.Context(), &nodes, client.MatchingLabels{"cluster.k8s/egress": "enabled"}); err != nil {
			return err
		}
		var got []string
		for _, n := range nodes.Items {
			got = append(got, n.Name)
		}
		if len(got) < least {
			t.Errorf("only %v bear the label, want at least %d", got, least)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%v bear the label, want %v", got, want)
		}
		return nil
	})
}

func roleMoves(t *testing.T, c cluster) {
	candidate := map[string]string{"egress": "yes"}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.node(t, name, candidate)
	}
	c.node(t, "n4", nil)
	c.apply(t, egress)
	c.bearers(t, 0, "n1")
	c.ready(t, "n1", false)
	c.bearers(t, 1, "n2")
	c.ready(t, "n1", true)
	c.patch(t, &corev1.Node{}, "n2", `{"metadata":{"labels":{"waymark.io/drain":""}}}`)
	c.bearers(t, 1, "n1")
	c.patch(t, &corev1.Node{}, "n3", `{"spec":{"unschedulable":true}}`)
	c.patch(t, &corev1.Node{}, "n1", `{"spec":{"taints":[{"key":"waymark.io/drain","effect":"NoSchedule"}]}}`)
	c.bearers(t, 1, "n3")
	c.ready(t, "n3", false) // nobody is left to take over
	nettest.Eventually(t, 10*time.Second, func() error {
		var role v1alpha1.NodeRole
		if err := c.Get(t.Context(), client.ObjectKey{Name: "egress"}, &role); err != nil {
			return err
		}
		if s := role.Status; s.Labelled != 1 || s.Ready != 0 || s.Candidates != 3 || !slices.Equal(s.Nodes, []string{"n3"}) {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	c.bearers(t, 1, "n3")
	c.condition(t, &v1alpha1.NodeRole{}, "egress", "Valid", "True", "Valid", "")
}

func roleOfOthers(t *testing.T, c cluster) {
	c.node(t, "n1", map[string]string{"egress": "yes"})
	c.node(t, "n2", map[string]string{"cluster.k8s/egress": "enabled"})
	c.apply(t, strings.Replace(egress, "nodes: 1", "nodes: 2", 1))
	c.bearers(t, 1, "n1", "n2")
	c.ready(t, "n2", false)
	if _, err := c.kube.Kubectl("delete", "noderole", "egress", "--timeout=10s"); err != nil {
		t.Fatal(err)
	}
	c.bearers(t, 1, "n2")
	var n1 corev1.Node
	if err := c.Get(t.Context(), client.ObjectKey{Name: "n1"}, &n1); err != nil || n1.Annotations[v1alpha1.AnnotationRoles] != "" {
		t.Errorf("traces on n1: %v %v", n1.Annotations, err)
	}
}

func twoRoles(t *testing.T, c cluster) {
	c.node(t, "n1", map[string]string{"egress": "yes"})
	c.node(t, "n2", map[string]string{"rack": "b"})
	c.apply(t, egress)
	c.bearers(t, 0, "n1")
	c.apply(t, strings.NewReplacer("name: egress", "name: egress2", `egress: "yes"`, "rack: b").Replace(egress))
	c.condition(t, &v1alpha1.NodeRole{}, "egress2", "Valid", "False", "Duplicate", "NodeRole egress keeps the label cluster.k8s/egress=enabled already")
	c.event(t, "NodeRole", "egress2", "Duplicate")
	// A role by whose own label nodes are candidates, or not, would never come to rest.
	c.apply(t, "kind: NodeRole\nmetadata: {name: circle}\nspec: {label: {key: circle}, nodeSelector: {matchExpressions: [{key: circle, operator: DoesNotExist}]}}")
	c.condition(t, &v1alpha1.NodeRole{}, "circle", "Valid", "False", "Invalid", "is the role's own label")
	if out, err := c.kube.Kubectl("get", "nodes", "-l", "circle", "-o", "name"); err != nil || out != "" {
		t.Errorf("the label is on %s, %v", out, err)
	}
	c.bearers(t, 1, "n1")
	if _, err := c.kube.Kubectl("delete", "noderole", "egress"); err != nil {
		t.Fatal(err)
	}
	c.bearers(t, 0, "n2")
}

// roleLatency drains the node that bears the label, again and again, and takes the time until the other bears it alone.
func roleLatency(t *testing.T, c cluster) {
	c.node(t, "n1", map[string]string{"egress": "yes"})
	c.node(t, "n2", map[string]string{"egress": "yes"})
	c.apply(t, egress)
	c.bearers(t, 0, "n1")
	var took []time.Duration
	from, to := "n1", "n2"
	for range 100 {
		begin := time.Now()
		c.patch(t, &corev1.Node{}, from, `{"metadata":{"labels":{"waymark.io/drain":""}}}`)
		c.bearers(t, 1, to)
		took = append(took, time.Since(begin))
		c.patch(t, &corev1.Node{}, from, `{"metadata":{"labels":{"waymark.io/drain":null}}}`)
		from, to = to, from
	}
	percentiles(t, "from the label drain to the role on the other node alone", took, 5*time.Second)
}

func metricsShown(t *testing.T, c cluster) {
	c.node(t, "n1", map[string]string{"egress": "yes"})
	c.apply(t, egress)
	nettest.Eventually(t, 10*time.Second, func() error {
		text, err := get("http://" + metricsAddress + "/metrics")
		for _, want := range []string{`waymark_nodes{state="silent"} 1`, `waymark_noderole_ready{role="egress"} 1`, "waymark_podcidr_conflicts 0",
			`controller_runtime_reconcile_time_seconds_count{controller="nodestate"}`} {
			if err == nil && !strings.Contains(text, want) {
				err = fmt.Errorf("no %s", want)
			}
		}
		return err
	})
}
