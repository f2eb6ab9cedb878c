package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/bgp/neighbor"
)

// router is a BGPPeer at one address.
type router struct {
	peer    string
	address netip.Addr
}

func (r router) compare(other router) int {
	return cmp.Or(cmp.Compare(r.peer, other.peer), r.address.Compare(other.address))
}

// peerings are the routers' sides of the sessions that the nodes' agents would hold, and what is said of those that cannot be.
func (c *cluster) peerings(o *configOptions) (list []neighbor.Peering, missing []string, err error) {
	byRouter := map[router]*neighbor.Peering{}
	accept := c.accepted()
	for i := range c.nodes {
		node := &c.nodes[i]
		plan := agent.Decide(node.Name, agent.Snapshot{
			Synced: true, Nodes: []corev1.Node{*node}, Configurations: c.configurations, Peers: c.peers, Secrets: placeholders(c.peers),
		}, agent.Facts{Told: true})
		for _, p := range plan.Problems {
			if strings.HasPrefix(p.Object, "BGPPeer/") && (o.peer == "" || p.Object == "BGPPeer/"+o.peer) || plan.BGP == nil {
				missing = append(missing, fmt.Sprintf("node %s: %s", node.Name, p))
			}
		}
		if plan.BGP == nil {
			continue
		}
		for _, peer := range plan.BGP.Peers {
			if o.peer != "" && peer.Name != o.peer {
				continue
			}
			address, ok := nodeAddress(node, peer.Address)
			if !ok {
				missing = append(missing, fmt.Sprintf("node %s: it has no InternalIP of the family of BGPPeer %s, %s", node.Name, peer.Name, peer.Address))
				continue
			}
			r := router{peer.Name, peer.Address}
			if byRouter[r] == nil {
				byRouter[r] = c.peering(plan, &peer, accept, o)
			}
			byRouter[r].Nodes = append(byRouter[r].Nodes, neighbor.Node{Name: node.Name, Address: address, ASN: plan.BGP.ASN})
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(byRouter), router.compare) {
		p := byRouter[r]
		if o.neighbors == "range" {
			if p.Ranges, err = c.networks(o, p.Nodes); err != nil {
				return nil, nil, fmt.Errorf("BGPPeer %s: %w", p.Peer, err)
			}
		}
		list = append(list, *p)
	}
	return list, missing, nil
}

// nodeAddress is the one that a node's session with a peer comes from.
func nodeAddress(node *corev1.Node, peer netip.Addr) (netip.Addr, bool) {
	for _, a := range node.Status.Addresses {
		addr, err := netip.ParseAddr(a.Address)
		if addr = addr.Unmap(); err == nil && a.Type == corev1.NodeInternalIP && addr.Is4() == peer.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// peering is what all nodes of a router have in common, taken from the plan of one of them.
func (c *cluster) peering(plan agent.Plan, peer *bgp.Peer, accept *accepted, o *configOptions) *neighbor.Peering {
	p := &neighbor.Peering{
		Peer: peer.Name, Router: peer.Address, ASN: peer.ASN, Port: peer.Port, Hold: peer.Timers.Hold, Keepalive: peer.Timers.Keepalive,
		MultihopTTL: peer.MultihopTTL, TTLSecurity: peer.TTLSecurity, Listens: plan.BGP.ListenPort == 179, Waits: peer.Passive,
		OwnAS: peer.AllowOwnAS > 0,
	}
	if plan.BGP.GracefulRestart.Enabled {
		p.RestartTime = plan.BGP.GracefulRestart.RestartTime
	}
	spec := c.peers[slices.IndexFunc(c.peers, func(b v1alpha1.BGPPeer) bool { return b.Name == peer.Name })].Spec
	if key := spec.PasswordSecret; key != nil {
		p.Password = fmt.Sprintf("key %q of Secret %s/%s", key.Key, key.Namespace, key.Name)
	}
	for _, s := range plan.BFD {
		if s.Peer == peer.Address {
			p.BFD = neighbor.BFD{Interval: s.Timing.DesiredMinTx, Multiplier: s.Timing.DetectMult, Multihop: spec.Multihop != nil || peer.TTLSecurity > 1 || c.far(peer.Address, o)}
		}
	}
	for _, list := range [][]string{c.attached(), spec.Attributes.Communities, spec.Attributes.LargeCommunities} {
		for _, community := range list {
			if !slices.Contains(p.Communities, community) {
				p.Communities = append(p.Communities, community)
			}
		}
	}
	for _, f := range peer.Families {
		family := accept.family(f, peer.Export)
		if o.send == "accepted" {
			for _, r := range plan.BGP.Accept {
				if bgp.FamilyOf(r.Prefix) == f {
					family.Send = append(family.Send, neighbor.Range{Prefix: r.Prefix, Min: r.MinLength, Max: r.MaxLength})
				}
			}
		}
		p.Families = append(p.Families, family)
	}
	return p
}

// far says that the router is on none of the nodes' networks, as far as those are known.
func (c *cluster) far(address netip.Addr, o *configOptions) bool {
	known := c.knownNetworks(o)
	return len(known) > 0 && !slices.ContainsFunc(known, func(p netip.Prefix) bool { return p.Contains(address) })
}

// attached are the communities on all that nodes announce.
func (c *cluster) attached() []string {
	for i := range c.configurations {
		if c.configurations[i].Name == v1alpha1.DefaultName {
			return c.configurations[i].Spec.Advertise.Communities
		}
	}
	return nil
}

// knownNetworks of nodes are those that the command was told, or else those that gateways of the DatacenterNetwork reach.
func (c *cluster) knownNetworks(o *configOptions) []netip.Prefix {
	known := o.networks
	if len(known) == 0 {
		for _, g := range c.gateways() {
			for _, text := range g.NodeSubnets {
				if prefix, err := v1alpha1.ParsePrefix(text); err == nil {
					known = append(known, prefix)
				}
			}
		}
	}
	return known
}

// networks are those that the nodes are in, sorted.
func (c *cluster) networks(o *configOptions, nodes []neighbor.Node) ([]netip.Prefix, error) {
	known := c.knownNetworks(o)
	var used []netip.Prefix
	for _, n := range nodes {
		i := slices.IndexFunc(known, func(p netip.Prefix) bool { return p.Contains(n.Address) })
		if i < 0 {
			return nil, fmt.Errorf("the network of node %s, %s, is not known: name it by --subnet", n.Name, n.Address)
		}
		if !slices.Contains(used, known[i]) {
			used = append(used, known[i])
		}
	}
	slices.SortFunc(used, netip.Prefix.Compare)
	return used, nil
}
