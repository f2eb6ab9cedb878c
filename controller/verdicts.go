package controller

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// stateChange is what there is to do for one node: before is nil where there is no state, after where there should be none.
type stateChange struct{ before, after *v1alpha1.NodeRoutingState }

// stateChanges compares the states that there are with those that there should be. A state of an earlier Node of the name is
// replaced, not changed: what its status reports is of another machine.
func stateChanges(nodes []corev1.Node, networks []v1alpha1.DatacenterNetwork, policies []v1alpha1.EgressPolicy, states []v1alpha1.NodeRoutingState) (changes []stateChange, conflicts int) {
	verdicts := agent.Judge(nodes, networks)
	peers := tunnelPeers(nodes, policies)
	before := map[string]*v1alpha1.NodeRoutingState{}
	for i := range states {
		before[states[i].Name] = &states[i]
	}
	for i := range nodes {
		node := &nodes[i]
		for _, v := range verdicts[node.Name] {
			if v.Conflict != "" {
				conflicts++
			}
		}
		old := before[node.Name]
		delete(before, node.Name)
		if old != nil && ownedBy(old, node.UID) && slices.Equal(old.Spec.PodCIDRs, verdicts[node.Name]) &&
			slices.Equal(old.Spec.TunnelPeers, peers[node.Name]) {
			continue
		}
		changes = append(changes, stateChange{old, &v1alpha1.NodeRoutingState{
			ObjectMeta: metav1.ObjectMeta{Name: node.Name, OwnerReferences: []metav1.OwnerReference{
				{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID},
			}},
			Spec: v1alpha1.NodeRoutingStateSpec{PodCIDRs: verdicts[node.Name], TunnelPeers: peers[node.Name]},
		}})
	}
	for i := range states {
		if orphan := &states[i]; before[orphan.Name] == orphan {
			changes = append(changes, stateChange{before: orphan})
		}
	}
	return changes, conflicts
}

// tunnelPeers are the nodes that each gateway accepts tunnels from, by the gateway's name: all of the cluster.
func tunnelPeers(nodes []corev1.Node, policies []v1alpha1.EgressPolicy) map[string][]string {
	peers := map[string][]string{}
	for i := range policies {
		for _, a := range policies[i].Status.Addresses {
			for _, g := range a.Gateways {
				peers[g.Node] = nil
			}
		}
	}
	if len(peers) == 0 {
		return nil
	}
	var texts []string
	for _, prefix := range agent.NodePrefixes(nodes) {
		texts = append(texts, prefix.String())
	}
	for name := range peers {
		peers[name] = texts
	}
	return peers
}

func ownedBy(state *v1alpha1.NodeRoutingState, node types.UID) bool {
	return slices.ContainsFunc(state.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == node })
}

// replaces says whether the new state is of another owner than the old one.
func (c stateChange) replaces() bool {
	return c.before != nil && (c.after == nil || !ownedBy(c.before, c.after.OwnerReferences[0].UID))
}

// refusals are the conflicts that are new.
func (c stateChange) refusals() []v1alpha1.PrefixVerdict {
	if c.after == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.after.Spec.PodCIDRs), func(v v1alpha1.PrefixVerdict) bool {
		return v.Conflict == "" || c.before != nil && slices.Contains(c.before.Spec.PodCIDRs, v)
	})
}
