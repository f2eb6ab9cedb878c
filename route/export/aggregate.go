package export

import (
	"net/netip"
	"slices"
)

// Aggregate returns fewer routes that send every packet the same way as the given ones: two halves of a prefix become the
// prefix, and what is inside of another one goes, both only where all but the prefix is equal. Addresses without a route get
// none. A prefix with more than one route is left alone.
func Aggregate(routes []Route) []Route {
	type scope struct{ gateway, vrf string }
	groups := map[scope][]Route{}
	for _, r := range routes {
		s := scope{r.Gateway, r.VRF}
		groups[s] = append(groups[s], r)
	}
	var all []Route
	for _, group := range groups {
		all = append(all, aggregate(group)...)
	}
	slices.SortFunc(all, Route.Compare)
	return all
}

// aggregate works on one table of one gateway.
func aggregate(routes []Route) []Route {
	table := map[netip.Prefix][]Route{}
	byLength := [129][]netip.Prefix{}
	for _, r := range routes {
		if table[r.Prefix] == nil {
			byLength[r.Prefix.Bits()] = append(byLength[r.Prefix.Bits()], r.Prefix)
		}
		table[r.Prefix] = append(table[r.Prefix], r)
	}
	equal := func(a, b netip.Prefix) bool {
		x, y := table[a], table[b]
		if len(x) != 1 || len(y) != 1 {
			return false
		}
		one := x[0]
		one.Prefix = b
		return one == y[0]
	}
	// From the longest on: a parent that comes to be is looked at in its turn.
	for bits := 128; bits > 0; bits-- {
		for _, p := range byLength[bits] {
			parent := netip.PrefixFrom(p.Addr(), bits-1).Masked()
			sibling := other(p)
			if table[p] == nil || !equal(p, sibling) {
				continue
			}
			if table[parent] == nil {
				r := table[p][0]
				r.Prefix = parent
				table[parent] = []Route{r}
				byLength[bits-1] = append(byLength[bits-1], parent)
			} else if !equal(p, parent) {
				continue
			}
			delete(table, p)
			delete(table, sibling)
		}
	}
	var left []Route
	for bits := 128; bits >= 0; bits-- {
		for _, p := range byLength[bits] {
			if cover, ok := nearest(table, &byLength, p); table[p] != nil && (!ok || !equal(p, cover)) {
				left = append(left, table[p]...)
			}
		}
	}
	return left
}

// nearest is the longest prefix of the table that holds another one.
func nearest(table map[netip.Prefix][]Route, byLength *[129][]netip.Prefix, p netip.Prefix) (netip.Prefix, bool) {
	for bits := p.Bits() - 1; bits >= 0; bits-- {
		if len(byLength[bits]) == 0 {
			continue
		}
		if cover := netip.PrefixFrom(p.Addr(), bits).Masked(); table[cover] != nil {
			return cover, true
		}
	}
	return netip.Prefix{}, false
}

// other is the half that makes a prefix's parent whole.
func other(p netip.Prefix) netip.Prefix {
	bytes, bit := p.Addr().AsSlice(), p.Bits()-1
	bytes[bit/8] ^= 0x80 >> (bit % 8)
	a, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(a, p.Bits())
}
