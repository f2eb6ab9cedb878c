package nat

import (
	"fmt"
	"net/netip"
)

// PortUse is how many connections leave with an address. Those to one destination need a port each: there are no more than
// what an Exit gives out, or 64,512 without one.
type PortUse struct {
	Address     netip.Addr       `json:"address"`
	Connections int              `json:"connections"`       // to all destinations
	Busiest     []DestinationUse `json:"busiest,omitempty"` // the most used first
}

// DestinationUse is how many connections go to one destination.
type DestinationUse struct {
	Protocol    uint8          `json:"protocol"` // as in the IP header: 6 is TCP, 17 UDP
	Destination netip.AddrPort `json:"destination"`
	Connections int            `json:"connections"`
}

// ProtocolName is the usual name of the protocol; of one that is not common its number.
func (d DestinationUse) ProtocolName() string {
	switch d.Protocol {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	}
	return fmt.Sprint(d.Protocol)
}

// String is the destination without its count, as "tcp 203.0.113.9:443".
func (d DestinationUse) String() string { return d.ProtocolName() + " " + d.Destination.String() }
