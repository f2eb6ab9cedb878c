package controller

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// settled says whether pods on the node would be reached and have their source addresses, as far as the node can: what it
// announces is with its peers, and its agent has every policy in force, or has said why it cannot.
func settled(node *corev1.Node, state *v1alpha1.NodeRoutingState, configuration *v1alpha1.BGPConfiguration, policies []v1alpha1.EgressPolicy) bool {
	status := &state.Status
	if !ownedBy(state, node.UID) || !status.Gate.Open || configuration == nil {
		return false
	}
	if announces := configuration.Spec.Advertise.PodCIDRs; announces == nil || *announces {
		if status.Wanted > 0 && status.Established == 0 {
			return false
		}
		for _, verdict := range state.Spec.PodCIDRs {
			// The Node may have the prefix in another notation than the agent, as fd00:0:0:1::/64.
			prefix, err := v1alpha1.ParsePrefix(verdict.Prefix)
			if err != nil || !slices.Contains(status.Announced, prefix.String()) {
				return false
			}
		}
		if len(state.Spec.PodCIDRs) == 0 {
			return false
		}
	}
	return !slices.ContainsFunc(policies, func(p v1alpha1.EgressPolicy) bool {
		return !applied(&p, status) && problemOf(status, "EgressPolicy/"+p.Name) == nil
	})
}

// held says whether the node has the taint that is removed when it has settled.
func held(n *corev1.Node) bool { return slices.ContainsFunc(n.Spec.Taints, holds) }

func holds(t corev1.Taint) bool { return t.Key == v1alpha1.NotReady }
