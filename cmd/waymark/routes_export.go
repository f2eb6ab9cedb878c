package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route/export"
)

func routesExportCommand() *cobra.Command {
	var from access
	var options exportOptions
	cmd := &cobra.Command{
		Use:   "export",
		Short: "The static routes that gateways without BGP need, in the language of the router",
		Long: `The static routes that gateways without BGP need, in the language of the router. The gateways are those of the
DatacenterNetwork named default. Each is given the routes to the pods of the nodes that have an address in its nodeSubnets.
Routes are sorted: the same cluster is always the same text, to keep in git and to compare.

Formats: ` + wrap(export.Dialects()) + `

What a format has no word for is an error, not left out. Route names are the nodes'; where routes have no name there, it is a
comment. With more than one gateway each begins with a comment line; with one there is nothing but commands (and such names).
A PodCIDR that no gateway reaches, or that is not the node's own, has no route and is named on standard error.

Exit status: 0 all PodCIDRs have a route, 2 some have none, 1 nothing could be written.`,
		Example: `  # what to enter on core1, in the dialect that the DatacenterNetwork says it has
  waymark routes export --gateway core1 > core1.txt

  # from files in place of the cluster, into a VRF of a Huawei router, with a tag to redistribute by
  kubectl get nodes,datacenternetworks -o yaml | waymark routes export --from - --gateway core1 --format huawei-vrp --vrf prod --tag 4200`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := options.read(cmd.Context(), cmd.InOrStdin(), &from)
			if err != nil {
				return err
			}
			text, missing, err := options.export(c)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
				return err
			}
			for _, m := range missing {
				fmt.Fprintln(cmd.ErrOrStderr(), "no route:", m)
			}
			if len(missing) > 0 {
				return errFound
			}
			return nil
		},
	}
	from.flags(cmd)
	options.flags(cmd)
	return cmd
}

// wrap is a list that fits the lines of a help text.
func wrap(list []string) string {
	half := len(list) / 2
	return strings.Join(list[:half], ", ") + ",\n" + strings.Join(list[half:], ", ")
}

type exportOptions struct {
	from, format, gateway, prefix string
	aggregate                     bool
	route                         export.Route // what all routes have in common
}

func (o *exportOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "cluster", "`source` of Nodes and the DatacenterNetwork: cluster, a file, a directory, or - for standard input")
	f.StringVar(&o.format, "format", "", "`format` to write; default: the dialect of the gateways")
	f.StringVar(&o.gateway, "gateway", "", "`name` of the one gateway to write for; default: all")
	f.StringVar(&o.route.VRF, "vrf", "", "`name` of the VRF of the routes; for linux and openbsd the number of a routing table, linux takes both")
	f.StringVar(&o.prefix, "name-prefix", "", "`text` before the node's name in the name of a route")
	f.Int64Var(&o.route.Preference, "preference", 0, "preference, distance or metric of the routes, of which the lower wins, in bird the higher; default: the router's")
	f.Uint32Var(&o.route.Tag, "tag", 0, "tag of the routes, for bird that of OSPF")
	f.BoolVar(&o.route.BFD, "bfd", false, "routes go when BFD finds the node dead")
	f.Uint16Var(&o.route.Track, "track", 0, "`number` of the router's track object that the routes depend on")
	f.BoolVar(&o.aggregate, "aggregate", false, "merge prefixes of a node into one where no packet goes another way for it")
}

// read returns the nodes and networks of the cluster or of files.
func (o *exportOptions) read(ctx context.Context, stdin io.Reader, from *access) (*cluster, error) {
	if o.from == "cluster" {
		return from.read(ctx)
	}
	manifests, err := readManifests(stdin, []string{o.from})
	if err != nil {
		return nil, err
	}
	s, err := goodManifests(manifests)
	if err != nil {
		return nil, err
	}
	return &cluster{nodes: s.Nodes, datacenters: s.Datacenters}, nil
}

// export writes the routes, and says which PodCIDRs have none and why.
func (o *exportOptions) export(c *cluster) (text string, missing []string, err error) {
	all, err := c.gateways()
	if err != nil {
		return "", nil, err
	}
	chosen := all
	if o.gateway != "" {
		chosen = slices.DeleteFunc(slices.Clone(all), func(g v1alpha1.Gateway) bool { return g.Name != o.gateway })
		if len(chosen) == 0 {
			return "", nil, fmt.Errorf("the DatacenterNetwork has no gateway %q; it has %s", o.gateway, names(gatewayNames(all)))
		}
	}
	format := cmp.Or(o.format, chosen[0].Dialect)
	for _, g := range chosen {
		if o.format == "" && g.Dialect != format {
			return "", nil, fmt.Errorf("%s has the dialect %s, and %s has %s: choose one of them with --gateway, or a --format",
				chosen[0].Name, format, g.Name, g.Dialect)
		}
	}

	nodes, missing := c.exportNodes()
	routes, unreached := export.Assign(exportGateways(all), nodes)
	for _, u := range unreached {
		missing = append(missing, fmt.Sprintf("%s of %s: %s", u.Prefix, u.Node, u.Reason))
	}
	byGateway := map[string][]export.Route{}
	for _, r := range routes {
		r.Name = o.prefix + r.Name
		r.VRF, r.Preference, r.Tag, r.BFD, r.Track = o.route.VRF, o.route.Preference, o.route.Tag, o.route.BFD, o.route.Track
		byGateway[r.Gateway] = append(byGateway[r.Gateway], r)
	}
	for _, g := range chosen {
		if len(byGateway[g.Name]) == 0 {
			missing = append(missing, "gateway "+g.Name+": no node has an address in its nodeSubnets")
		}
	}
	slices.Sort(missing)
	text, err = o.write(format, chosen, byGateway)
	return text, missing, err
}

// write gives each gateway a part of the text. Data are one whole: there a route says whose it is.
func (o *exportOptions) write(format string, chosen []v1alpha1.Gateway, routes map[string][]export.Route) (string, error) {
	var parts [][]export.Route
	for _, g := range chosen {
		part := routes[g.Name]
		if o.aggregate {
			part = export.Aggregate(part)
		}
		parts = append(parts, part)
	}
	if format == "json" || format == "csv" {
		return export.Render(format, slices.Concat(parts...))
	}
	var text strings.Builder
	for i, g := range chosen {
		if len(chosen) > 1 {
			text.WriteString(export.Heading(format, g.Name))
		}
		part, err := export.Render(format, parts[i])
		if err != nil {
			return "", fmt.Errorf("gateway %s: %w", g.Name, err)
		}
		text.WriteString(part)
	}
	return text.String(), nil
}

// gateways are those of the DatacenterNetwork in force.
func (c *cluster) gateways() ([]v1alpha1.Gateway, error) {
	i := slices.IndexFunc(c.datacenters, func(d v1alpha1.DatacenterNetwork) bool { return d.Name == v1alpha1.DefaultName })
	if i < 0 {
		return nil, errors.New("there is no DatacenterNetwork named " + v1alpha1.DefaultName + ", whose spec.gateways say which router reaches which nodes")
	}
	if errs := c.datacenters[i].Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("DatacenterNetwork %s: %w", v1alpha1.DefaultName, errs.ToAggregate())
	}
	gateways := c.datacenters[i].Spec.Gateways
	if len(gateways) == 0 {
		return nil, errors.New("DatacenterNetwork " + v1alpha1.DefaultName + " has no spec.gateways: no router needs static routes")
	}
	return gateways, nil
}

func gatewayNames(gateways []v1alpha1.Gateway) []string {
	var list []string
	for _, g := range gateways {
		list = append(list, g.Name)
	}
	return list
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
func (c *cluster) exportNodes() (nodes []export.Node, refused []string) {
	verdicts := agent.Judge(c.nodes, c.datacenters)
	for i := range c.nodes {
		n := export.Node{Name: c.nodes[i].Name}
		for _, a := range c.nodes[i].Status.Addresses {
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
		nodes = append(nodes, n)
	}
	return nodes, refused
}
