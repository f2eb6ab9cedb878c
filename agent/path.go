package agent

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route/export"
	"github.com/waymark-bgp/waymark/route/probe"
)

// GatewayPaths are the pod subnets that a gateway has routes to, and who may be on the way to them.
func GatewayPaths(gateway string, gateways []v1alpha1.Gateway, routes []export.Route, nodes []corev1.Node) (*probe.Network, []probe.Target) {
	n := &probe.Network{Gateway: gateway, Gateways: map[netip.Addr]string{}, Nodes: map[netip.Addr]string{}}
	for _, g := range gateways {
		if a, err := netip.ParseAddr(g.Address); err == nil {
			n.Gateways[a] = g.Name
			if g.Name == gateway {
				n.Addresses = append(n.Addresses, a)
			}
		}
	}
	for i := range nodes {
		for _, a := range nodes[i].Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil { // others are names
				n.Nodes[addr.Unmap()] = nodes[i].Name
			}
		}
	}
	var targets []probe.Target
	for _, r := range routes {
		targets = append(targets, probe.Target{Prefix: r.Prefix, Node: r.Name, Addresses: probe.Addresses(r.Prefix)})
	}
	return n, targets
}
