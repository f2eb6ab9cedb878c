package controller

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// objectProblems collects what is wrong with each object ("BGPPeer/rr1"): by itself, beside the others, and on the nodes.
func objectProblems(s agent.Snapshot, objects map[string]v1alpha1.Object, states []v1alpha1.NodeRoutingState) map[string][]agent.Problem {
	found := map[string][]agent.Problem{}
	for name, o := range objects {
		for _, err := range o.Validate() {
			found[name] = append(found[name], agent.Problem{Object: name, Reason: "Invalid", Message: err.Error()})
		}
	}
	for _, p := range append(agent.Check(s), reported(states)...) {
		// What we have found ourselves, the nodes need not say too.
		known := func(q agent.Problem) bool { return q.Reason == p.Reason && p.Where != "" }
		if !slices.ContainsFunc(found[p.Object], known) {
			found[p.Object] = append(found[p.Object], p)
		}
	}
	return found
}

// reported are the problems that nodes have, each object and reason once. Where names the nodes. That a peer is the node
// itself is no fault of the object: it may be meant for many nodes.
func reported(states []v1alpha1.NodeRoutingState) []agent.Problem {
	type key struct{ object, reason string }
	nodes := map[key][]string{}
	var problems []agent.Problem
	for i := range states {
		for _, p := range states[i].Status.Problems {
			k := key{p.Object, p.Reason}
			if p.Reason == "PeerIsSelf" || slices.Contains(nodes[k], states[i].Name) {
				continue
			}
			if nodes[k] == nil {
				problems = append(problems, agent.Problem{Object: p.Object, Reason: p.Reason, Message: p.Message})
			}
			nodes[k] = append(nodes[k], states[i].Name)
		}
	}
	for i := range problems {
		problems[i].Where = "on " + few(nodes[key{problems[i].Object, problems[i].Reason}])
	}
	return problems
}

// reasonForm is what the API server takes as the reason of a condition.
var reasonForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,99}$`)

// valid is the condition that comes of an object's problems.
func valid(generation int64, problems []agent.Problem) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionValid, Status: metav1.ConditionTrue, Reason: "Valid", ObservedGeneration: generation}
	if len(problems) == 0 {
		return c
	}
	var texts []string
	for _, p := range problems {
		text := p.Message
		if p.Where != "" {
			text = fmt.Sprintf("%s: %s", p.Where, text)
		}
		texts = append(texts, text)
	}
	c.Status, c.Reason, c.Message = metav1.ConditionFalse, problems[0].Reason, short(strings.Join(texts, "; "))
	if !reasonForm.MatchString(c.Reason) {
		c.Reason = "Problem"
	}
	return c
}

// judged puts the condition into the status. news: it says something else than before, which is not so of an object that is
// valid from the beginning.
func judged(status *v1alpha1.ObjectStatus, c metav1.Condition) (changed, news bool) {
	old := meta.FindStatusCondition(status.Conditions, c.Type)
	news = old == nil && c.Status == metav1.ConditionFalse || old != nil && (old.Status != c.Status || old.Reason != c.Reason)
	changed = meta.SetStatusCondition(&status.Conditions, c) || status.ObservedGeneration != c.ObservedGeneration
	status.ObservedGeneration = c.ObservedGeneration
	return changed, news
}

// statusOf is the part of the status that all kinds have which have a Valid condition.
func statusOf(o v1alpha1.Object) *v1alpha1.ObjectStatus {
	switch o := o.(type) {
	case *v1alpha1.BGPConfiguration:
		return &o.Status
	case *v1alpha1.BGPPeer:
		return &o.Status.ObjectStatus
	case *v1alpha1.EgressPolicy:
		return &o.Status.ObjectStatus
	case *v1alpha1.AddressPool:
		return &o.Status
	case *v1alpha1.DatacenterNetwork:
		return &o.Status
	case *v1alpha1.NodeRole:
		return &o.Status.ObjectStatus
	case *v1alpha1.RegistryCheck:
		return &o.Status.ObjectStatus
	case *v1alpha1.StaticRouteExport:
		return &o.Status.ObjectStatus
	}
	return nil
}
