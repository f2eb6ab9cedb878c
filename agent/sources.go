package agent

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

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
	d.plan.NAT.Wary, d.plan.NAT.Known = d.snapshot.Controlled, d.knownPods()
	d.egress(pods)
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
	policy := nat.Policy{
		Name:         p.Name,
		Priority:     defaultPriority,
		Source:       nat.Source(p.Spec.Source),
		Destinations: d.prefixes(object, "spec.destinations", p.Spec.Destinations),
		Exclude:      d.prefixes(object, "spec.excludeDestinations", p.Spec.ExcludeDestinations),
	}
	var ok bool
	if policy.Pods, policy.Selects, ok = d.selected(object, p.Spec.Pods); !ok {
		return nat.Policy{}, false
	}
	if p.Spec.Priority != nil {
		policy.Priority = int(*p.Spec.Priority)
	}
	if p.Spec.Source == v1alpha1.SourceGateway {
		if p.Spec.Gateway == nil {
			d.problem(object, "Invalid", "source: Gateway needs spec.gateway: not in force")
			return nat.Policy{}, false
		}
		policy.Via = d.via(p)
		policy.Fallback = nat.Source(cmp.Or(p.Spec.Gateway.Fallback, v1alpha1.FallbackDrop))
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

// selected are the addresses of the node's pods that a policy selects; some is false when it is about all of them.
func (d *decision) selected(object string, p *v1alpha1.PodSelection) (pods []netip.Addr, some, ok bool) {
	if !selects(p) {
		return nil, false, true
	}
	if !d.snapshot.Controlled {
		d.problem(object, "NotSupported", "selectors in spec.pods need pods, which only an API server has: "+
			"to apply the policy to all pods of the node, remove spec.pods")
		return nil, false, false
	}
	inNamespace, err := v1alpha1.Selector(p.NamespaceSelector)
	if err != nil {
		d.problem(object, "Invalid", "spec.pods.namespaceSelector: %v", err)
		return nil, false, false
	}
	matches, err := v1alpha1.Selector(p.PodSelector)
	if err != nil {
		d.problem(object, "Invalid", "spec.pods.podSelector: %v", err)
		return nil, false, false
	}
	namespaces := map[string]labels.Set{}
	for i := range d.snapshot.Namespaces {
		namespaces[d.snapshot.Namespaces[i].Name] = d.snapshot.Namespaces[i].Labels
	}
	return d.podAddresses(func(pod *corev1.Pod) bool {
		labelsOfNamespace, known := namespaces[pod.Namespace]
		return matches.Matches(labels.Set(pod.Labels)) && (inNamespace.Empty() || known && inNamespace.Matches(labelsOfNamespace))
	}), true, true
}

// knownPods are the addresses of which it is known which policies select them. If one selects namespaces, the pod's must be
// known; else the source does not tell Namespaces at all.
func (d *decision) knownPods() []netip.Addr {
	byNamespace := slices.ContainsFunc(d.snapshot.Policies, func(p v1alpha1.EgressPolicy) bool {
		return p.Spec.Pods != nil && !v1alpha1.SelectsAll(p.Spec.Pods.NamespaceSelector)
	})
	return d.podAddresses(func(pod *corev1.Pod) bool {
		return !byNamespace || slices.ContainsFunc(d.snapshot.Namespaces, func(n corev1.Namespace) bool { return n.Name == pod.Namespace })
	})
}

// podAddresses are the sorted addresses of the node's pods that are of interest.
func (d *decision) podAddresses(of func(*corev1.Pod) bool) []netip.Addr {
	var addrs []netip.Addr
	for i := range d.snapshot.Pods {
		pod := &d.snapshot.Pods[i]
		// A pod on the host's network has the node's address, which is not its own. One that has ended has given its address
		// back, though its status still names it: another pod may have it.
		if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || !of(pod) {
			continue
		}
		for _, ip := range pod.Status.PodIPs {
			if addr, err := netip.ParseAddr(ip.IP); err == nil {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

func selects(p *v1alpha1.PodSelection) bool {
	return p != nil && (!v1alpha1.SelectsAll(p.NamespaceSelector) || !v1alpha1.SelectsAll(p.PodSelector))
}
