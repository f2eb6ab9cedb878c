// Package nat decides with which source address a pod's traffic leaves its node. It is pure: nat/nftables and nat/iptables
// write the decision into the kernel.
package nat

import "net/netip"

// Source is the source address that matched traffic leaves with.
type Source string

// The sources of the EgressPolicy object.
const (
	SourcePod  Source = "Pod"  // the pod's own address, whatever other tables on the host would do
	SourceNode Source = "Node" // masquerade behind the node
	// SourceGateway is a pinned address, which the traffic gets from a gateway that it is sent to.
	SourceGateway Source = "Gateway"
	// SourceDrop is no address: what has no gateway may not leave. Only a Fallback.
	SourceDrop Source = "Drop"
)

// MarkMask are the bits of the packet mark and of the connection mark that name a path. The other bits are of others:
// kube-proxy has 0x4000 and 0x8000.
const (
	MarkMask  = 0x3ff00000
	MarkShift = 20
	MaxMark   = MarkMask >> MarkShift
)

// Policy is one EgressPolicy as far as this node is concerned.
type Policy struct {
	Name string `json:"name"`
	// Pods that the policy is about, if Selects; else it is about all.
	Pods         []netip.Addr   `json:"pods,omitempty"`
	Selects      bool           `json:"selects,omitempty"`
	Priority     int            `json:"priority"`               // lower first; ties by name
	Destinations []netip.Prefix `json:"destinations,omitempty"` // none: everything but the pods of this node
	Exclude      []netip.Prefix `json:"exclude,omitempty"`      // of Destinations: these the policy does not match, a later one may
	Source       Source         `json:"source"`
	// Via, with SourceGateway, are the paths of new connections, one for each egress address, always in the order of the
	// addresses. Several of one family are spread by the hash of the pod's address. A family without one gets Fallback.
	Via      []Path `json:"via,omitempty"`
	Fallback Source `json:"fallback,omitempty"` // SourceDrop, SourceNode or SourcePod
}

// Path is a way out through one gateway to one egress address. A connection stays on the path that it began on, named by its
// mark, as long as the mark's tunnel or exit is there.
type Path struct {
	Mark uint16 `json:"mark"` // 1..MaxMark, at MarkShift in the marks
	IPv4 bool   `json:"ipv4,omitempty"`
	IPv6 bool   `json:"ipv6,omitempty"`
}

// Exit is where traffic to one egress address leaves the tunnels: this node is, or may be, its gateway. It says nothing of
// who owns the address now: what arrives by the tunnel leaves with the address.
type Exit struct {
	Mark uint16 `json:"mark"` // of the connections that leave here: what the tunnel brings gets it, pods of this node have it from a Path
	// Device is the tunnel that other nodes' pods come from.
	Device string `json:"device"`
	// Address that it leaves with; invalid: the node's own, for both families.
	Address netip.Addr `json:"address,omitzero"`
	// First and Last port that is given out. Two gateways of one address that take turns use halves, so that connections
	// that stay with the one and new ones of the other never meet. Both 0: any port.
	First uint16 `json:"first,omitempty"`
	Last  uint16 `json:"last,omitempty"`
}

// Tunnel is what all tunnels of the node have in common.
type Tunnel struct {
	Port  uint16         // UDP, of the outer header; 0: there are no tunnels
	Peers []netip.Prefix // who may send to Port; everybody else is dropped
	// Gateways are the nodes that tunnels lead to. What pods send to their addresses takes no path: it would have the mark of
	// the outer packets, which go there untunnelled.
	Gateways []netip.Addr
	MTU      int // of the tunnel devices: TCP on a path is kept from sending larger segments
	// Prefix of the names of tunnel devices. What comes from one tunnel never goes into another.
	Prefix string
}

// Plan is the whole desired state of source addresses on this node.
type Plan struct {
	Pods     []netip.Prefix // pod prefixes of this node, both families: what policies speak of, and the pods that they select
	Policies []Policy       // in any order
	// Wary: a new pod sends before its labels are known. What pods send that are not Known, to where a policy sends selected pods
	// through a gateway, is dropped, lest it leaves with another address.
	Wary   bool
	Known  []netip.Addr // pods of which it is known which policies select them
	Exits  []Exit       // in any order
	Tunnel Tunnel
}

// Result is what an apply has reached.
type Result struct {
	Changed  bool
	Repaired bool // what was there was not what we left there
}
