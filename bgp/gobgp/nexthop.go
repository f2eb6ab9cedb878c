package gobgp

import (
	"context"
	"net"
	"net/netip"

	"github.com/waymark-bgp/waymark/bgp"
)

// beside returns the next hops for the families that are not the session's own. GoBGP takes the session's local address
// for all, and would announce IPv6 with an IPv4-mapped next hop.
func (s *Speaker) beside(p bgp.Peer) map[bgp.Family]netip.Addr {
	own := bgp.IPv6
	if p.Address.Is4() {
		own = bgp.IPv4
	}
	var next map[bgp.Family]netip.Addr
	for _, f := range p.Families {
		if f == own {
			continue
		}
		local, known := s.local[p.Address]
		if !known {
			local = sourceTo(p.Address)
		}
		next = map[bgp.Family]netip.Addr{f: addressBeside(local, f)}
	}
	return next
}

// sessionAddress corrects the next hops when the session does not run over the address that was expected.
func (s *Speaker) sessionAddress(ctx context.Context, peer, local netip.Addr) error {
	s.local[peer] = local
	peers, _ := s.config.ValidPeers()
	soft, err := s.setPolicies(ctx, peers)
	if err != nil {
		return err
	}
	return s.refresh(ctx, soft)
}

// sourceTo returns the address that the kernel would send from; nothing is sent.
func sourceTo(peer netip.Addr) netip.Addr {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(peer, 179)))
	if err != nil {
		return netip.Addr{}
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// addressBeside returns a global address of the family on the interface that has the local address.
func addressBeside(local netip.Addr, f bgp.Family) netip.Addr {
	interfaces, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		found, beside := false, netip.Addr{}
		for _, a := range addresses {
			ipNet, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			address, _ := netip.AddrFromSlice(ipNet.IP)
			address = address.Unmap()
			if address == local.WithZone("") {
				found = true
			}
			if address.Is4() == (f == bgp.IPv4) && address.IsGlobalUnicast() && !beside.IsValid() {
				beside = address
			}
		}
		if found {
			return beside
		}
	}
	return netip.Addr{}
}
