package nat

import "net/netip"

// PortUse is how many connections leave with an address. Those to one destination need a port each: there are no more than
// what an Exit gives out, or 64,512 without one.
type PortUse struct {
	Address     netip.Addr
	Connections int              // to all destinations
	Busiest     []DestinationUse // the most used first
}

// DestinationUse is how many connections go to one destination.
type DestinationUse struct {
	Protocol    uint8 // as in the IP header: 6 is TCP, 17 UDP
	Destination netip.AddrPort
	Connections int
}
