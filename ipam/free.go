package ipam

import (
	"cmp"
	"math/big"
	"net/netip"
	"slices"
)

// private are the blocks that a cluster may take its addresses from: RFC 1918, RFC 6598, and RFC 4193 with the L bit.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	shared, netip.MustParsePrefix("fd00::/8"),
}

// shared is for carriers: a range that asks for it may have it, but it is proposed to no other.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// specialUse are ranges with a meaning of their own (RFC 6890 and its registry). Those that are only a doubt can work.
var specialUse = []struct {
	prefix netip.Prefix
	what   string
	doubt  bool
}{
	{netip.MustParsePrefix("0.0.0.0/8"), `"this network"`, false},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback", false},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local", false},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast", false},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved", false},
	{netip.MustParsePrefix("::/96"), "loopback and other reserved addresses", false},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped", false},
	{netip.MustParsePrefix("64:ff9b::/96"), "IPv4 behind NAT64", false},
	{netip.MustParsePrefix("fe80::/10"), "link-local", false},
	{netip.MustParsePrefix("ff00::/8"), "multicast", false},
	{docker, "which Docker gives its bridge docker0 by default: pods could not be reached from such hosts", true},
	{shared, "which carriers, clouds and some VPNs use (RFC 6598): ask whether yours do", true},
	{netip.MustParsePrefix("192.0.0.0/24"), "for IETF protocols", true},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation", true},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation", true},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation", true},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks", true},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation", true},
	{netip.MustParsePrefix("2002::/16"), "6to4", true},
	{netip.MustParsePrefix("fc00::/8"), "the half of the unique local addresses that is not for you: fd00::/8 is (RFC 4193)", true},
}

var docker = netip.MustParsePrefix("172.17.0.0/16")

// blockOf is the private block that a range is in.
func blockOf(p netip.Prefix) (netip.Prefix, bool) {
	for _, b := range private {
		if b.Bits() <= p.Bits() && b.Contains(p.Addr()) {
			return b, true
		}
	}
	return netip.Prefix{}, false
}

// propose returns free prefixes of a length, those nearest to the wanted one first: in its own block, and if that has not enough
// in others. Inside of routes to something larger only where there is nothing else.
func propose(wanted netip.Prefix, length int, taken []Claim) []netip.Prefix {
	blocks := slices.DeleteFunc(slices.Clone(private), func(b netip.Prefix) bool {
		return b.Addr().Is4() != wanted.Addr().Is4() || b == shared
	})
	if own, ok := blockOf(wanted); ok {
		blocks = append([]netip.Prefix{own}, slices.DeleteFunc(blocks, func(b netip.Prefix) bool { return b == own })...)
	}
	clear, larger := []netip.Prefix{docker}, []netip.Prefix{}
	for _, c := range taken {
		switch {
		case c.Prefix.Bits() <= 0: // none, or a default route
		case c.Kind == Route && c.Prefix.Bits() < length:
			larger = append(larger, c.Prefix.Masked())
		default:
			clear = append(clear, c.Prefix.Masked())
		}
	}
	var found []netip.Prefix
	for _, block := range blocks {
		for _, used := range [][]netip.Prefix{slices.Concat(clear, larger), clear} {
			for _, p := range nearest(wanted, length, free(block, used, length)) {
				if len(found) < proposals && !slices.Contains(found, p) {
					found = append(found, p)
				}
			}
		}
	}
	return found
}

// free returns the largest prefixes of a block, none longer than length, that overlap nothing of what is used. They are in order.
func free(block netip.Prefix, used []netip.Prefix, length int) []netip.Prefix {
	if length < block.Bits() {
		return nil
	}
	var inside []netip.Prefix
	for _, u := range used {
		switch {
		case !u.Overlaps(block):
		case u.Bits() <= block.Bits():
			return nil
		default:
			inside = append(inside, u)
		}
	}
	if len(inside) == 0 {
		return []netip.Prefix{block}
	}
	if block.Bits() == length {
		return nil
	}
	low := netip.PrefixFrom(block.Addr(), block.Bits()+1)
	high := netip.PrefixFrom(address(new(big.Int).Add(number(block.Addr()), span(low)), block.Addr().Is4()), low.Bits())
	return append(free(low, inside, length), free(high, inside, length)...)
}

// nearest returns prefixes of a length inside of others, those nearest to the wanted one first.
func nearest(wanted netip.Prefix, length int, inside []netip.Prefix) []netip.Prefix {
	if length < 0 || length > wanted.Addr().BitLen() {
		return nil
	}
	at := number(netip.PrefixFrom(wanted.Addr(), length).Masked().Addr())
	type candidate struct {
		prefix   netip.Prefix
		distance *big.Int
	}
	var all []candidate
	for _, p := range inside {
		step := span(netip.PrefixFrom(p.Addr(), length))
		first := number(p.Addr())
		last := new(big.Int).Sub(new(big.Int).Add(first, span(p)), step)
		start := at
		if start.Cmp(first) < 0 {
			start = first
		} else if start.Cmp(last) > 0 {
			start = last
		}
		for k := int64(1 - proposals); k < proposals; k++ {
			n := new(big.Int).Add(start, new(big.Int).Mul(step, big.NewInt(k)))
			if n.Cmp(first) >= 0 && n.Cmp(last) <= 0 {
				distance := new(big.Int).Sub(n, at)
				all = append(all, candidate{netip.PrefixFrom(address(n, p.Addr().Is4()), length), distance.Abs(distance)})
			}
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(a.distance.Cmp(b.distance), a.prefix.Compare(b.prefix)) })
	var found []netip.Prefix
	for _, c := range all[:min(len(all), proposals)] {
		found = append(found, c.prefix)
	}
	return found
}

// number is an address as a number, address the other way around, span how many addresses a prefix has.
func number(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }

func address(n *big.Int, ipv4 bool) netip.Addr {
	octets := make([]byte, 16)
	n.FillBytes(octets)
	if ipv4 {
		return netip.AddrFrom4([4]byte(octets[12:]))
	}
	return netip.AddrFrom16([16]byte(octets))
}

func span(p netip.Prefix) *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-p.Bits()))
}
