package bgp

import "math"

const (
	defaultLocalPreference = 100 // what every implementation takes where none is set
	minLocalPreference     = 1   // see Attributes
	medOfRank              = 10  // between two ranks, so that a router's own policy finds room in between
)

// Ranked returns the attributes for an announcement of a rank to an internal (iBGP) or external peer. Each rank is worse
// than the one before to whatever the peer looks at first: LOCAL_PREF, the length of AS_PATH, MED (RFC 4271, section 9.1.2).
//
// A peer passes a prepended path on to the other nodes, which refuse it when our ASN stands in it more often than their
// AllowOwnAS allows. That is no loss: the nodes need no routes to each other's ranked prefixes.
func (a Attributes) Ranked(rank uint8, internal bool) Attributes {
	if rank == 0 {
		return a
	}
	med := uint32(medOfRank) * uint32(rank)
	if a.MED != nil {
		med = *a.MED + min(med, math.MaxUint32-*a.MED)
	}
	a.MED = &med
	if !internal {
		a.Prepend += min(rank, math.MaxUint8-a.Prepend)
		return a
	}
	preference := uint32(defaultLocalPreference)
	if a.LocalPreference != nil {
		preference = *a.LocalPreference
	}
	preference = max(minLocalPreference, preference-min(uint32(rank), preference))
	a.LocalPreference = &preference
	return a
}
