package registry

import (
	"fmt"
	"net/netip"
	"strings"
)

// Cluster is what a judgement has to know. What is not known is empty, and not judged by.
type Cluster struct {
	Nodes      []Node
	Pods       map[netip.Addr]string // namespace/name of those that run and have an address of their own; nil: not known
	Services   map[netip.Addr]string // namespace/name of those that have the address, as cluster, external or balancer's; nil: not known
	Egress     map[netip.Addr]string // egress addresses, by policy or pool
	PodCIDRs   []netip.Prefix        // of the cluster, pods and services, whichever node has them
	Datacenter []netip.Prefix        // networks of the datacenter
	Bridges    []Bridge              // networks of containers that are known to be on hosts
}

// Node is a node of the cluster and what its agent says.
type Node struct {
	Name      string
	Addresses []netip.Addr
	PodCIDRs  []netip.Prefix
	Unknown   string // why what follows is not known; empty: it is
	Announced []netip.Prefix
	Withheld  string // why it does not announce its PodCIDRs; empty: no reason is known
	Sessions  []Session
	Learned   int // routes
}

// Session is one BGP session of a node.
type Session struct {
	Peer string
	Up   bool
	Why  string // it is down
}

// Bridge is a network of containers that lives on one host.
type Bridge struct {
	Prefix netip.Prefix
	Name   string // of the device, or of who makes such networks
	Seen   bool   // the device is on this host: whatever answers there is nobody that others reach
}

// usual networks of containers: what Docker, Podman, libvirt and LXC take unless they are told otherwise. A datacenter may use
// the same ranges, so by themselves they are only a suspicion.
var usual = []Bridge{
	{Prefix: netip.MustParsePrefix("172.17.0.0/16"), Name: "docker0"},
	{Prefix: netip.MustParsePrefix("172.18.0.0/15"), Name: "Docker"},
	{Prefix: netip.MustParsePrefix("172.20.0.0/14"), Name: "Docker"},
	{Prefix: netip.MustParsePrefix("172.24.0.0/13"), Name: "Docker"},
	{Prefix: netip.MustParsePrefix("10.88.0.0/16"), Name: "Podman"},
	{Prefix: netip.MustParsePrefix("10.0.3.0/24"), Name: "LXC"},
	{Prefix: netip.MustParsePrefix("192.168.122.0/24"), Name: "libvirt"},
}

var (
	sharedAddresses = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	anyOf4          = netip.MustParsePrefix("0.0.0.0/8")
	broadcast       = netip.MustParsePrefix("240.0.0.0/4")
)

// Class is what kind of address somebody has registered.
type Class string

// The classes, in the order in which they are asked.
const (
	Name            Class = "Name" // to be resolved by each consumer
	Loopback        Class = "Loopback"
	LinkLocal       Class = "LinkLocal"
	Unusable        Class = "Unusable" // unspecified, multicast, reserved
	PodAddress      Class = "Pod"
	NodeAddress     Class = "Node"
	EgressAddress   Class = "Egress"  // with which pods leave: nobody listens there
	ServiceAddress  Class = "Service" // of Kubernetes
	ContainerBridge Class = "ContainerBridge"
	Datacenter      Class = "Datacenter"
	Private         Class = "Private" // of nobody that is known
	Public          Class = "Public"
)

// place is what is known of an address.
type place struct {
	class  Class
	node   *Node        // that has it
	prefix netip.Prefix // of the node, that it lies in
	whose  string       // pod, service, policy
	bridge Bridge
}

// find says what a host is. It goes through nodes and prefixes: index them first where many are asked for.
func (c *index) find(host string) place {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, 6.3
			return place{class: Loopback}
		}
		return place{class: Name}
	}
	addr = addr.Unmap().WithZone("")
	switch {
	case addr.IsLoopback():
		return place{class: Loopback}
	case addr.IsLinkLocalUnicast():
		return place{class: LinkLocal}
	case addr.IsUnspecified() || addr.IsMulticast() || anyOf4.Contains(addr) || broadcast.Contains(addr):
		return place{class: Unusable}
	}
	if n, ok := c.nodes[addr]; ok {
		return place{class: NodeAddress, node: n}
	}
	if node, prefix := c.podCIDR(addr); node != nil {
		return place{class: PodAddress, node: node, prefix: prefix, whose: c.Pods[addr]}
	}
	if name, ok := c.Services[addr]; ok {
		return place{class: ServiceAddress, whose: name}
	}
	if name, ok := c.Pods[addr]; ok {
		return place{class: PodAddress, whose: name}
	}
	if name, ok := c.Egress[addr]; ok {
		return place{class: EgressAddress, whose: name}
	}
	if b, ok := bridgeOf(c.Bridges, addr); ok {
		return place{class: ContainerBridge, bridge: b}
	}
	if contains(c.PodCIDRs, addr) {
		return place{class: PodAddress}
	}
	if contains(c.Datacenter, addr) {
		return place{class: Datacenter}
	}
	if b, ok := bridgeOf(usual, addr); ok {
		return place{class: ContainerBridge, bridge: b}
	}
	if addr.IsPrivate() || sharedAddresses.Contains(addr) {
		return place{class: Private}
	}
	return place{class: Public}
}

func bridgeOf(bridges []Bridge, addr netip.Addr) (Bridge, bool) {
	for _, b := range bridges {
		if b.Prefix.Contains(addr) {
			return b, true
		}
	}
	return Bridge{}, false
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// index finds nodes by addresses: a registry has thousands of these, and a cluster thousands of those.
type index struct {
	*Cluster
	nodes    map[netip.Addr]*Node
	podCIDRs map[netip.Prefix]*Node
	lengths  map[int]bool // of podCIDRs
}

func (c *Cluster) index() *index {
	x := &index{c, map[netip.Addr]*Node{}, map[netip.Prefix]*Node{}, map[int]bool{}}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		for _, a := range n.Addresses {
			x.nodes[a] = n
		}
		for _, p := range n.PodCIDRs {
			x.podCIDRs[p] = n
			x.lengths[p.Bits()] = true
		}
	}
	return x
}

func (c *index) podCIDR(addr netip.Addr) (*Node, netip.Prefix) {
	for bits := range c.lengths {
		if p, err := addr.Prefix(bits); err == nil && c.podCIDRs[p] != nil {
			return c.podCIDRs[p], p
		}
	}
	return nil, netip.Prefix{}
}

// WayBack says why answers to a pod's address do not find it, as far as the cluster knows; false: nothing is known to be wrong.
func (c *Cluster) WayBack(pod netip.Addr) (Finding, bool) {
	node, prefix := c.index().podCIDR(pod)
	if node == nil {
		return Finding{}, false
	}
	_, reason, why := node.announced(prefix)
	if reason == "" {
		return Finding{}, false
	}
	return Finding{NoRouteBack, "answers to " + pod.String() + " do not find it: " + why}, true
}

// announced says at which peers a prefix of the node is, or why it is at none.
func (n *Node) announced(prefix netip.Prefix) (peers []string, reason Reason, why string) {
	if n.Unknown != "" {
		return nil, "", ""
	}
	found := false
	for _, a := range n.Announced {
		found = found || a.Bits() <= prefix.Bits() && a.Contains(prefix.Addr())
	}
	if !found {
		why = fmt.Sprintf("%s does not announce %s", n.Name, prefix)
		if n.Withheld != "" {
			why += ": " + n.Withheld
		}
		return nil, NotAnnounced, why
	}
	var down []string
	for _, s := range n.Sessions {
		if s.Up {
			peers = append(peers, s.Peer)
		} else {
			down = append(down, s.Peer+" ("+s.Why+")")
		}
	}
	switch {
	case len(peers) > 0:
		return peers, "", ""
	case len(down) > 0:
		return nil, NotAtPeer, fmt.Sprintf("%s announces %s to nobody, its sessions are down: %s", n.Name, prefix, strings.Join(down, ", "))
	}
	return nil, NotAtPeer, fmt.Sprintf("%s announces %s to nobody: it has no peers", n.Name, prefix)
}
