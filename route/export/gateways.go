package export

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Gateway is a router that is given routes.
type Gateway struct {
	Name        string
	Address     netip.Addr
	NodeSubnets []netip.Prefix // the networks of the nodes that it reaches
}

// Node is where pods are.
type Node struct {
	Name      string
	Addresses []netip.Addr   // the first of a family that a gateway reaches is the next hop
	PodCIDRs  []netip.Prefix // without host bits
}

// Unreached is a prefix that no gateway has a route to, and why.
type Unreached struct {
	Node   string
	Prefix netip.Prefix
	Reason string
}

// Assign gives each gateway the routes to the pods of those nodes that have an address in its subnets. More than one gateway
// may reach a node. The routes are in the order of Compare.
func Assign(gateways []Gateway, nodes []Node) (routes []Route, unreached []Unreached) {
	for _, n := range nodes {
		for _, prefix := range n.PodCIDRs {
			found := false
			for _, g := range gateways {
				hop, ok := g.nextHop(n, prefix)
				if !ok {
					continue
				}
				found = true
				r := Route{Gateway: g.Name, Prefix: prefix, NextHop: hop, Name: n.Name}
				if g.Address.IsValid() && g.Address.Is4() == hop.Is4() {
					r.Source = g.Address
				}
				routes = append(routes, r)
			}
			if !found {
				unreached = append(unreached, Unreached{n.Name, prefix, n.why(prefix, gateways)})
			}
		}
	}
	slices.SortFunc(routes, Route.Compare)
	slices.SortFunc(unreached, func(a, b Unreached) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), a.Prefix.Compare(b.Prefix))
	})
	return routes, unreached
}

func (g *Gateway) nextHop(n Node, prefix netip.Prefix) (netip.Addr, bool) {
	for _, a := range n.Addresses {
		if a.Is4() == prefix.Addr().Is4() && a != g.Address && slices.ContainsFunc(g.NodeSubnets, func(s netip.Prefix) bool { return s.Contains(a) }) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// why says what keeps gateways from reaching a prefix of the node.
func (n *Node) why(prefix netip.Prefix, gateways []Gateway) string {
	var same []string
	for _, a := range n.Addresses {
		if a.Is4() == prefix.Addr().Is4() {
			same = append(same, a.String())
		}
	}
	if len(same) == 0 {
		name := "IPv6"
		if prefix.Addr().Is4() {
			name = "IPv4"
		}
		return fmt.Sprintf("the node has no %s address", name)
	}
	for _, g := range gateways {
		if slices.Contains(same, g.Address.String()) {
			return fmt.Sprintf("%s is the address of gateway %s", g.Address, g.Name)
		}
	}
	return fmt.Sprintf("no gateway has %s in its nodeSubnets", strings.Join(same, " or "))
}
