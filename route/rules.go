package route

import (
	"fmt"
	"net/netip"
	"slices"
)

// Rules say which prefixes this node never learns, whoever announces them. NewRules makes them.
type Rules struct {
	Own       []netip.Prefix // the node's PodCIDRs, masked
	addresses map[netip.Addr]bool
	networks  map[netip.Prefix]bool
	ways      []way
}

// way is how a configured peer is reached: learned prefixes of so many bits or more that contain it would decide that.
type way struct {
	peer netip.Addr
	bits int
}

// NewRules makes the rules of a node with these PodCIDRs, masked, and these configured peers.
func NewRules(own []netip.Prefix, host Host, peers []netip.Addr) Rules {
	r := Rules{Own: own, addresses: map[netip.Addr]bool{}, networks: map[netip.Prefix]bool{}}
	for _, address := range host.Addresses {
		r.addresses[address.Addr()] = true
	}
	for _, network := range host.Connected {
		r.networks[network.Prefix] = true
	}
	for _, peer := range peers {
		if bits, known := host.wayTo(peer); known {
			r.ways = append(r.ways, way{peer, bits})
		}
	}
	return r
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
	// Whatever its metric: an IPv6 network of the kernel's own has 256, and one from DHCP 1024, worse than learned routes
	// usually have. A longer prefix may be meant for a host that has moved, a shorter one never decides.
	switch {
	case p.IsSingleIP() && r.addresses[a]:
		return "is an address of this node"
	case r.networks[p]:
		return "is a network this node is connected to"
	}
	for _, way := range r.ways {
		if p.Contains(way.peer) && p.Bits() >= way.bits {
			return fmt.Sprintf("would take away the way to peer %s", way.peer)
		}
	}
	return ""
}

// wayTo is the length from which on a learned prefix would decide how a peer is reached: that of the network that the node
// and the peer are on. To a peer elsewhere learned routes may lead, as to the loopback address of a route reflector; but if
// another program's route leads there already, none to that very address. A default route leads everywhere, so it does not
// count. It returns false for a peer to which any learned prefix may lead.
func (h Host) wayTo(peer netip.Addr) (bits int, known bool) {
	for _, network := range h.Connected {
		if network.Prefix.Contains(peer) {
			bits = max(bits, network.Prefix.Bits())
		}
	}
	if bits > 0 {
		return bits, true
	}
	return peer.BitLen(), slices.ContainsFunc(h.Routes, func(f Foreign) bool {
		return f.Prefix.Bits() > 0 && len(f.Hops) > 0 && f.Prefix.Contains(peer)
	})
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
