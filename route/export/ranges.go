package export

import (
	"net/netip"
	"slices"
)

// Except returns ranges without the addresses of others, as prefixes.
func Except(ranges, others []netip.Prefix) []netip.Prefix {
	var left []netip.Prefix
	for _, p := range ranges {
		left = append(left, except(p, others)...)
	}
	return left
}

func except(p netip.Prefix, others []netip.Prefix) []netip.Prefix {
	var touching []netip.Prefix
	for _, o := range others {
		if !o.Overlaps(p) {
			continue
		}
		if o.Bits() <= p.Bits() {
			return nil
		}
		touching = append(touching, o)
	}
	if len(touching) == 0 {
		return []netip.Prefix{p}
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	return append(except(low, touching), except(other(low), touching)...)
}

// prefixSet finds the prefixes that hold another one.
type prefixSet struct {
	has     map[netip.Prefix]bool
	lengths []int // that there are, the longest first
}

func newPrefixSet(prefixes []netip.Prefix) *prefixSet {
	s := &prefixSet{has: make(map[netip.Prefix]bool, len(prefixes))}
	var there [129]bool
	for _, p := range prefixes {
		s.has[p] = true
		there[p.Bits()] = true
	}
	for bits := range there {
		if there[bits] {
			s.lengths = append(s.lengths, bits)
		}
	}
	slices.Reverse(s.lengths)
	return s
}

// covering is the longest prefix of the set that is p or holds it.
func (s *prefixSet) covering(p netip.Prefix) (netip.Prefix, bool) {
	for _, bits := range s.lengths {
		if bits > p.Bits() {
			continue
		}
		if cover := netip.PrefixFrom(p.Addr(), bits).Masked(); s.has[cover] {
			return cover, true
		}
	}
	return netip.Prefix{}, false
}

// holds says that a prefix of the set is p or holds it.
func (s *prefixSet) holds(p netip.Prefix) bool {
	_, ok := s.covering(p)
	return ok
}
