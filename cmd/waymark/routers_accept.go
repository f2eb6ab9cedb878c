package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/bgp/neighbor"
)

// accepted is what nodes may announce, of both families.
type accepted struct {
	ranges []neighbor.Range
	counts map[bgp.Family]*counts
}

// counts are what the limit of prefixes of a node comes from.
type counts struct{ pods, egress, balancers int }

// mostAddresses of pools that a node is counted to announce: it has no more tunnels than that.
const mostAddresses = 1023

// accepted collects the prefixes of pods, egress addresses and pools, as far as nodes announce them.
func (c *cluster) accepted() *accepted {
	a := &accepted{counts: map[bgp.Family]*counts{bgp.IPv4: {}, bgp.IPv6: {}}}
	var advertise v1alpha1.Advertise
	for i := range c.configurations {
		if c.configurations[i].Name == v1alpha1.DefaultName {
			advertise = c.configurations[i].Spec.Advertise
		}
	}
	if !isFalse(advertise.PodCIDRs) {
		a.pods(c)
	}
	if !isFalse(advertise.EgressAddresses) {
		a.egress(c)
	}
	for i := range c.pools {
		spec := &c.pools[i].Spec
		if spec.Use == v1alpha1.UseLoadBalancer {
			a.pool(spec.CIDRs, func(n *counts) *int { return &n.balancers })
		}
	}
	slices.SortFunc(a.ranges, neighbor.Range.Compare)
	a.ranges = slices.Compact(a.ranges)
	return a
}

// pods accepts the nodes' subnets: in the range that they are taken from if that is known, in the lengths that they have.
func (a *accepted) pods(c *cluster) {
	var clusterCIDRs []netip.Prefix
	if d := c.datacenter(); d != nil {
		for _, text := range d.Spec.ClusterCIDRs {
			if p, err := v1alpha1.ParsePrefix(text); err == nil {
				clusterCIDRs = append(clusterCIDRs, p)
			}
		}
	}
	for _, verdicts := range agent.Judge(c.nodes, c.datacenters) {
		own := map[bgp.Family]int{}
		for _, v := range verdicts {
			prefix, err := v1alpha1.ParsePrefix(v.Prefix)
			if err != nil || v.Conflict != "" {
				continue
			}
			within := prefix
			for _, p := range clusterCIDRs {
				if p.Overlaps(prefix) && p.Bits() <= prefix.Bits() {
					within = p
				}
			}
			a.ranges = append(a.ranges, neighbor.Range{Prefix: within, Min: prefix.Bits(), Max: prefix.Bits()})
			f := bgp.FamilyOf(prefix)
			own[f]++
			a.counts[f].pods = max(a.counts[f].pods, own[f])
		}
	}
}

func (a *accepted) egress(c *cluster) {
	count := func(n *counts) *int { return &n.egress }
	for i := range c.policies {
		if g := c.policies[i].Spec.Gateway; g != nil {
			var hosts []string
			for _, address := range g.Addresses {
				hosts = append(hosts, hostPrefix(address))
			}
			a.pool(hosts, count)
		}
	}
	for i := range c.pools {
		if c.pools[i].Spec.Use == v1alpha1.UseEgress {
			a.pool(c.pools[i].Spec.CIDRs, count)
		}
	}
}

// pool accepts each address of prefixes.
func (a *accepted) pool(cidrs []string, count func(*counts) *int) {
	for _, text := range cidrs {
		p, err := v1alpha1.ParsePrefix(text)
		if err != nil {
			continue
		}
		bits := p.Addr().BitLen()
		a.ranges = append(a.ranges, neighbor.Range{Prefix: p, Min: bits, Max: bits})
		n := count(a.counts[bgp.FamilyOf(p)])
		*n = min(mostAddresses, *n+1<<min(bits-p.Bits(), 10))
	}
}

// family is what a session carries of an address family to a peer with an export filter.
func (a *accepted) family(f bgp.Family, export []bgp.FilterRule) neighbor.Family {
	family := neighbor.Family{Version: int(f)}
	for _, r := range a.ranges {
		if bgp.FamilyOf(r.Prefix) == f && !kept(r, export) {
			family.Accept = append(family.Accept, r)
		}
	}
	n := a.counts[f]
	const least = 8 // prefixes, so that a change of a few is no outage
	family.Limit = max(least, 2*n.pods+n.egress+n.balancers)
	var parts []string
	for _, part := range []struct {
		n    int
		text string
	}{{n.pods, "a node has at most %d of pods, and as many again while it is renumbered"}, {n.egress, "egress addresses up to %d"}, {n.balancers, "addresses of load balancers up to %d"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf(part.text, part.n))
		}
	}
	if family.Reason = strings.Join(parts, ", "); family.Reason == "" {
		family.Reason = "nodes have none"
	}
	return family
}

// kept says that an export filter keeps all of a range from the peer.
func kept(r neighbor.Range, export []bgp.FilterRule) bool {
	for _, rule := range export {
		if !rule.Prefix.Overlaps(r.Prefix) || rule.MaxLength < r.Min || rule.MinLength > r.Max {
			continue
		}
		return rule.Action == bgp.Reject && rule.Prefix.Bits() <= r.Prefix.Bits() && rule.MinLength <= r.Min && rule.MaxLength >= r.Max
	}
	return false
}
