package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route/export"
)

// StaticRoutes are the routes that gateways without BGP are to have to the pods of a cluster.
type StaticRoutes struct {
	Gateways []v1alpha1.Gateway        // good ones, in the order of the DatacenterNetwork
	Routes   map[string][]export.Route // by gateway, in the order of Compare
	Missing  []string                  // PodCIDRs without a route, nodes without PodCIDRs, gateways without nodes, and why; sorted
}

// WantStaticRoutes says which routes the gateways of the DatacenterNetwork in force need, or only the named one; "": all. It
// fails when there is no such gateway.
func WantStaticRoutes(nodes []corev1.Node, networks []v1alpha1.DatacenterNetwork, gateway string) (StaticRoutes, error) {
	all, err := gatewaysOf(networks)
	if err != nil {
		return StaticRoutes{}, err
	}
	want := StaticRoutes{Gateways: all, Routes: map[string][]export.Route{}}
	if gateway != "" {
		want.Gateways = slices.DeleteFunc(slices.Clone(all), func(g v1alpha1.Gateway) bool { return g.Name != gateway })
		if len(want.Gateways) == 0 {
			return StaticRoutes{}, fmt.Errorf("the DatacenterNetwork has no gateway %q; it has %s", gateway, gatewayNames(all))
		}
	}
	exported, refused := exportNodes(nodes, networks)
	want.Missing = refused
	routes, unreached := export.Assign(exportGateways(all), exported)
	for _, u := range unreached {
		want.Missing = append(want.Missing, fmt.Sprintf("%s of %s: %s", u.Prefix, u.Node, u.Reason))
	}
	for _, r := range routes {
		want.Routes[r.Gateway] = append(want.Routes[r.Gateway], r)
	}
	for _, g := range want.Gateways {
		if len(want.Routes[g.Name]) == 0 {
			want.Missing = append(want.Missing, "gateway "+g.Name+": no node has an address in its nodeSubnets")
		}
	}
	slices.Sort(want.Missing)
	return want, nil
}

// gatewaysOf are those of the DatacenterNetwork in force.
func gatewaysOf(networks []v1alpha1.DatacenterNetwork) ([]v1alpha1.Gateway, error) {
	i := slices.IndexFunc(networks, func(d v1alpha1.DatacenterNetwork) bool { return d.Name == v1alpha1.DefaultName })
	if i < 0 {
		return nil, errors.New("there is no DatacenterNetwork named " + v1alpha1.DefaultName + ", whose spec.gateways say which router reaches which nodes")
	}
	if errs := networks[i].Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("DatacenterNetwork %s: %w", v1alpha1.DefaultName, errs.ToAggregate())
	}
	gateways := networks[i].Spec.Gateways
	if len(gateways) == 0 {
		return nil, errors.New("DatacenterNetwork " + v1alpha1.DefaultName + " has no spec.gateways: no router needs static routes")
	}
	return gateways, nil
}

func gatewayNames(gateways []v1alpha1.Gateway) string {
	list := make([]string, len(gateways))
	for i := range gateways {
		list[i] = gateways[i].Name
	}
	return strings.Join(list, ", ")
}

// exportGateways are good ones as the package export has them.
func exportGateways(gateways []v1alpha1.Gateway) []export.Gateway {
	var list []export.Gateway
	for _, g := range gateways {
		one := export.Gateway{Name: g.Name, Address: netip.MustParseAddr(g.Address)}
		for _, s := range g.NodeSubnets {
			one.NodeSubnets = append(one.NodeSubnets, netip.MustParsePrefix(s))
		}
		list = append(list, one)
	}
	return list
}

// exportNodes are the nodes with the PodCIDRs that are their own, and what is said of those that are not.
func exportNodes(nodes []corev1.Node, networks []v1alpha1.DatacenterNetwork) (exported []export.Node, refused []string) {
	verdicts := Judge(nodes, networks)
	for i := range nodes {
		n := export.Node{Name: nodes[i].Name}
		for _, a := range nodes[i].Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
				n.Addresses = append(n.Addresses, addr.Unmap())
			}
		}
		for _, v := range verdicts[n.Name] {
			if v.Conflict != "" {
				refused = append(refused, fmt.Sprintf("%s of %s: %s", v.Prefix, n.Name, v.Conflict))
			} else if prefix, err := v1alpha1.ParsePrefix(v.Prefix); err == nil { // Judge has found it good
				n.PodCIDRs = append(n.PodCIDRs, prefix)
			}
		}
		if len(verdicts[n.Name]) == 0 {
			refused = append(refused, n.Name+": the node has no spec.podCIDRs yet")
		}
		exported = append(exported, n)
	}
	return exported, refused
}
