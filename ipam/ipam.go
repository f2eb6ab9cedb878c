// Package ipam decides who owns which address: whether the prefixes of this node collide with what others own, which egress
// addresses a policy has, and which gateways may own them. It is pure.
package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Kind is what makes a claim.
type Kind string

// The kinds, strongest first: of two kinds the stronger keeps the prefix.
const (
	DatacenterNetwork Kind = "DatacenterNetwork" // declared to be in use outside the cluster
	NodeAddress       Kind = "node address"      // a host has it
	Node              Kind = "Node"              // PodCIDRs
	AddressPool       Kind = "AddressPool"
	Service           Kind = "Service"
	Network           Kind = "network" // a list says that it is in use outside the cluster
	Route             Kind = "route"   // learned; collides only with what it lies in: an aggregate or default route is welcome
)

var strength = map[Kind]int{DatacenterNetwork: 5, Network: 5, NodeAddress: 4, Node: 3, AddressPool: 2, Service: 2, Route: 1}

// Claim says that somebody uses a prefix.
type Claim struct {
	Kind    Kind
	Name    string
	Prefix  netip.Prefix
	Created time.Time // of the claiming object; zero, unknown, counts as the youngest
}

func (c Claim) String() string { return fmt.Sprintf("%v of %s %s", c.Prefix, c.Kind, c.Name) }

// Conflict is a claim that is refused because of another, which stays.
type Conflict struct{ Own, Other Claim }

func (c Conflict) String() string {
	s := fmt.Sprintf("%v overlaps %v", c.Own, c.Other)
	switch {
	case c.Own.Kind != c.Other.Kind:
		return s
	case age(c.Own, c.Other) != 0:
		return s + ", which is older"
	default:
		return s + ", which is as old and first by name"
	}
}

// Conflicts returns the claims of own that must give way to one of others, sorted by own, then by other. The stronger kind
// stays; of one kind the older object, and at the same age the first by name: so of two nodes that judge each other exactly
// one gives way. Claims of the same kind and name are one owner's and do not collide; invalid prefixes collide with none.
func Conflicts(own, others []Claim) []Conflict {
	ix := newIndex(others)
	var found []Conflict
	for _, c := range own {
		if !c.Prefix.IsValid() {
			continue
		}
		for _, o := range ix.overlapping(c.Prefix) {
			if gives(c, o) {
				found = append(found, Conflict{c, o})
			}
		}
	}
	slices.SortFunc(found, func(a, b Conflict) int { return cmp.Or(compare(a.Own, b.Own), compare(a.Other, b.Other)) })
	return found
}

// gives says whether own gives way to other, given that they overlap.
func gives(own, other Claim) bool {
	switch {
	case own.Kind == other.Kind && own.Name == other.Name:
		return false
	case own.Kind == Route && own.Prefix.Bits() < other.Prefix.Bits(), other.Kind == Route && other.Prefix.Bits() < own.Prefix.Bits():
		return false
	}
	return cmp.Or(cmp.Compare(strength[other.Kind], strength[own.Kind]), age(own, other), strings.Compare(own.Name, other.Name)) > 0
}

// age is positive when own is the younger.
func age(own, other Claim) int {
	switch {
	case own.Created.IsZero() && other.Created.IsZero():
		return 0
	case own.Created.IsZero():
		return 1
	case other.Created.IsZero():
		return -1
	}
	return own.Created.Compare(other.Created)
}

func compare(a, b Claim) int {
	return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
}

// index finds overlaps in O(log n): two prefixes overlap only if one contains the other. What a prefix contains is one run
// of the sorted claims; what contains it has one of its at most 128 shorter prefixes.
type index struct {
	sorted []Claim // by prefix
	exact  map[netip.Prefix][]Claim
}

func newIndex(claims []Claim) index {
	ix := index{exact: map[netip.Prefix][]Claim{}}
	for _, c := range claims {
		if c.Prefix.IsValid() {
			ix.sorted = append(ix.sorted, c)
			ix.exact[c.Prefix.Masked()] = append(ix.exact[c.Prefix.Masked()], c)
		}
	}
	slices.SortFunc(ix.sorted, func(a, b Claim) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	return ix
}

func (ix index) overlapping(p netip.Prefix) []Claim {
	var found []Claim
	for bits := 0; bits < p.Bits(); bits++ {
		shorter, _ := p.Addr().Prefix(bits) // no error: bits is in range
		found = append(found, ix.exact[shorter]...)
	}
	first := p.Masked().Addr()
	at, _ := slices.BinarySearchFunc(ix.sorted, first, func(c Claim, a netip.Addr) int { return c.Prefix.Addr().Compare(a) })
	for ; at < len(ix.sorted) && p.Contains(ix.sorted[at].Prefix.Addr()); at++ {
		if ix.sorted[at].Prefix.Bits() >= p.Bits() {
			found = append(found, ix.sorted[at])
		}
	}
	return found
}
