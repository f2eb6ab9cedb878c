package export

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Difference is what keeps a router's static routes from being the wanted ones. Each wanted route that is missing is in Add or in
// NearMiss, each static route in one of the others at most.
type Difference struct {
	// Add are the wanted routes to whose prefix there is none, and none that looks like a slip of it.
	Add []Route
	// NearMiss are static routes that were probably meant to be a wanted one that is missing.
	NearMiss []Change
	// Wrong are static routes to a wanted prefix with another next hop, or without an option that is asked for.
	Wrong []Change
	// Overlap are static routes that cover wanted prefixes or are a part of one.
	Overlap []Change
	// Remove are static routes inside the cluster's ranges that are for no node.
	Remove []Static
	// Right and Foreign count the static routes that are as wanted, and those that are not the cluster's: nobody touches them.
	Right, Foreign int

	kept []Static // of Foreign those inside the ranges
}

// Change is a static route that is to give way to a wanted one.
type Change struct {
	Have Static
	Want Route  // of Overlap the first one that is touched
	Why  string // what is wrong, and how it may have come to be, in plain words
	// Beside says that the wanted route is there too.
	Beside bool
	// Outside says that the static route lies in none of the cluster's ranges.
	Outside bool
	// Leave says that the static route stays, since it may be somebody else's: people must look at it.
	Leave bool
}

// Empty says that the router is in step.
func (d Difference) Empty() bool {
	return len(d.Add)+len(d.NearMiss)+len(d.Wrong)+len(d.Overlap)+len(d.Remove) == 0
}

// Diff compares the routes that one gateway is to have with the static routes that it has. It decides on the static routes in the
// VRFs of the wanted ones, inside the ranges of the cluster (within) or to a wanted prefix. Others are foreign, and so are, in those
// ranges, routes that discard what no better one takes: they are customary. Of those outside, a slip of a route that is missing is
// told by its next hop, which is a node's; it goes only when that is the very node of the missing route, and not when it covers
// that route, else it is left.
//
// Options are compared that the wanted routes have; names are not. Where nothing is wanted nothing goes: it is more often a mistake
// than an empty cluster.
func Diff(want []Route, have []Static, within []netip.Prefix) Difference {
	c := newComparison(want, within)
	byRoute := map[place][]Static{}
	off := map[place]Static{}
	for _, h := range have {
		if h.Off {
			off[placeOf(h.Route)] = h
			continue
		}
		byRoute[placeOf(h.Route)] = append(byRoute[placeOf(h.Route)], h)
	}
	for _, w := range want {
		if h, ok := off[placeOf(w)]; ok && !slices.ContainsFunc(byRoute[placeOf(w)], func(h Static) bool { return h.does(w) }) {
			c.Wrong = append(c.Wrong, Change{Have: h, Want: w, Why: "it is deactivated"})
			continue
		}
		c.wanted(w, byRoute[placeOf(w)])
	}
	slips := newSlips(c.missing)
	near := map[place]bool{}
	for _, h := range have {
		if _, ok := c.want[placeOf(h.Route)]; ok || h.Off {
			continue
		}
		if change, ok := c.nearMiss(slips, h); ok {
			near[placeOf(change.Want)] = true
			c.NearMiss = append(c.NearMiss, change)
			continue
		}
		c.unwanted(h)
	}
	c.dropRivals()
	for _, w := range c.missing {
		if !near[placeOf(w)] {
			c.Add = append(c.Add, w)
		}
	}
	return c.Difference
}

// place is where a route belongs.
type place struct {
	vrf    string
	prefix netip.Prefix
}

func placeOf(r Route) place { return place{r.VRF, r.Prefix} }

// comparison is one run of Diff.
type comparison struct {
	Difference
	want    map[place]Route
	sorted  map[string][]Route // by VRF, in the order of their prefixes
	nodes   map[netip.Addr]string
	within  *prefixSet
	targets map[string]*prefixSet // the wanted prefixes by VRF
	missing []Route
}

func newComparison(want []Route, within []netip.Prefix) *comparison {
	c := &comparison{
		want: map[place]Route{}, sorted: map[string][]Route{}, nodes: map[netip.Addr]string{}, targets: map[string]*prefixSet{},
		within: newPrefixSet(within),
	}
	byVRF := map[string][]netip.Prefix{}
	for _, w := range want {
		c.want[placeOf(w)] = w
		c.nodes[w.NextHop] = cmp.Or(w.Name, w.NextHop.String())
		c.sorted[w.VRF] = append(c.sorted[w.VRF], w)
		byVRF[w.VRF] = append(byVRF[w.VRF], w.Prefix)
	}
	for vrf := range c.sorted {
		slices.SortFunc(c.sorted[vrf], Route.Compare)
		c.targets[vrf] = newPrefixSet(byVRF[vrf])
	}
	return c
}

// wanted judges the static routes to a wanted prefix.
func (c *comparison) wanted(w Route, have []Static) {
	if len(have) == 0 {
		c.missing = append(c.missing, w)
		return
	}
	right := slices.ContainsFunc(have, func(h Static) bool { return h.does(w) })
	for _, h := range have {
		if h.does(w) {
			c.Right++
			continue
		}
		c.Wrong = append(c.Wrong, Change{Have: h, Want: w, Why: c.whyWrong(h, w), Beside: right})
	}
}

// does says that a static route is the wanted one as far as that is asked for.
func (s *Static) does(w Route) bool { return s.NextHop == w.NextHop && s.lacks(w) == "" }

// prefers says that a static route has the preference of a wanted one, by its number or as the dialect's default.
func (s *Static) prefers(w Route) bool {
	return cmp.Or(s.Preference, s.normal) == cmp.Or(w.Preference, s.normal)
}

// leaves says that a word of a next hop leads into another VRF.
func leaves(word string) bool {
	return slices.Contains([]string{"vrf", "nexthop-vrf", "egress-vrf", "vpn-instance", "global", "public"}, word) || strings.HasPrefix(word, "@")
}

// lacks is the first option that a route is to have and has not.
func (s *Static) lacks(w Route) string {
	switch {
	case slices.ContainsFunc(strings.Fields(s.Via), leaves):
		return "its next hop is in another VRF: " + s.Via
	case !s.prefers(w) && w.Preference != 0:
		return fmt.Sprintf("preference %d is asked for", w.Preference)
	case w.Tag != 0 && s.Tag != w.Tag:
		return fmt.Sprintf("tag %d is asked for", w.Tag)
	case w.BFD && !s.BFD:
		return "BFD is asked for"
	case w.Track != 0 && s.Track != w.Track:
		return fmt.Sprintf("track object %d is asked for", w.Track)
	}
	return ""
}

// whyWrong says what is wrong with a static route to a wanted prefix.
func (c *comparison) whyWrong(h Static, w Route) string {
	if h.NextHop == w.NextHop {
		return h.lacks(w)
	}
	return c.whyHop(h, w)
}

// whyHop says what is wrong with the next hop of a static route.
func (c *comparison) whyHop(h Static, w Route) string {
	switch node, known := c.nodes[h.NextHop]; {
	case !h.NextHop.IsValid():
		return fmt.Sprintf("it leads to %s, to no node", cmp.Or(h.Via, "nothing"))
	case known:
		return fmt.Sprintf("%s is the address of %s", h.NextHop, node)
	default:
		if slip := slipOf(h.NextHop, w.NextHop); slip != "" {
			return "next hop: " + slip
		}
		return fmt.Sprintf("no node that the gateway reaches has the address %s", h.NextHop)
	}
}

// nearMiss finds the missing route that a static route was probably meant to be.
func (c *comparison) nearMiss(slips *slips, h Static) (Change, bool) {
	if c.targets[h.VRF] == nil || h.Prefix.Bits() == 0 {
		return Change{}, false
	}
	_, ofNode := c.nodes[h.NextHop]
	outside := !c.within.holds(h.Prefix) && !c.targets[h.VRF].holds(h.Prefix)
	if outside && !ofNode {
		return Change{}, false
	}
	w, slip := slips.find(h)
	if slip == "" {
		return Change{}, false
	}
	change := Change{Have: h, Want: w, Why: slip, Outside: outside}
	if h.NextHop != w.NextHop {
		if !ofNode && slipOf(h.NextHop, w.NextHop) == "" {
			return Change{}, false // two routes that have nothing to do with each other
		}
		change.Why += "; " + c.whyHop(h, w)
		change.Leave = outside
	}
	if outside && h.Prefix.Overlaps(w.Prefix) { // it carries packets of others too
		change.Leave = true
	}
	return change, true
}

// dropRivals takes those for no slips of a missing route that lead to another node than it, where one leads to its own.
func (c *comparison) dropRivals() {
	claimed := map[place]bool{}
	for _, change := range c.NearMiss {
		if change.Have.NextHop == change.Want.NextHop {
			claimed[placeOf(change.Want)] = true
		}
	}
	c.NearMiss = slices.DeleteFunc(c.NearMiss, func(change Change) bool {
		rival := claimed[placeOf(change.Want)] && change.Have.NextHop != change.Want.NextHop
		if rival {
			c.unwanted(change.Have)
		}
		return rival
	})
}

// unwanted judges a static route to a prefix that nobody wants.
func (c *comparison) unwanted(h Static) {
	targets := c.targets[h.VRF]
	if targets == nil || !c.within.holds(h.Prefix) && !targets.holds(h.Prefix) {
		c.Foreign++
		return
	}
	if w, ok := targets.covering(h.Prefix); ok {
		c.Overlap = append(c.Overlap, Change{Have: h, Want: c.want[place{h.VRF, w}], Why: "takes a part of " + w.String() + " another way"})
		if h.NextHop == c.want[place{h.VRF, w}].NextHop {
			c.Overlap[len(c.Overlap)-1].Why = "is a part of " + w.String() + " and goes the same way"
		}
		return
	}
	inside := c.inside(h)
	switch {
	case len(inside) == 0:
		c.Remove = append(c.Remove, h)
	case h.discards():
		c.Foreign++
		c.kept = append(c.kept, h)
	default:
		why := "covers " + inside[0].Prefix.String()
		if len(inside) > 1 {
			why += fmt.Sprintf(" and %d more wanted subnets", len(inside)-1)
		}
		c.Overlap = append(c.Overlap, Change{Have: h, Want: inside[0], Why: why})
	}
}

// inside are the wanted routes that a static route covers.
func (c *comparison) inside(h Static) []Route {
	sorted := c.sorted[h.VRF]
	order := func(r Route, p netip.Prefix) int {
		return cmp.Or(cmp.Compare(r.Prefix.Addr().BitLen(), p.Addr().BitLen()), r.Prefix.Addr().Compare(p.Addr()))
	}
	first, _ := slices.BinarySearchFunc(sorted, h.Prefix, order)
	last := first
	for last < len(sorted) && h.Prefix.Contains(sorted[last].Prefix.Addr()) {
		last++
	}
	return sorted[first:last]
}

// discardWords are what the dialects call a route that drops packets, in lower case.
var discardWords = []string{"null0", "null 0", "discard", "reject", "blackhole", "unreachable", "prohibit", "throw", "drop", "-blackhole", "-reject"}

// discards says that a static route drops its packets.
func (s *Static) discards() bool {
	return !s.NextHop.IsValid() && slices.Contains(discardWords, strings.ToLower(s.Via))
}
