package agent

import (
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/nat"
)

const defaultPriority = 1000

// neverOutside are destinations that no policy without explicit destinations speaks of: they do not leave the link or the
// host (RFC 3927, RFC 1112, RFC 4291).
var neverOutside = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// sourceAddresses plans with which source address the pods' traffic leaves.
func (d *decision) sourceAddresses(pods []netip.Prefix) {
	d.plan.NAT = &nat.Plan{Pods: pods}
	inside := d.insideCluster(pods)
	for i := range d.snapshot.Policies {
		if policy, ok := d.policy(&d.snapshot.Policies[i], inside); ok {
			d.plan.NAT.Policies = append(d.plan.NAT.Policies, policy)
		}
	}
}

// insideCluster is what "everything outside the cluster" leaves out.
func (d *decision) insideCluster(pods []netip.Prefix) []netip.Prefix {
	inside := append(slices.Clone(neverOutside), pods...)
	if d.datacenter != nil {
		inside = append(inside, d.prefixes("DatacenterNetwork/"+d.datacenter.Name, "spec.clusterCIDRs", d.datacenter.Spec.ClusterCIDRs)...)
	}
	return inside
}

func (d *decision) policy(p *v1alpha1.EgressPolicy, inside []netip.Prefix) (nat.Policy, bool) {
	object := "EgressPolicy/" + p.Name
	if p.Spec.Source == v1alpha1.SourceGateway {
		d.problem(object, "NotSupported", "source: Gateway is not in force in this version")
		return nat.Policy{}, false
	}
	if selects(p.Spec.Pods) {
		d.problem(object, "NotSupported", "selectors in spec.pods are not in force in this version: "+
			"to apply the policy to all pods of the node, remove spec.pods")
		return nat.Policy{}, false
	}
	policy := nat.Policy{
		Name:         p.Name,
		Priority:     defaultPriority,
		Source:       nat.Source(p.Spec.Source),
		Destinations: d.prefixes(object, "spec.destinations", p.Spec.Destinations),
		Exclude:      d.prefixes(object, "spec.excludeDestinations", p.Spec.ExcludeDestinations),
	}
	if p.Spec.Priority != nil {
		policy.Priority = int(*p.Spec.Priority)
	}
	switch {
	case p.Spec.DestinationsFrom == v1alpha1.DestinationsFromDatacenterNetwork:
		policy.Destinations = append(policy.Destinations, d.datacenterPrefixes()...)
		if len(policy.Destinations) == 0 {
			d.problem(object, "NoDestinations", "destinationsFrom: DatacenterNetwork, but it declares no cidrs: not in force")
			return nat.Policy{}, false
		}
	case len(p.Spec.Destinations) == 0:
		policy.Exclude = append(policy.Exclude, inside...)
	case len(policy.Destinations) == 0:
		// All were malformed. An empty list means everything, and that is not what was meant.
		return nat.Policy{}, false
	}
	if err := policy.Validate(); err != nil {
		d.problem(object, "Invalid", "%v", err)
		return nat.Policy{}, false
	}
	return policy, true
}

func selects(p *v1alpha1.PodSelection) bool {
	return p != nil && (!matchesAll(p.NamespaceSelector) || !matchesAll(p.PodSelector))
}

func matchesAll(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}
