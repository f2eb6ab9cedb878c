package agent

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/ipam"
)

// podPrefixes are the node's PodCIDRs, and those of them that may be announced because they are nobody else's.
func (d *decision) podPrefixes() (all, announced []netip.Prefix) {
	object := "Node/" + d.node.Name
	own := d.claims(d.node)
	if len(own) == 0 {
		d.problem(object, "NoPodCIDR", "the node has no spec.podCIDR yet: there is nothing to announce")
		d.hold("NoPodCIDR", "the node has no spec.podCIDR yet")
		return nil, nil
	}
	var others []ipam.Claim
	for i := range d.snapshot.Nodes {
		node := &d.snapshot.Nodes[i]
		others = append(others, addressClaims(node)...)
		if node.Name != d.node.Name {
			others = append(others, parseClaims(node, nil)...)
		}
	}
	others = append(others, d.datacenterClaims()...)
	refused := map[netip.Prefix]bool{}
	for _, c := range ipam.Conflicts(own, others) {
		if slices.Contains(d.facts.Announced, c.Own.Prefix) {
			d.overlapInForce(c.String())
		} else {
			d.refuse(c.Own, c.String(), refused)
		}
	}
	d.judge(own, refused)
	for _, claim := range own {
		all = append(all, claim.Prefix)
		if !refused[claim.Prefix] {
			announced = append(announced, claim.Prefix)
		}
	}
	return all, announced
}

func (d *decision) claims(n *corev1.Node) []ipam.Claim {
	return parseClaims(n, func(cidr string, err error) {
		d.problem("Node/"+n.Name, "Invalid", "spec.podCIDRs: %q %v", cidr, err)
	})
}

// podCIDRs are the node's also if it has the older singular field only.
func podCIDRs(n *corev1.Node) []string {
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		return []string{n.Spec.PodCIDR}
	}
	return n.Spec.PodCIDRs
}

// parseClaims reads a node's PodCIDRs; bad is told of those that are none.
func parseClaims(n *corev1.Node, bad func(string, error)) []ipam.Claim {
	var claims []ipam.Claim
	for _, cidr := range podCIDRs(n) {
		prefix, err := v1alpha1.ParsePrefix(cidr)
		if err != nil {
			if bad != nil {
				bad(cidr, err)
			}
			continue
		}
		claims = append(claims, ipam.Claim{Kind: ipam.Node, Name: n.Name, Prefix: prefix, Created: n.CreationTimestamp.Time})
	}
	return claims
}

// addressClaims are the node's own addresses: a PodCIDR that contains one would take the node off the network.
func addressClaims(n *corev1.Node) []ipam.Claim {
	var claims []ipam.Claim
	for _, a := range n.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			addr = addr.Unmap()
			claims = append(claims, ipam.Claim{Kind: ipam.NodeAddress, Name: n.Name, Prefix: netip.PrefixFrom(addr, addr.BitLen())})
		}
	}
	return claims
}

func (d *decision) datacenterClaims() []ipam.Claim {
	var claims []ipam.Claim
	for _, prefix := range d.datacenterPrefixes() {
		claims = append(claims, ipam.Claim{Kind: ipam.DatacenterNetwork, Name: d.datacenter.Name, Prefix: prefix})
	}
	return claims
}

func (d *decision) datacenterPrefixes() []netip.Prefix {
	if d.datacenter == nil {
		return nil
	}
	return d.prefixes("DatacenterNetwork/"+d.datacenter.Name, "spec.cidrs", d.datacenter.Spec.CIDRs)
}

// prefixes parses a list of an object; what is malformed is a problem and left out.
func (d *decision) prefixes(object, field string, list []string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, text := range list {
		prefix, err := v1alpha1.ParsePrefix(text)
		if err != nil {
			d.problem(object, "Invalid", "%s: %q %v", field, text, err)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}
