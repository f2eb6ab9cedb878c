package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// roleNodesOf reads "a+ b-* c+!": + Ready, - not, * labelled by us, ! labelled by hand, ~ our label on one that is no candidate
// (any more), ? ours by the annotation, but without the label.
func roleNodesOf(t *testing.T, text string) []roleNode {
	t.Helper()
	var nodes []roleNode
	for _, word := range strings.Fields(text) {
		n := roleNode{name: word[:1], candidate: true}
		for _, sign := range word[1:] {
			switch sign {
			case '+':
				n.good = true
			case '-':
			case '*':
				n.labelled, n.ours = true, true
			case '!':
				n.labelled = true
			case '~':
				n.labelled, n.ours, n.candidate = true, true, false
			case '?':
				n.ours = true
			default:
				t.Fatalf("%q in %s", sign, text)
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func TestAssign(t *testing.T) {
	for _, tt := range []struct {
		name     string
		want     int32 // 0: all
		minReady int
		nodes    string
		change   string
	}{
		{"the first by name", 2, 1, "a- b+ c+ d+", "add b c"},
		{"enough", 2, 1, "a+* b+ c+*", ""},
		{"a standby first", 2, 1, "a+* b-* c+", "add c"},
		{"then the other loses it", 2, 1, "a+* b-* c+*", "remove b"},
		{"no standby", 2, 1, "a+* b-*", ""},
		{"all are down", 2, 1, "a-* b-* c-", ""},
		{"one more by hand", 2, 1, "a+* b+* c+!", "remove b"},
		{"by hand enough", 1, 1, "a+! b+", ""},
		{"by hand and down", 1, 1, "a-! b+", "add b"},
		{"by hand and down, it stays", 1, 1, "a-! b+*", ""},
		{"fewer wanted", 1, 1, "a+* b+* c+*", "remove b c"},
		{"fewer wanted, one down", 1, 1, "a-* b+* c+*", "remove a c"},
		{"no candidate any more", 1, 1, "a+~ b+", "add b"},
		{"no candidate any more, replaced", 1, 1, "a+~ b+*", "remove a"},
		{"no candidate any more, nobody else", 1, 1, "a+~ b-", ""},
		{"no candidate any more, none needed", 1, 0, "a+~ b-", "remove a"},
		{"all candidates", 0, 1, "a+ b- c+", "add a c"},
		{"all candidates, one down", 0, 1, "a+* b-* c+*", "remove b"},
		{"all candidates, all down", 0, 1, "a-* b-* c-*", "remove b c"},
		{"all candidates, too few", 0, 2, "a-* b-* c+*", "remove b"},
		{"removed by hand", 1, 1, "a+? b+*", "forget a"},
		{"removed by hand and needed", 1, 1, "a+? b-*", "add a"},
		{"minReady holds a good one", 1, 2, "a+* b+~", ""},
		{"none", 1, 1, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var want *int32
			if tt.want > 0 {
				want = &tt.want
			}
			c := assign(want, tt.minReady, roleNodesOf(t, tt.nodes))
			got := ""
			for _, part := range []struct {
				what  string
				names []string
			}{{"add", c.add}, {"remove", c.remove}, {"forget", c.forget}} {
				if len(part.names) > 0 {
					got = strings.TrimSpace(got + " " + part.what + " " + strings.Join(part.names, " "))
				}
			}
			if got != tt.change {
				t.Errorf("%s: %q, want %q", tt.nodes, got, tt.change)
			}
		})
	}
}

// TestAssignHolds lets nodes come, go, fail and be labelled by hand in random sequences, and applies each decision bit by bit
// in random order, as a controller does that may die in between.
func TestAssignHolds(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		minReady := random.IntN(4)
		var want *int32
		if random.IntN(3) > 0 {
			n := int32(max(1, minReady) + random.IntN(3))
			want = &n
		}
		var nodes []roleNode
		for i := range 2 + random.IntN(7) {
			nodes = append(nodes, roleNode{name: fmt.Sprint(i), candidate: random.IntN(4) > 0, good: random.IntN(4) > 0})
		}
		for range 30 {
			n := &nodes[random.IntN(len(nodes))]
			switch random.IntN(5) {
			case 0:
				n.good = !n.good
			case 1:
				n.candidate = !n.candidate
			case 2: // somebody sets the label where it is not: it is theirs, unless it was noted as ours and not yet forgotten
				n.labelled = true
			case 3: // somebody removes it
				n.labelled = false
			case 4: // the node is replaced by a new one
				*n = roleNode{name: n.name, candidate: true, good: true}
			}
			settle(t, seed, want, minReady, nodes, random)
		}
	}
}

func settle(t *testing.T, seed uint64, want *int32, minReady int, nodes []roleNode, random *rand.Rand) {
	t.Helper()
	tally := func() (ready, labelled, possible int) {
		for _, n := range nodes {
			ready += count(n.labelled && n.good)
			labelled += count(n.labelled)
			possible += count(n.good && (n.candidate || n.labelled && !n.ours))
		}
		return
	}
	for range 20 {
		c := assign(want, minReady, nodes)
		type step struct{ name, what string }
		var steps []step
		for what, names := range map[string][]string{"add": c.add, "remove": c.remove, "forget": c.forget} {
			for _, name := range names {
				steps = append(steps, step{name, what})
			}
		}
		if len(steps) == 0 {
			ready, labelled, possible := tally()
			if ready < min(minReady, possible) {
				t.Fatalf("seed %d: %d serve, want %d of %d possible: %+v", seed, ready, minReady, possible, nodes)
			}
			if want != nil && labelled < min(int(*want), possible) {
				t.Fatalf("seed %d: %d labelled, want %d of %d possible: %+v", seed, labelled, *want, possible, nodes)
			}
			return
		}
		slices.SortFunc(steps, func(a, b step) int { return strings.Compare(a.name, b.name) })
		random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		for _, s := range steps {
			before, _, _ := tally()
			n := &nodes[slices.IndexFunc(nodes, func(n roleNode) bool { return n.name == s.name })]
			switch s.what {
			case "add":
				if !n.candidate || !n.good || n.labelled {
					t.Fatalf("seed %d: label set on %+v", seed, *n)
				}
				n.labelled, n.ours = true, true
			case "remove":
				if !n.ours {
					t.Fatalf("seed %d: removed a label that is not ours: %+v", seed, *n)
				}
				n.labelled, n.ours = false, false
			case "forget":
				n.ours = false
			}
			if after, labelled, _ := tally(); after < before && after < minReady || s.what == "remove" && labelled < minReady {
				t.Fatalf("seed %d: %s %s leaves %d that serve of %d, want %d: %+v", seed, s.what, s.name, after, labelled, minReady, nodes)
			}
		}
	}
	t.Fatalf("seed %d: no end: %+v", seed, nodes)
}

func TestRoleOnNodes(t *testing.T) {
	role := &v1alpha1.NodeRole{Spec: v1alpha1.NodeRoleSpec{Label: v1alpha1.RoleLabel{Key: "egress", Value: "on"}}}
	role.Name = "r1"
	node := func(labels, annotations map[string]string, ready corev1.ConditionStatus, taint string) corev1.Node {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: labels, Annotations: annotations}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		if taint != "" {
			n.Spec.Taints = []corev1.Taint{{Key: taint}}
		}
		return n
	}
	ours := map[string]string{v1alpha1.AnnotationRoles: "r0,r1"}
	selector := labels.SelectorFromSet(labels.Set{"rack": "a"})
	for name, tt := range map[string]struct {
		node corev1.Node
		want roleNode
	}{
		"a standby":       {node(map[string]string{"rack": "a"}, nil, "True", ""), roleNode{"n", true, true, false, false}},
		"another rack":    {node(map[string]string{"rack": "b"}, nil, "True", ""), roleNode{"n", false, true, false, false}},
		"unknown":         {node(map[string]string{"rack": "a"}, nil, "Unknown", ""), roleNode{"n", true, false, false, false}},
		"cordoned":        {node(map[string]string{"rack": "a"}, nil, "True", "node.kubernetes.io/unschedulable"), roleNode{"n", true, true, false, false}},
		"drains by taint": {node(map[string]string{"rack": "a"}, nil, "True", v1alpha1.Drain), roleNode{"n", true, false, false, false}},
		"drains by label": {node(map[string]string{"rack": "a", v1alpha1.Drain: ""}, nil, "True", ""), roleNode{"n", true, false, false, false}},
		"ours":            {node(map[string]string{"rack": "a", "egress": "on"}, ours, "True", ""), roleNode{"n", true, true, true, true}},
		"by hand":         {node(map[string]string{"rack": "a", "egress": "on"}, nil, "True", ""), roleNode{"n", true, true, true, false}},
		"another value":   {node(map[string]string{"rack": "a", "egress": "off"}, nil, "True", ""), roleNode{"n", false, true, false, false}},
	} {
		if got := roleNodes(role, selector, []corev1.Node{tt.node}); got[0] != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got[0], tt.want)
		}
	}
	n := node(nil, map[string]string{v1alpha1.AnnotationRoles: "r0"}, "True", "")
	mark(&n, role, true)
	if n.Labels["egress"] != "on" || n.Annotations[v1alpha1.AnnotationRoles] != "r0,r1" {
		t.Errorf("marked: %v %v", n.Labels, n.Annotations)
	}
	n.Labels["egress"] = "special"
	mark(&n, role, false)
	if n.Labels["egress"] != "special" || n.Annotations[v1alpha1.AnnotationRoles] != "r0" {
		t.Errorf("another value set by hand: %v %v", n.Labels, n.Annotations)
	}
}
