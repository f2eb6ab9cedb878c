package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Host is what decides how a next hop is reached: the node's addresses and the routes of all programs but ours.
type Host struct {
	Addresses []netip.Prefix // of all interfaces, each with the length of its network
	Connected []OnLink       // networks that the node is on
	Routes    []Foreign      // every other route
}

// Addrs are the node's addresses without their lengths.
func (h Host) Addrs() []netip.Addr {
	addrs := make([]netip.Addr, len(h.Addresses))
	for i, address := range h.Addresses {
		addrs[i] = address.Addr()
	}
	return addrs
}

// OnLink is a network whose hosts are reached without a gateway.
type OnLink struct {
	Prefix netip.Prefix
	Link   int // interface index
	Metric int
}

// Foreign is another program's route.
type Foreign struct {
	Prefix netip.Prefix
	Metric int
	Hops   []Hop // none: the route refuses packets (unreachable, blackhole, prohibit)
}

// Hop is one gateway of a kernel route.
type Hop struct {
	Gateway netip.Addr
	Link    int // interface index
}

// Compare orders hops, so that equal sets can be told as such.
func (h Hop) Compare(other Hop) int {
	return cmp.Or(h.Gateway.Compare(other.Gateway), cmp.Compare(h.Link, other.Link))
}

// Hops returns the gateways, sorted and without repeats, through which routes with these next hops are installed
// (RFC 4271, section 5.1.3), and why next hops are left out, "" if none is. A next hop is resolved through the host's other
// routes, never through a learned one (RFC 4271, section 9.1.2.1): a learned route cannot take another one down with it.
func (h Host) Hops(own []netip.Prefix, nextHops []netip.Addr) (hops []Hop, leftOut string) {
	var reasons []string
	for _, nextHop := range nextHops {
		found, reason := h.resolve(own, nextHop)
		if reason != "" {
			reasons = append(reasons, fmt.Sprintf("next hop %s %s", nextHop, reason))
		}
		hops = append(hops, found...)
	}
	if len(nextHops) == 0 {
		reasons = []string{"no next hop"}
	}
	slices.SortFunc(hops, Hop.Compare)
	return slices.Compact(hops), strings.Join(reasons, ", ")
}

func (h Host) resolve(own []netip.Prefix, nextHop netip.Addr) ([]Hop, string) {
	switch {
	case !nextHop.IsValid() || nextHop.IsUnspecified() || nextHop.IsLoopback() || nextHop.IsMulticast():
		return nil, "is not the address of a host"
	case nextHop.IsLinkLocalUnicast():
		return nil, "is link-local and does not tell on which link"
	case slices.ContainsFunc(h.Addresses, func(a netip.Prefix) bool { return a.Addr() == nextHop }):
		return nil, "is this node itself"
	case slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Contains(nextHop) }):
		return nil, "lies inside this node's own pod addresses"
	}
	best, metric := -1, 0
	var hops []Hop
	better := func(p netip.Prefix, m int) bool {
		return p.Contains(nextHop) && (p.Bits() > best || p.Bits() == best && m < metric)
	}
	for _, c := range h.Connected {
		if better(c.Prefix, c.Metric) {
			best, metric, hops = c.Prefix.Bits(), c.Metric, []Hop{{nextHop, c.Link}}
		}
	}
	for _, f := range h.Routes {
		if better(f.Prefix, f.Metric) {
			best, metric, hops = f.Prefix.Bits(), f.Metric, f.Hops
		}
	}
	switch {
	case best < 0:
		return nil, "cannot be reached: no network of this node and no route of another program contains it"
	case len(hops) == 0:
		return nil, "cannot be reached: the host's route to it refuses packets"
	case slices.ContainsFunc(hops, func(hop Hop) bool { return hop.Gateway.Is4() != nextHop.Is4() }):
		return nil, "is reached through a gateway of the other address family (RFC 8950), which is not supported"
	}
	return hops, ""
}
