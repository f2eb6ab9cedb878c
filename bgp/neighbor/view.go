package neighbor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// view is a peering as the templates read it.
type view struct{ Peering }

// Name of the group, and the beginning of all names that belong to it.
func (v view) Name() string { return shortened("waymark-" + word(v.Peer)) }

// Internal says that the session is iBGP.
func (v view) Internal() bool { return v.Nodes[0].ASN == v.ASN }

// ASes of the nodes, each once.
func (v view) ASes() []uint32 { return ases(v.Nodes) }

// OneAS is that of all nodes; 0: they have several.
func (v view) OneAS() uint32 {
	if list := v.ASes(); len(list) == 1 {
		return list[0]
	}
	return 0
}

// ASRanges are the AS numbers of the nodes with neighbours joined, as "64601-64650".
func (v view) ASRanges() []string {
	var list []string
	all := v.ASes()
	for i := 0; i < len(all); i++ {
		first := i
		for i+1 < len(all) && all[i+1] == all[i]+1 {
			i++
		}
		if first == i {
			list = append(list, fmt.Sprint(all[i]))
		} else {
			list = append(list, fmt.Sprintf("%d-%d", all[first], all[i]))
		}
	}
	return list
}

// MostNodes is a bound of how many nodes there may be in the ranges: twice as many as there are, as room to grow.
func (v view) MostNodes() int { return max(100, 2*len(v.Nodes)) }

// Passive says that the router must not connect.
func (v view) Passive() bool { return !v.Listens }

// HasBFD says that nodes want it.
func (v view) HasBFD() bool { return v.BFD.Interval > 0 }

// TotalLimit is that of all families together.
func (v view) TotalLimit() int {
	total := 0
	for _, f := range v.Families {
		total += f.Limit
	}
	return total
}

// Limited says that the router does not announce everything.
func (v view) Limited() bool {
	return slices.ContainsFunc(v.Families, func(f Family) bool { return f.Send != nil })
}

// Other says that the session is over one family and carries the other.
func (v view) Other(f Family) bool { return (f.Version == 4) != v.Router.Is4() }

// Notes are what a reader of the configuration must know.
func (v view) Notes() []string {
	kind := "eBGP"
	if v.Internal() {
		kind = "iBGP"
	}
	notes := []string{
		fmt.Sprintf("BGPPeer %s of Waymark: this router has %s and AS %d; nodes have AS %s (%s)", word(v.Peer), v.Router, v.ASN, strings.Join(v.ASRanges(), ", "), kind),
	}
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if v.Port != 179 {
		note("Nodes connect to port %d of this router: it must listen there", v.Port)
	}
	if v.Password != "" {
		note("<PASSWORD> stands for %s: put it in by hand", v.Password)
	}
	if v.Passive() {
		note("Nodes do not listen at port 179: this router waits for them")
	}
	switch {
	case v.Internal():
		note("This router is the nodes' route reflector, and nodes stay the next hops: on several networks they need next-hop-self toward them")
	case v.OneAS() != 0 && len(v.Nodes) > 1 && !v.OwnAS:
		note("Nodes take nothing of each other from this router: they share AS %d, and spec.allowOwnAS of the BGPPeer is 0", v.OneAS())
	}
	if v.RestartTime > 0 {
		note("Nodes ask this router to keep their routes for %d s while they restart", int64(v.RestartTime.Seconds()))
	}
	if len(v.Communities) > 0 {
		note("Nodes attach %s to all that they announce; nothing depends on it here", strings.Join(v.Communities, " "))
	}
	for _, f := range v.Families {
		note("At most %d IPv%d prefixes from a node: %s", f.Limit, f.Version, f.Reason)
	}
	return notes
}

// IP begins commands about prefixes of the family.
func (f Family) IP() string {
	if f.Version == 4 {
		return "ip"
	}
	return "ipv6"
}

// Lengths of the prefixes that match, as prefix lists of Cisco's form have them.
func (r Range) Lengths() string {
	switch {
	case r.Min == r.Prefix.Bits() && r.Max == r.Min:
		return ""
	case r.Min == r.Prefix.Bits():
		return fmt.Sprintf(" le %d", r.Max)
	}
	return fmt.Sprintf(" ge %d le %d", r.Min, r.Max)
}

// Compare orders ranges as they are written.
func (r Range) Compare(other Range) int {
	if c := r.Prefix.Compare(other.Prefix); c != 0 {
		return c
	}
	return slices.Compare([]int{r.Min, r.Max}, []int{other.Min, other.Max})
}

// Address of the range's prefix.
func (r Range) Address() netip.Addr { return r.Prefix.Addr() }

// Bits of the range's prefix.
func (r Range) Bits() int { return r.Prefix.Bits() }

// Exact says that only the prefix itself matches.
func (r Range) Exact() bool { return r.Min == r.Max && r.Min == r.Prefix.Bits() }
