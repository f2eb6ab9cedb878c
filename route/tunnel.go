package route

import (
	"net/netip"
	"strconv"
)

// The numbers that mark a tunnel's parts as ours.
const (
	TunnelPort   = 8479      // UDP, of the outer header (RFC 7348 has 4789, which other programs use already)
	TunnelPrefix = "waymark" // of device names; the VNI follows in decimal
	// TunnelProtocol is the protocol number of routes, rules and proxy neighbours: not that of learned routes, so that neither
	// takes the other's for its own.
	TunnelProtocol = 180
	// RulePriority of the rules that lead marked packets to the tables of their paths. One before and one after it are rules
	// that let all other packets pass these.
	RulePriority = 179
	TableBase    = 1790000 // plus the mark of a path: the kernel table that leads into its tunnel
)

// Tunnels is the whole desired state of what leads from pods to egress gateways, on the nodes of the pods and on the gateways.
type Tunnels struct {
	// Local are the node's addresses that tunnels use, at most one of each family: outer headers have the one of the family
	// of the gateway's address. None: there can be no tunnels.
	Local []netip.Addr
	// Mask of the packet mark, and how far a path's Mark is shifted in it.
	Mask  uint32
	Shift uint8
	Paths []TunnelPath
	Exits []TunnelExit
	// Gateways are the addresses of all gateway nodes, this one's too if it is one: of what family the outer headers are.
	Gateways []netip.Addr
}

// TunnelPath is the way to one gateway for one egress address: packets with the mark are sent to the gateway in a tunnel
// whose VNI names the address.
type TunnelPath struct {
	Mark    uint16
	VNI     uint32     // 1..16777215
	Gateway netip.Addr // the node's
}

// TunnelExit is the gateway's end.
type TunnelExit struct {
	VNI     uint32
	Address netip.Addr // egress address; invalid: the node's own, nothing but the device is needed
	// Partner is the other gateway that may have the connection of a packet to Address that none here knows: it is handed
	// over through the tunnel. Invalid: there is none, and such a packet is dropped.
	Partner netip.Addr
	// Owns says that this node is the address's owner: on a network that Address lies in it answers ARP and neighbour
	// solicitations, and it says so unasked when it becomes the owner (RFC 5227 section 3, RFC 4861 section 7.2.6).
	Owns bool
}

// Underlay is how tunnels fit the network.
type Underlay struct {
	Device string // that the node's address is on
	MTU    int    // of the tunnel devices; 0: there is no such device
}

// TunnelDevice is the name of a VNI's device.
func TunnelDevice(vni uint32) string { return TunnelPrefix + strconv.FormatUint(uint64(vni), 10) }

// TunnelResult is what an apply has reached.
type TunnelResult struct {
	Changed  bool // something has been written
	Repaired bool // and this although the same had been applied before: somebody else had altered it
}
