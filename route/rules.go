package route

import (
	"fmt"
	"net/netip"
)

// Rules say which prefixes this node never learns, whoever announces them.
type Rules struct {
	Own       []netip.Prefix // the node's PodCIDRs, masked
	Addresses []netip.Prefix // the addresses of the node's interfaces, each with the length of its network
	Peers     []netip.Addr   // the addresses of the configured peers
}

// Refuse returns why a learned prefix must not become a kernel route, "" if it may. A default route may, and so may a
// prefix that covers a PodCIDR of the node: the node's own route is longer and wins.
func (r Rules) Refuse(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case !p.IsValid():
		return "not a prefix"
	case p != p.Masked():
		return fmt.Sprintf("address bits are set beyond the length of %d", p.Bits())
	case a.Is4In6():
		return "an IPv4 address in IPv6 form"
	case p.Bits() == 0:
		return ""
	case a.IsLoopback():
		return "loopback addresses are never learned"
	case a.IsLinkLocalUnicast():
		return "link-local addresses are never learned"
	case a.IsMulticast():
		return "multicast addresses are never learned"
	case p.IsSingleIP() && (a.IsUnspecified() || a == broadcast):
		return fmt.Sprintf("%s is not the address of a host", a)
	}
	for _, own := range r.Own {
		if p.Bits() >= own.Bits() && own.Contains(a) {
			return fmt.Sprintf("lies inside this node's own %s", own)
		}
	}
	if p.IsSingleIP() {
		for _, address := range r.Addresses {
			if address.Addr() == a {
				return "is an address of this node"
			}
		}
	}
	for _, peer := range r.Peers {
		if p.Contains(peer) && p.Bits() >= r.wayTo(peer) {
			return fmt.Sprintf("would take away the way to peer %s", peer)
		}
	}
	return ""
}

// wayTo is the length from which on a learned prefix would decide how a peer is reached: that of the network that the node
// and the peer are on, since an IPv6 network of the kernel's own has a worse metric (256) than learned routes usually have.
// To a peer elsewhere learned routes may lead, but for one to its very address, which is meant for it alone.
func (r Rules) wayTo(peer netip.Addr) int {
	longest := -1
	for _, address := range r.Addresses {
		if address.Contains(peer) {
			longest = max(longest, address.Bits())
		}
	}
	if longest < 0 {
		return peer.BitLen()
	}
	return longest
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
