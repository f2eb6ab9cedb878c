package nat

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Range is a run of addresses of one family, both ends included.
type Range struct {
	First, Last netip.Addr
}

// Decision is the source address for everything that a pod sends to a range of destinations.
type Decision struct {
	Range
	Source Source
}

// Class is a set of pods that the same policies are about. Its ranges are sorted, IPv4 first, and disjoint; neighbours with
// the same answer are one range. A destination without a decision is left as the host treats it.
type Class struct {
	Pods      []Range
	Decisions []Decision
}

// Table is a plan with all questions of precedence answered: disjoint classes of pods. The first is of the pods that no
// policy selects, and is always there.
type Table []Class

// Compile decides priorities, ties, destinations and excludes, so that a backend only has to look an address up.
func Compile(p Plan) (Table, error) {
	var errs []error
	for _, prefix := range p.Pods {
		if err := checkPrefix(prefix); err != nil {
			errs = append(errs, fmt.Errorf("pod prefix: %w", err))
		}
	}
	names := map[string]bool{}
	for _, policy := range p.Policies {
		if err := policy.Validate(); err != nil {
			errs = append(errs, err)
		}
		if names[policy.Name] {
			errs = append(errs, fmt.Errorf("egress policy %q is there twice", policy.Name))
		}
		names[policy.Name] = true
	}
	if len(errs) > 0 {
		return Table{}, errors.Join(errs...)
	}

	policies := slices.SortedFunc(slices.Values(p.Policies), func(a, b Policy) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	selected := selections(policies)
	t := Table{{Pods: others(p.Pods, selected), Decisions: decide(policies, nil, p.Pods)}}
	members := map[string][]netip.Addr{}
	for pod, selecting := range selected {
		key := fmt.Sprint(selecting)
		members[key] = append(members[key], pod)
	}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		pods := members[key]
		t = append(t, Class{Pods: ranges(hosts(pods)), Decisions: decide(policies, selected[pods[0]], p.Pods)})
	}
	return t, nil
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

// decide compiles the policies about all pods, and those selecting.
func decide(policies []Policy, selecting []int, pods []netip.Prefix) []Decision {
	var layers [][]Decision
	for i, policy := range policies {
		if _, selects := slices.BinarySearch(selecting, i); selects || !policy.Selects {
			layers = append(layers, policy.layer(pods))
		}
	}
	return flatten(layers)
}

// others are the pods that no policy selects.
func others(pods []netip.Prefix, selected map[netip.Addr][]int) []Range {
	without := paint(hosts(slices.Collect(maps.Keys(selected))), excluded)
	decisions := flatten(append([][]Decision{flatten(without)}, flatten(paint(pods, SourcePod))))
	return rangesOf(slices.DeleteFunc(decisions, func(d Decision) bool { return d.Source == excluded }))
}

func ranges(prefixes []netip.Prefix) []Range { return rangesOf(flatten(paint(prefixes, SourcePod))) }

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

// Validate says what is wrong with the policy. Prefixes may have host bits set, repeat and overlap.
func (p Policy) Validate() error {
	var errs []error
	if p.Name == "" {
		errs = append(errs, errors.New("no name"))
	}
	if p.Source != SourcePod && p.Source != SourceNode {
		errs = append(errs, fmt.Errorf("source %q is neither %s nor %s", p.Source, SourcePod, SourceNode))
	}
	for _, pod := range p.Pods {
		if err := checkPrefix(netip.PrefixFrom(pod, pod.BitLen())); err != nil {
			errs = append(errs, fmt.Errorf("pod: %w", err))
		}
	}
	for _, prefix := range p.Destinations {
		if err := checkPrefix(prefix); err != nil {
			errs = append(errs, fmt.Errorf("destination: %w", err))
		}
	}
	for _, prefix := range p.Exclude {
		if err := checkPrefix(prefix); err != nil {
			errs = append(errs, fmt.Errorf("excluded destination: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("egress policy %q: %w", p.Name, err)
	}
	return nil
}

func checkPrefix(p netip.Prefix) error {
	if !p.IsValid() {
		return fmt.Errorf("%q is not a prefix", p)
	}
	if p.Addr().Is4In6() {
		return fmt.Errorf("%s is an IPv4-mapped address, write it as IPv4", p)
	}
	return nil
}

// excluded is the source of a range that a policy leaves to the next one.
const excluded Source = ""

// layer is what the policy alone decides. Everything, the meaning of no destinations, is everything but the node's own pods:
// what goes from pod to pod does not leave the node.
func (p Policy) layer(pods []netip.Prefix) []Decision {
	destinations, exclude := p.Destinations, p.Exclude
	if len(destinations) == 0 {
		destinations = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
		exclude = slices.Concat(exclude, pods)
	}
	decisions := flatten(append(paint(exclude, excluded), paint(destinations, p.Source)...))
	return slices.DeleteFunc(decisions, func(d Decision) bool { return d.Source == excluded })
}

// paint makes one layer of each prefix.
func paint(prefixes []netip.Prefix, s Source) [][]Decision {
	layers := make([][]Decision, len(prefixes))
	for i, p := range prefixes {
		layers[i] = []Decision{{rangeOf(p), s}}
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
				merged = add(merged, Decision{Range{b.First, t.First.Prev()}, b.Source})
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
	if n := len(list); n > 0 && list[n-1].Source == d.Source && list[n-1].Last.Next() == d.First {
		list[n-1].Last = d.Last
		return list
	}
	return append(list, d)
}
