package nat

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Range is a run of addresses of one family, both ends included.
type Range struct {
	First, Last netip.Addr
}

// Target is what becomes of a connection: SourcePod, SourceNode, SourceDrop, or SourceGateway by one path of a group.
type Target struct {
	Source Source
	Group  int // with SourceGateway: index in Table.Groups
}

// Decision is the target of everything that a pod sends to a range of destinations.
type Decision struct {
	Range
	Target
}

// Class is a set of pods that the same policies are about. Its ranges are sorted, IPv4 first, and disjoint; neighbours with
// the same answer are one range.
type Class struct {
	// Name is the names of the policies that select the pods, with commas between: in the next plan the class of a name is one
	// for the same. The class of all pods has none.
	Name      string
	Pods      []Range
	Decisions []Decision
}

// Group is paths of one family, by their marks, among which new connections are spread by the hash of the pod's address.
type Group struct {
	// Name is that of a policy which uses it, the first by name, with the family: in the next plan the group of a name is one
	// for the same, whatever has become of its paths.
	Name  string
	Marks []uint16
}

// Table is a plan with all questions of precedence answered.
type Table struct {
	// Classes are disjoint. The first is of the pods that no policy selects, and is always there. Its decisions are those of all
	// pods; the other classes have only what is otherwise for theirs, so that many classes do not hold everything many times.
	// A destination without a decision is left as the host treats it.
	Classes []Class
	// Groups are in the order in which policies are asked. Each list of marks is there once.
	Groups []Group
}

// Compile decides priorities, ties, destinations, excludes and fallbacks, so that a backend only has to look an address up.
func Compile(p Plan) (Table, error) {
	if err := p.validate(); err != nil {
		return Table{}, err
	}
	policies := slices.SortedFunc(slices.Values(p.Policies), func(a, b Policy) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	c := compiler{pods: p.Pods}
	for _, policy := range policies {
		if policy.Source == SourceGateway {
			policy.Exclude = slices.Concat(policy.Exclude, hosts(p.Tunnel.Gateways))
		}
		c.rules = append(c.rules, rule{policy, c.target(policy, false), c.target(policy, true)})
	}
	selected := selections(policies)
	known := hosts(slices.Collect(maps.Keys(selected)))
	c.base = c.rank(func(_ int, r rule) bool { return !r.Selects })
	classes := []Class{{Pods: others(p.Pods, known), Decisions: c.beyond(c.base, nil, rule.target)}}
	if p.Wary && slices.ContainsFunc(c.rules, rule.waits) {
		classes[0].Pods = others(hosts(p.Known), known)
		waits := c.rank(func(_ int, r rule) bool { return r.waits() })
		classes = append(classes, Class{
			Name:      "?",
			Pods:      others(p.Pods, slices.Concat(known, hosts(p.Known))),
			Decisions: c.beyond(waits, c.base, func(rule, netip.Addr) Target { return Target{Source: SourceDrop} }),
		})
	}
	members := map[string][]netip.Addr{}
	for pod, selecting := range selected {
		var names []string
		for _, i := range selecting {
			names = append(names, policies[i].Name)
		}
		slices.Sort(names)
		name := strings.Join(names, ",")
		members[name] = append(members[name], pod)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		pods := members[name]
		own := c.rank(func(i int, _ rule) bool {
			_, selects := slices.BinarySearch(selected[pods[0]], i)
			return selects
		})
		classes = append(classes, Class{Name: name, Pods: Ranges(hosts(pods)), Decisions: c.beyond(own, c.base, rule.target)})
	}
	return Table{Classes: classes, Groups: c.groups}, nil
}

// compiler is what the classes of a plan have in common.
type compiler struct {
	pods   []netip.Prefix
	rules  []rule     // in the order in which they are asked
	base   []Decision // of the policies about all pods, as rank gives them
	groups []Group
}

// rule is a policy with its target in each family.
type rule struct {
	Policy
	ipv4, ipv6 Target
}

// target is what the policy does with traffic of one family.
func (c *compiler) target(p Policy, ipv6 bool) Target {
	if p.Source != SourceGateway {
		return Target{Source: p.Source}
	}
	var marks []uint16
	for _, path := range p.Via {
		if ipv6 && path.IPv6 || !ipv6 && path.IPv4 {
			marks = append(marks, path.Mark)
		}
	}
	if len(marks) == 0 {
		return Target{Source: p.Fallback}
	}
	name := p.Name + "4"
	if ipv6 {
		name = p.Name + "6"
	}
	at := slices.IndexFunc(c.groups, func(g Group) bool { return slices.Equal(g.Marks, marks) })
	if at < 0 {
		at, c.groups = len(c.groups), append(c.groups, Group{name, marks})
	}
	c.groups[at].Name = min(c.groups[at].Name, name)
	return Target{SourceGateway, at}
}

// selections are the selecting policies of each selected pod, as sorted indexes.
func selections(policies []Policy) map[netip.Addr][]int {
	selected := map[netip.Addr][]int{}
	for i, policy := range policies {
		if !policy.Selects {
			continue
		}
		for _, pod := range policy.Pods {
			if list := selected[pod]; len(list) == 0 || list[len(list)-1] != i {
				selected[pod] = append(list, i)
			}
		}
	}
	return selected
}

// waits says that the policy must know a pod before it lets it out.
func (r rule) waits() bool { return r.Selects && r.Source == SourceGateway }

// rank tells for each destination which of some rules is asked first: the Group of its target is the rule's index.
func (c *compiler) rank(of func(int, rule) bool) []Decision {
	var layers [][]Decision
	for i, r := range c.rules {
		if of(i, r) {
			layers = append(layers, r.layer(c.pods, Target{Source: included.Source, Group: i}))
		}
	}
	return flatten(layers)
}

// beyond gives the targets of ranked decisions, as far as no rule of base is asked before and the base's target is another.
func (c *compiler) beyond(own, base []Decision, target func(rule, netip.Addr) Target) []Decision {
	var list []Decision
	for _, d := range own {
		at, _ := slices.BinarySearchFunc(base, d.First, func(b Decision, first netip.Addr) int { return b.Last.Compare(first) })
		is := target(c.rules[d.Group], d.First)
		for rest := d.Range; ; at++ {
			if at == len(base) || rest.Last.Less(base[at].First) {
				list = add(list, Decision{rest, is})
				break
			}
			b := base[at]
			if rest.First.Less(b.First) {
				list = add(list, Decision{Range{rest.First, b.First.Prev()}, is})
				rest.First = b.First
			}
			covered := Range{rest.First, b.Last}
			if rest.Last.Less(b.Last) {
				covered.Last = rest.Last
			}
			if d.Group < b.Group && is != c.rules[b.Group].target(b.First) {
				list = add(list, Decision{covered, is})
			}
			if covered.Last == rest.Last {
				break
			}
			rest.First = covered.Last.Next()
		}
	}
	return list
}

// target is what the rule does with traffic to an address.
func (r rule) target(to netip.Addr) Target {
	if to.Is6() {
		return r.ipv6
	}
	return r.ipv4
}

// others are the pods without some of them.
func others(pods, but []netip.Prefix) []Range {
	without := paint(but, excluded)
	decisions := flatten(append([][]Decision{flatten(without)}, flatten(paint(pods, included))))
	return rangesOf(slices.DeleteFunc(decisions, func(d Decision) bool { return d.Target == excluded }))
}

// Ranges gives the addresses that prefixes of both families have, sorted, IPv4 first; neighbours are one range.
func Ranges(prefixes []netip.Prefix) []Range { return rangesOf(flatten(paint(prefixes, included))) }

func rangesOf(decisions []Decision) []Range {
	var list []Range
	for _, d := range decisions {
		list = append(list, d.Range)
	}
	return list
}

func hosts(addrs []netip.Addr) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, a := range addrs {
		prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
	}
	return prefixes
}

// excluded is the target of a range that a policy leaves to the next one, included of one in a set.
var (
	excluded = Target{}
	included = Target{Source: SourcePod}
)

// layer is what the policy alone decides. Everything, the meaning of no destinations, is everything but the node's own pods:
// what goes from pod to pod does not leave the node.
func (r rule) layer(pods []netip.Prefix, target Target) []Decision {
	destinations, exclude := r.Destinations, r.Exclude
	if len(destinations) == 0 {
		destinations = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
		exclude = slices.Concat(exclude, pods)
	}
	layers := append(paint(exclude, excluded), paint(destinations, target)...)
	return slices.DeleteFunc(flatten(layers), func(d Decision) bool { return d.Target == excluded })
}

// paint makes one layer of each prefix.
func paint(prefixes []netip.Prefix, t Target) [][]Decision {
	layers := make([][]Decision, len(prefixes))
	for i, p := range prefixes {
		layers[i] = []Decision{{rangeOf(p), t}}
	}
	return layers
}

func rangeOf(p netip.Prefix) Range {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(last)
	return Range{p.Addr(), addr}
}

// flatten lays each layer over those after it. Halving keeps it at n log n for many small layers.
func flatten(layers [][]Decision) []Decision {
	switch len(layers) {
	case 0:
		return nil
	case 1:
		return layers[0]
	}
	half := len(layers) / 2
	return over(flatten(layers[:half]), flatten(layers[half:]))
}

// over merges two sorted lists of disjoint ranges, which it consumes; where both speak, top wins.
func over(top, bottom []Decision) []Decision {
	merged := make([]Decision, 0, len(top)+len(bottom))
	for len(top) > 0 && len(bottom) > 0 {
		t, b := top[0], bottom[0]
		switch {
		case t.Last.Less(b.First):
			merged, top = add(merged, t), top[1:]
		case b.Last.Less(t.First):
			merged, bottom = add(merged, b), bottom[1:]
		default:
			if b.First.Less(t.First) {
				merged = add(merged, Decision{Range{b.First, t.First.Prev()}, b.Target})
			}
			if t.Last.Less(b.Last) {
				// What sticks out of b waits for the next of top.
				merged, top = add(merged, t), top[1:]
				bottom[0].First = t.Last.Next()
			} else {
				// b ends within t, which may cover more of bottom.
				bottom = bottom[1:]
			}
		}
	}
	for _, d := range top {
		merged = add(merged, d)
	}
	for _, d := range bottom {
		merged = add(merged, d)
	}
	return merged
}

// add appends d, or widens the last range when d continues it.
func add(list []Decision, d Decision) []Decision {
	if n := len(list); n > 0 && list[n-1].Target == d.Target && list[n-1].Last.Next() == d.First {
		list[n-1].Last = d.Last
		return list
	}
	return append(list, d)
}
