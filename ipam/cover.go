package ipam

import (
	"net/netip"
	"slices"
)

// Cover returns the fewest prefixes that hold these addresses and no other, sorted.
func Cover(addresses []netip.Addr) []netip.Prefix {
	addresses = slices.Clone(addresses)
	slices.SortFunc(addresses, netip.Addr.Compare)
	var cover []netip.Prefix
	for _, address := range slices.Compact(addresses) {
		if !address.IsValid() {
			continue
		}
		p := netip.PrefixFrom(address, address.BitLen())
		// The last prefix, which is before this one, and this one may be the halves of a wider one, and that a half again.
		for len(cover) > 0 && p.Bits() > 0 {
			last := cover[len(cover)-1]
			wider := netip.PrefixFrom(last.Addr(), p.Bits()-1)
			if last.Bits() != p.Bits() || !wider.Contains(p.Addr()) {
				break
			}
			p, cover = wider, cover[:len(cover)-1]
		}
		cover = append(cover, p)
	}
	return cover
}
