package agent

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route/export"
)

// StaticRanges are the ranges in which a gateway needs no other static routes than the wanted ones. They begin with the given
// ranges; without any with those of the DatacenterNetwork's clusterCIDRs that hold a PodCIDR, so that one for Services is left out;
// without those with the wanted prefixes themselves. Out of them are taken the PodCIDRs that other gateways have, the
// datacenter's networks, and pools: the gateway may have good reasons for routes to them.
func StaticRanges(given []netip.Prefix, nodes []corev1.Node, networks []v1alpha1.DatacenterNetwork, pools []v1alpha1.AddressPool, want []export.Route) []netip.Prefix {
	wanted := map[netip.Prefix]bool{}
	bare := make([]export.Route, len(want))
	for i, r := range want {
		wanted[r.Prefix] = true
		bare[i].Prefix = r.Prefix
	}
	var pods, others []netip.Prefix
	for i := range nodes {
		pods = append(pods, readable(podCIDRs(&nodes[i]))...)
	}
	for _, p := range pods {
		if !wanted[p] {
			others = append(others, p)
		}
	}
	ranges := given
	for _, d := range networks {
		if d.Name != v1alpha1.DefaultName {
			continue
		}
		others = append(others, readable(d.Spec.CIDRs)...)
		for _, r := range readable(d.Spec.ClusterCIDRs) {
			if len(given) == 0 && slices.ContainsFunc(pods, r.Overlaps) {
				ranges = append(ranges, r)
			}
		}
	}
	for i := range pools {
		others = append(others, readable(pools[i].Spec.CIDRs)...)
	}
	if len(ranges) == 0 {
		for _, r := range export.Aggregate(bare) {
			ranges = append(ranges, r.Prefix)
		}
	}
	return export.Except(ranges, others)
}
