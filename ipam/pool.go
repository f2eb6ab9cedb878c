package ipam

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// maxProbes bounds the search for a free address in a large pool.
const maxProbes = 1 << 16

// fromPool grants one address of each family that the pool has: the one that the policy holds, else one by a hash of its
// name, so that policies that come and go change nothing for others.
func (a *assigner) fromPool(w *Want) {
	for _, ipv6 := range []bool{false, true} {
		pool := slices.DeleteFunc(slices.Clone(w.Pool), func(p netip.Prefix) bool { return p.Addr().Is6() != ipv6 })
		if len(pool) == 0 {
			continue
		}
		if address, ok := a.pick(w, pool); ok {
			a.grant(w, address)
		} else {
			a.refuse(Refusal{Policy: w.Policy, Reason: Exhausted, IPv6: ipv6})
		}
	}
}

// pick finds an address in prefixes of one family.
func (a *assigner) pick(w *Want, pool []netip.Prefix) (netip.Addr, bool) {
	for _, lease := range w.Held {
		if inside(lease.Address, pool) && a.grants[key{address: lease.Address}] == nil {
			return lease.Address, true
		}
	}
	var size uint64 // at most 2^63, more would not be searched anyway
	for _, p := range pool {
		size = min(size+sizeOf(p), 1<<63)
	}
	at := hash(w.Policy) % size
	for range min(size, maxProbes) {
		if address := nth(pool, at); a.free(address) {
			return address, true
		}
		at = (at + 1) % size
	}
	return netip.Addr{}, false
}

func (a *assigner) free(address netip.Addr) bool {
	return address.IsValid() && !a.wanted[address] && a.grants[key{address: address}] == nil &&
		len(a.used.overlapping(netip.PrefixFrom(address, address.BitLen()))) == 0
}

func sizeOf(p netip.Prefix) uint64 { return 1 << min(p.Addr().BitLen()-p.Bits(), 62) }

// nth is the nth address of some prefixes. It is invalid if it may not be handed out: the first of an IPv6 prefix is that of
// the subnet's routers (RFC 4291 section 2.6.1), and what ends in 0 or 255 is often a network's or a broadcast address.
func nth(pool []netip.Prefix, n uint64) netip.Addr {
	for _, p := range pool {
		size := sizeOf(p)
		if n >= size {
			n -= size
			continue
		}
		if p.Addr().Is4() {
			octets := p.Addr().As4()
			last := binary.BigEndian.Uint32(octets[:]) + uint32(n)
			if p.Bits() < 31 && (last&255 == 0 || last&255 == 255) {
				return netip.Addr{}
			}
			binary.BigEndian.PutUint32(octets[:], last)
			return netip.AddrFrom4(octets)
		}
		if n == 0 && p.Bits() < 127 {
			return netip.Addr{}
		}
		octets := p.Addr().As16()
		low, carry := bits.Add64(binary.BigEndian.Uint64(octets[8:]), n, 0)
		binary.BigEndian.PutUint64(octets[8:], low)
		binary.BigEndian.PutUint64(octets[:8], binary.BigEndian.Uint64(octets[:8])+carry)
		return netip.AddrFrom16(octets)
	}
	return netip.Addr{}
}

// inside says whether an address is of one of the prefixes.
func inside(address netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(address) })
}
