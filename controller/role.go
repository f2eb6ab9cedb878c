package controller

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// roleNode is a node as one NodeRole sees it.
type roleNode struct {
	name      string
	candidate bool // selected, and nobody has put another value in the label's place
	good      bool // Ready, and not on its way out
	labelled  bool
	ours      bool // the label, if it is there, is of our making
}

// serves says whether the node does what the role is for. A label set by hand counts wherever it is.
func (n roleNode) serves() bool { return n.labelled && n.good && (n.candidate || !n.ours) }

// roleChange names nodes, sorted.
type roleChange struct {
	add    []string // set the label
	remove []string // take it away
	forget []string // others have taken it away: should they set it again, it is theirs
}

// assign decides on which nodes the label changes. First standbys get it, and only when there is no more to be added others
// lose it: so it is to be asked again when the nodes have changed. Only our labels are removed, and none that would leave
// less than minReady nodes with the label, or less than minReady that serve.
func assign(want *int32, minReady int, nodes []roleNode) roleChange {
	var c roleChange
	var free []string
	labelled, good, serving := 0, 0, 0
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b roleNode) int { return strings.Compare(a.name, b.name) })
	for _, n := range nodes {
		switch {
		case n.labelled:
			labelled++
			good += count(n.good)
			serving += count(n.serves())
			continue
		case n.candidate && n.good:
			free = append(free, n.name)
		}
		if n.ours {
			c.forget = append(c.forget, n.name)
		}
	}
	bearers := minReady // that there are to be, good or not
	if want != nil {
		bearers = max(minReady, int(*want))
		free = free[:min(len(free), max(0, int(*want)-serving))]
	}
	if len(free) > 0 {
		c.add = free
		c.forget = slices.DeleteFunc(c.forget, func(name string) bool { return slices.Contains(free, name) })
		return c
	}
	remove := func(n roleNode) {
		c.remove = append(c.remove, n.name)
		labelled--
		good -= count(n.good)
		serving -= count(n.serves())
	}
	// Those go first that serve least, and of equals the last by name.
	worth := func(n roleNode) int { return 2*count(n.good) + count(n.candidate) }
	slices.SortFunc(nodes, func(a, b roleNode) int { return cmp.Or(worth(a)-worth(b), strings.Compare(b.name, a.name)) })
	for _, n := range nodes {
		switch {
		case !n.ours || !n.labelled:
		case n.good && good <= minReady:
		case !n.candidate && labelled > minReady,
			n.candidate && !n.good && labelled > bearers,
			n.serves() && want != nil && serving > bearers:
			remove(n)
		}
	}
	slices.Sort(c.remove)
	return c
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// roleNodes are the nodes as the role sees them.
func roleNodes(role *v1alpha1.NodeRole, selector labels.Selector, nodes []corev1.Node) []roleNode {
	label := role.Spec.Label
	seen := make([]roleNode, 0, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		value, has := n.Labels[label.Key]
		labelled := has && value == label.Value
		seen = append(seen, roleNode{
			name:      n.Name,
			candidate: (labelled || !has) && selector.Matches(labels.Set(n.Labels)),
			good:      isReady(n) && !agent.Leaving(n),
			labelled:  labelled,
			ours:      slices.Contains(rolesOf(n), role.Name),
		})
	}
	return seen
}

func isReady(n *corev1.Node) bool {
	return n.DeletionTimestamp == nil && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// rolesOf names the NodeRoles whose label on the node is of our making.
func rolesOf(n *corev1.Node) []string {
	return strings.FieldsFunc(n.Annotations[v1alpha1.AnnotationRoles], func(r rune) bool { return r == ',' })
}

// mark sets or removes the role's label on the node, and notes it in the annotation.
func mark(n *corev1.Node, role *v1alpha1.NodeRole, set bool) {
	roles := slices.DeleteFunc(rolesOf(n), func(name string) bool { return name == role.Name })
	if label := role.Spec.Label; set {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[label.Key] = label.Value
		roles = append(roles, role.Name)
		slices.Sort(roles)
	} else if n.Labels[label.Key] == label.Value {
		delete(n.Labels, label.Key)
	}
	if len(roles) == 0 {
		delete(n.Annotations, v1alpha1.AnnotationRoles)
		return
	}
	if n.Annotations == nil {
		n.Annotations = map[string]string{}
	}
	n.Annotations[v1alpha1.AnnotationRoles] = strings.Join(roles, ",")
}

// roleStatus is what has become of the role, apart from its conditions.
func roleStatus(status v1alpha1.NodeRoleStatus, nodes []roleNode) v1alpha1.NodeRoleStatus {
	status.Labelled, status.Ready, status.Candidates, status.Nodes = 0, 0, 0, nil
	for _, n := range nodes {
		status.Candidates += int32(count(n.candidate))
		if n.labelled {
			status.Labelled++
			status.Ready += int32(count(n.good))
			status.Nodes = append(status.Nodes, n.name)
		}
	}
	slices.Sort(status.Nodes)
	status.Nodes = status.Nodes[:min(len(status.Nodes), shownNodes)]
	return status
}

const shownNodes = 50 // of a NodeRole's status
