package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/agent"
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

With --redistribute the commands follow by which the router passes these static routes on to its neighbours, and no others: with
--tag a filter that matches the tag, which stays as it is while nodes come and go, so choose a tag that nothing else has; else one
with the exact prefixes, to be entered again when they change. The protocol itself must be there. IPv6 goes into OSPFv3.

Exit status: 0 all PodCIDRs have a route, 2 some have none, 1 nothing could be written.`,
		Example: `  # what to enter on core1, in the dialect that the DatacenterNetwork says it has
  waymark routes export --gateway core1 > core1.txt

  # from files in place of the cluster, into a VRF of a Huawei router, with a tag to redistribute by
  kubectl get nodes,datacenternetworks -o yaml | waymark routes export --from - --gateway core1 --format huawei-vrp --vrf prod --tag 4200

  # and into OSPF process 1 of that router
  waymark routes export --gateway core1 --tag 4200 --redistribute ospf:1`,
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
	cmd.Flags().StringVar(&options.redistribute, "redistribute", "", "also write how the router passes exactly these routes on into a `protocol`: ospf[:PROCESS], isis[:TAG], eigrp:AS, bgp:AS")
	return cmd
}

// wrap is a list that fits the lines of a help text.
func wrap(list []string) string {
	half := len(list) / 2
	return strings.Join(list[:half], ", ") + ",\n" + strings.Join(list[half:], ", ")
}

type exportOptions struct {
	from, format, gateway string
	redistribute          string // into a protocol; "": not
	common                export.Common
}

func (o *exportOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "cluster", "`source` of Nodes and the DatacenterNetwork: cluster, a file, a directory, or - for standard input")
	f.StringVar(&o.format, "format", "", "`format` to write; default: the dialect of the gateways")
	f.StringVar(&o.gateway, "gateway", "", "`name` of the one gateway to write for; default: all")
	f.StringVar(&o.common.VRF, "vrf", "", "`name` of the VRF of the routes; for linux and openbsd the number of a routing table, linux takes both")
	f.StringVar(&o.common.NamePrefix, "name-prefix", "", "`text` before the node's name in the name of a route")
	f.Int64Var(&o.common.Preference, "preference", 0, "preference, distance or metric of the routes, of which the lower wins, in bird the higher; default: the router's")
	f.Uint32Var(&o.common.Tag, "tag", 0, "tag of the routes, for bird that of OSPF")
	f.BoolVar(&o.common.BFD, "bfd", false, "routes go when BFD finds the node dead")
	f.Uint16Var(&o.common.Track, "track", 0, "`number` of the router's track object that the routes depend on")
	f.BoolVar(&o.common.Aggregate, "aggregate", false, "merge prefixes of a node into one where no packet goes another way for it")
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
	return &cluster{nodes: s.Nodes, datacenters: s.Datacenters, pools: s.Pools}, nil
}

// export writes the routes, and says which PodCIDRs have none and why.
func (o *exportOptions) export(c *cluster) (text string, missing []string, err error) {
	want, err := agent.WantStaticRoutes(c.nodes, c.datacenters, o.gateway)
	if err != nil {
		return "", nil, err
	}
	first := want.Gateways[0]
	format := cmp.Or(o.format, first.Dialect)
	for _, g := range want.Gateways {
		if o.format == "" && g.Dialect != format {
			return "", nil, fmt.Errorf("%s has the dialect %s, and %s has %s: choose one of them with --gateway, or a --format",
				first.Name, format, g.Name, g.Dialect)
		}
	}
	text, err = o.write(format, want)
	return text, want.Missing, err
}

// write gives each gateway a part of the text. Data are one whole: there a route says whose it is.
func (o *exportOptions) write(format string, want agent.StaticRoutes) (string, error) {
	var parts [][]export.Route
	for _, g := range want.Gateways {
		parts = append(parts, o.common.Apply(want.Routes[g.Name]))
	}
	if (format == "json" || format == "csv") && o.redistribute == "" {
		return export.Render(format, slices.Concat(parts...))
	}
	var text strings.Builder
	for i, g := range want.Gateways {
		if len(parts) > 1 {
			text.WriteString(export.Heading(format, g.Name))
		}
		part, err := export.Render(format, parts[i])
		if err != nil {
			return "", fmt.Errorf("gateway %s: %w", g.Name, err)
		}
		text.WriteString(part)
		if o.redistribute == "" {
			continue
		}
		into, err := export.ParseRedistribution(o.redistribute)
		if err != nil {
			return "", fmt.Errorf("--redistribute: %w", err)
		}
		if part, err = export.Redistribute(format, parts[i], into); err != nil {
			return "", fmt.Errorf("gateway %s: --redistribute: %w", g.Name, err)
		}
		text.WriteString(part)
	}
	return text.String(), nil
}
