package agent

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// everything is what a policy without destinations starts from.
var everything = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// reach is the destinations of a policy: those in to that are not in but.
type reach struct {
	name    string
	to, but []netip.Prefix
}

// checkPolicies finds policies that ask for a pool that they cannot have, and those that never apply.
func (d *decision) checkPolicies() {
	var policies []*v1alpha1.EgressPolicy
	for i := range d.snapshot.Policies {
		policies = append(policies, &d.snapshot.Policies[i])
	}
	slices.SortFunc(policies, func(a, b *v1alpha1.EgressPolicy) int {
		return cmp.Or(cmp.Compare(or(a.Spec.Priority, defaultPriority), or(b.Spec.Priority, defaultPriority)), strings.Compare(a.Name, b.Name))
	})
	var earlier []reach // of policies about all pods
	for _, p := range policies {
		d.checkPool(p)
		own := d.reach(p)
		if names := own.shadowedBy(earlier); len(names) > 0 {
			d.problem("EgressPolicy/"+p.Name, "Shadowed", "it never applies: all its destinations are decided before by %s, for all pods; "+
				"give it a lower spec.priority, or narrow the earlier one", strings.Join(names, ", "))
		}
		if !selects(p.Spec.Pods) {
			earlier = append(earlier, own)
		}
	}
}

func (d *decision) checkPool(p *v1alpha1.EgressPolicy) {
	if p.Spec.Gateway == nil || p.Spec.Gateway.Pool == "" {
		return
	}
	object, name := "EgressPolicy/"+p.Name, p.Spec.Gateway.Pool
	i := slices.IndexFunc(d.snapshot.Pools, func(pool v1alpha1.AddressPool) bool { return pool.Name == name })
	if i < 0 {
		d.problem(object, "MissingPool", "spec.gateway.pool: there is no AddressPool %s", name)
	} else if use := d.snapshot.Pools[i].Spec.Use; use != v1alpha1.UseEgress {
		d.problem(object, "WrongUse", "spec.gateway.pool: AddressPool %s is for %s: want one with use: %s", name, use, v1alpha1.UseEgress)
	}
}

func (d *decision) reach(p *v1alpha1.EgressPolicy) reach {
	r := reach{name: p.Name, to: readable(p.Spec.Destinations), but: readable(p.Spec.ExcludeDestinations)}
	switch {
	case p.Spec.DestinationsFrom == v1alpha1.DestinationsFromDatacenterNetwork:
		if d.datacenter != nil {
			r.to = append(r.to, readable(d.datacenter.Spec.CIDRs)...)
		}
	case len(p.Spec.Destinations) == 0:
		r.to = everything
		r.but = append(r.but, neverOutside...)
		if d.datacenter != nil {
			r.but = append(r.but, readable(d.datacenter.Spec.ClusterCIDRs)...)
		}
	}
	return r
}

// shadowedBy names the earlier policies that together decide every destination of r; none if something is left for r.
func (r reach) shadowedBy(earlier []reach) []string {
	var names []string
	for _, prefix := range r.to {
		if within(prefix, r.but) {
			continue
		}
		i := slices.IndexFunc(earlier, func(e reach) bool { return e.decides(prefix, r.but) })
		if i < 0 {
			return nil
		}
		if !slices.Contains(names, earlier[i].name) {
			names = append(names, earlier[i].name)
		}
	}
	return names
}

// decides says whether r matches all of prefix, apart from what is in but.
func (r reach) decides(prefix netip.Prefix, but []netip.Prefix) bool {
	return within(prefix, r.to) && !slices.ContainsFunc(r.but, func(gap netip.Prefix) bool {
		return gap.Overlaps(prefix) && !within(narrower(gap, prefix), but)
	})
}

func within(prefix netip.Prefix, wider []netip.Prefix) bool {
	return slices.ContainsFunc(wider, func(w netip.Prefix) bool { return w.Bits() <= prefix.Bits() && w.Overlaps(prefix) })
}

// narrower is what two overlapping prefixes have in common.
func narrower(a, b netip.Prefix) netip.Prefix {
	if a.Bits() > b.Bits() {
		return a
	}
	return b
}
