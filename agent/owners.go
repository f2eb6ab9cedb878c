package agent

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/ipam"
)

// Owners says with which addresses the traffic of each policy with source: Gateway leaves, by the policy's name, and which
// nodes may own them. It is for sources without a controller, and decides from nothing but the objects: all nodes with the
// same files come to the same. A policy that has none is not in force, and one of the problems, which are those of Check too,
// tells why; an address without gateways gets the policy's fallback.
func Owners(s Snapshot) (map[string][]v1alpha1.EgressAddress, []Problem) {
	e := newDecision(s).egressWants()
	// A drain moves what the node owns and nothing else: the lists are first made as if there were none.
	calm := e
	calm.Gateways = map[string]ipam.Gateway{}
	for name, g := range e.Gateways {
		g.Leaving = false
		calm.Gateways[name] = g
	}
	before := calm.Assign()
	for i := range e.Wants {
		e.Wants[i].Held = before.Leases[e.Wants[i].Policy]
	}
	return addressesOf(s.Nodes, e.Assign()), refusals(before)
}

// Liveness is what a controller knows of gateways beyond the objects.
type Liveness struct {
	Dead    map[string]bool // nodes that can own nothing
	Reports map[ipam.Place]ipam.Report
	Over    map[ipam.Place]bool
}

// Assign is Owners for the controller: it goes on from the lists that the policies have in their status.
func Assign(s Snapshot, l Liveness) (map[string][]v1alpha1.EgressAddress, []ipam.Move) {
	e := newDecision(s).egressWants()
	for name := range l.Dead {
		g := e.Gateways[name]
		g.Usable = false
		e.Gateways[name] = g
	}
	e.Reports, e.Over = l.Reports, l.Over
	a := e.Assign()
	return addressesOf(s.Nodes, a), a.Moves
}

// checkEgress tells the policies that have not got their addresses.
func (d *decision) checkEgress() {
	d.plan.Problems = append(d.plan.Problems, refusals(d.egressWants().Assign())...)
}

// egressWants reads what the policies want, and what they have by their status. One that is not good by itself, or whose pool
// is not, wants nothing.
func (d *decision) egressWants() ipam.Egress {
	e := ipam.Egress{Gateways: map[string]ipam.Gateway{}}
	pools := map[string][]netip.Prefix{}
	for i := range d.snapshot.Pools {
		if p := &d.snapshot.Pools[i]; p.Spec.Use == v1alpha1.UseEgress {
			pools[p.Name] = readable(p.Spec.CIDRs)
			e.Pools = append(e.Pools, pools[p.Name]...)
		} else {
			e.Used = append(e.Used, claimsOf(ipam.AddressPool, p, readable(p.Spec.CIDRs))...)
		}
	}
	nodes := map[string][]string{} // that a selector selects
	for i := range d.snapshot.Policies {
		p := &d.snapshot.Policies[i]
		if p.Spec.Source != v1alpha1.SourceGateway || len(p.Validate()) > 0 {
			continue
		}
		gateway := p.Spec.Gateway
		selector, err := v1alpha1.Selector(gateway.NodeSelector)
		pool, ok := pools[gateway.Pool]
		if err != nil || gateway.Pool != "" && !ok {
			continue
		}
		w := ipam.Want{Policy: p.Name, Created: p.CreationTimestamp.Time, Pool: pool, Selector: selector.String(), Held: held(p)}
		if _, ok := nodes[w.Selector]; !ok {
			nodes[w.Selector] = selectedNodes(d.snapshot.Nodes, selector)
		}
		w.Nodes = nodes[w.Selector]
		for _, text := range gateway.Addresses {
			if address, err := netip.ParseAddr(text); err == nil {
				w.Addresses = append(w.Addresses, address)
			}
		}
		e.Wants = append(e.Wants, w)
	}
	if len(e.Wants) == 0 {
		return e
	}
	for i := range d.snapshot.Nodes {
		n := &d.snapshot.Nodes[i]
		g := ipam.Gateway{Usable: true, Leaving: Leaving(n)}
		for _, claim := range addressClaims(n) {
			g.IPv4, g.IPv6 = g.IPv4 || claim.Prefix.Addr().Is4(), g.IPv6 || claim.Prefix.Addr().Is6()
		}
		e.Gateways[n.Name] = g
	}
	e.Used = slices.Concat(e.Used, d.nodeClaims(), d.routerClaims(), d.serviceClaims())
	return e
}

// nodeClaims is what the nodes have: all their addresses and PodCIDRs.
func (d *decision) nodeClaims() []ipam.Claim {
	var claims []ipam.Claim
	for i := range d.snapshot.Nodes {
		n := &d.snapshot.Nodes[i]
		for _, a := range n.Status.Addresses {
			claims = append(claims, addressClaim(ipam.NodeAddress, n.Name, a.Address)...)
		}
		claims = append(claims, parseClaims(n, nil)...)
	}
	return claims
}

// serviceClaims are the addresses that Services have, in the cluster and outside.
func (d *decision) serviceClaims() []ipam.Claim {
	var claims []ipam.Claim
	for i := range d.snapshot.Services {
		s := &d.snapshot.Services[i]
		texts := slices.Concat(s.Spec.ClusterIPs, s.Spec.ExternalIPs, []string{s.Spec.LoadBalancerIP})
		for _, in := range s.Status.LoadBalancer.Ingress {
			texts = append(texts, in.IP)
		}
		for _, text := range texts {
			claims = append(claims, addressClaim(ipam.Service, s.Namespace+"/"+s.Name, text)...)
		}
	}
	return claims
}

// addressClaim is the claim on an address; none if it is none, as "None" of a headless Service.
func addressClaim(kind ipam.Kind, name, text string) []ipam.Claim {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return nil
	}
	a = a.Unmap().WithZone("")
	return []ipam.Claim{{Kind: kind, Name: name, Prefix: netip.PrefixFrom(a, a.BitLen())}}
}

func selectedNodes(nodes []corev1.Node, selector labels.Selector) []string {
	var names []string
	for i := range nodes {
		if selector.Matches(labels.Set(nodes[i].Labels)) {
			names = append(names, nodes[i].Name)
		}
	}
	return names
}

// held are the addresses that a policy has.
func held(p *v1alpha1.EgressPolicy) []ipam.Lease {
	var leases []ipam.Lease
	for _, a := range p.Status.Addresses {
		lease := ipam.Lease{VNI: uint32(a.VNI), Term: a.Term}
		if a.Address != "" {
			address, err := netip.ParseAddr(a.Address)
			if err != nil {
				continue // nobody of ours has written it
			}
			lease.Address = address.Unmap()
		}
		for _, g := range a.Gateways {
			lease.Gateways = append(lease.Gateways, ipam.Member{Node: g.Node, Leaving: g.Leaving})
		}
		leases = append(leases, lease)
	}
	return leases
}

// addressesOf writes the leases as a policy's status has them.
func addressesOf(nodes []corev1.Node, a ipam.Assignment) map[string][]v1alpha1.EgressAddress {
	ends := map[string]string{} // of tunnels
	for i := range nodes {
		if a, ok := tunnelEnd(&nodes[i]); ok {
			ends[nodes[i].Name] = a.String()
		}
	}
	all := map[string][]v1alpha1.EgressAddress{}
	for policy, leases := range a.Leases {
		for _, lease := range leases {
			address := v1alpha1.EgressAddress{VNI: int32(lease.VNI), Term: lease.Term}
			if lease.Address.IsValid() {
				address.Address = lease.Address.String()
			}
			for _, m := range lease.Gateways {
				address.Gateways = append(address.Gateways, v1alpha1.EgressOwner{Node: m.Node, Address: ends[m.Node], Leaving: m.Leaving})
			}
			all[policy] = append(all[policy], address)
		}
	}
	return all
}

// tunnelEnd is the address of a gateway that tunnels go to: the first, IPv4 before IPv6.
func tunnelEnd(n *corev1.Node) (end netip.Addr, ok bool) {
	for _, claim := range addressClaims(n) {
		if a := claim.Prefix.Addr(); !ok || a.Is4() && end.Is6() {
			end, ok = a, true
		}
	}
	return end, ok
}

// NodePrefixes are the fewest prefixes that hold the addresses of the nodes, and no other.
func NodePrefixes(nodes []corev1.Node) []netip.Prefix {
	var addresses []netip.Addr
	for i := range nodes {
		for _, claim := range addressClaims(&nodes[i]) {
			addresses = append(addresses, claim.Prefix.Addr())
		}
	}
	return ipam.Cover(addresses)
}

func refusals(a ipam.Assignment) []Problem {
	var problems []Problem
	for _, r := range a.Refusals {
		problems = append(problems, Problem{Object: "EgressPolicy/" + r.Policy, Reason: string(r.Reason), Message: r.String()})
	}
	return problems
}
