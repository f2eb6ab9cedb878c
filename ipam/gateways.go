package ipam

import (
	"cmp"
	"slices"
)

const (
	maxGateways = 8 // of a list, without those that leave
	maxLeaving  = 8
	spare       = 2 // so many gateways of a full list are to be usable, if there are others
)

// order gives each grant its list. Those first whose owner is known already: new ones go where the fewest are.
func (a *assigner) order() {
	var fresh []*grant
	for _, g := range a.sorted {
		g.members = a.remain(g)
		if slices.ContainsFunc(g.members, a.able) {
			a.settle(g)
		} else {
			fresh = append(fresh, g)
		}
	}
	for _, g := range fresh {
		a.settle(g)
	}
}

// able says whether a member can be the owner.
func (a *assigner) able(m Member) bool { return a.Gateways[m.Node].Usable && !m.Leaving }

// remain is what is left of the list that the grant had.
func (a *assigner) remain(g *grant) []Member {
	var members []Member
	leaving := 0
	for i, m := range g.lease.Gateways {
		selected := slices.Contains(g.want.Nodes, m.Node)
		m.Leaving = a.Gateways[m.Node].Leaving || !selected
		over := m.Leaving && (a.Over[Place{m.Node, g.lease.VNI, g.lease.Term}] || leaving == maxLeaving)
		// One that nobody can replace serves as long as it is meant to.
		if a.serves(m.Node, g.address) && !(over && (i > 0 || !selected)) {
			members = append(members, m)
			if m.Leaving {
				leaving++
			}
		}
	}
	return members
}

// settle completes the list and puts the owner first.
func (a *assigner) settle(g *grant) {
	lease := &g.lease
	members := a.fill(g)
	if i := a.owner(lease, members); i > 0 {
		first := members[i]
		members = slices.Insert(slices.Delete(members, i, i+1), 0, first)
	}
	before, after := firstOf(lease.Gateways), firstOf(members)
	if lease.Term == 0 || before != after {
		if before != "" {
			a.result.Moves = append(a.result.Moves, Move{
				Policies: g.users, Address: g.address, From: before, To: after, Cause: a.cause(lease, before, after),
			})
		}
		lease.Term++
	}
	if after != "" {
		a.firsts[after]++
	}
	lease.Gateways = members
}

func firstOf(members []Member) string {
	if len(members) == 0 {
		return ""
	}
	return members[0].Node
}

// fill adds gateways that are not in the list yet. In a full one they replace only dead ones, and no more than must be.
func (a *assigner) fill(g *grant) []Member {
	members := g.members
	staying, able := 0, 0
	in := map[string]bool{}
	for _, m := range members {
		in[m.Node] = true
		if !m.Leaving {
			staying++
		}
		if a.able(m) {
			able++
		}
	}
	room := max(maxGateways-staying, spare-able)
	if room <= 0 {
		return members
	}
	type candidate struct {
		Member
		weight uint64
	}
	var candidates []candidate
	for _, name := range g.want.Nodes {
		if n := a.Gateways[name]; !in[name] && n.Usable && !n.Leaving && a.serves(name, g.address) {
			candidates = append(candidates, candidate{Member{Node: name}, hash(g.key.String(), name)})
		}
	}
	slices.SortFunc(candidates, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(x.weight, y.weight), cmp.Compare(x.Node, y.Node))
	})
	if able == 0 && len(candidates) > 0 { // the first of them becomes the owner
		least := 0
		for i := range candidates {
			if a.firsts[candidates[i].Node] < a.firsts[candidates[least].Node] {
				least = i
			}
		}
		owner := candidates[least]
		candidates = slices.Insert(slices.Delete(candidates, least, least+1), 0, owner)
	}
	candidates = candidates[:min(len(candidates), room)]
	for i := len(members) - 1; i > 0 && staying+len(candidates) > maxGateways; i-- {
		if m := members[i]; !m.Leaving && !a.able(m) {
			members = slices.Delete(members, i, i+1)
			staying--
		}
	}
	for _, c := range candidates {
		members = append(members, c.Member)
	}
	return members
}

// owner is the index of the member that is to be first.
func (a *assigner) owner(lease *Lease, members []Member) int {
	first := slices.IndexFunc(members, a.able)
	if first < 0 {
		// One that leaves; or when it comes back the first goes on.
		return max(0, slices.IndexFunc(members, func(m Member) bool { return a.Gateways[m.Node].Usable }))
	}
	// Nodes that are cut off from each other both have their owner: more of them are right. The last report of one that has
	// just died still says that it owns.
	owner, most := first, 0
	if first == 0 {
		most = a.report(lease, members[0].Node).Nodes
	}
	for i, m := range members {
		if r := a.report(lease, m.Node); i > 0 && a.able(m) && r.Self && r.Nodes > most {
			owner, most = i, r.Nodes
		}
	}
	return owner
}

func (a *assigner) report(lease *Lease, node string) Report {
	return a.Reports[Place{node, lease.VNI, lease.Term}]
}

func (a *assigner) cause(lease *Lease, before, after string) Cause {
	old, there := a.Gateways[before]
	switch {
	case a.report(lease, after).Self:
		return Failover
	case !there:
		return Gone
	case !old.Usable:
		return Dead
	}
	return Departing
}
