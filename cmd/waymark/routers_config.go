package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp/neighbor"
)

func routersConfigCommand() *cobra.Command {
	var from source
	var options configOptions
	cmd := &cobra.Command{
		Use:   "config",
		Short: "The configuration that a router needs for its sessions with the nodes, in its language",
		Long: `The configuration that a router needs for its sessions with the nodes, in its language: neighbours, AS numbers, timers, BFD,
hops, graceful restart, address families, and filters. It is what the agents of the nodes expect from the same objects. A BGPPeer
whose address comes from a Node annotation may be many routers: each has a part of the text.

Formats: ` + strings.Join(neighbor.Dialects(), ", ") + `

The router accepts the pod subnets of the nodes, egress addresses and those of pools, with their lengths, and nothing else. Where
DatacenterNetwork spec.clusterCIDRs has the range that pod subnets are taken from, that is accepted, in the lengths that there
are; else each subnet by itself, and a new node needs a new configuration. A limit of prefixes ends the session of a node that
says too much. The router sends everything; --send accepted: only what nodes take (spec.learn.accept of the BGPConfiguration).

With --neighbors range the router takes any node of the nodes' networks: those of --subnet, or else the nodeSubnets of the
gateways of the DatacenterNetwork. The key of a session is never written: <PASSWORD> takes its place. What is set elsewhere on
the router, as BFD's intervals at an interface, is said in comments. The same objects are always the same text, to keep in git.

Exit status: 0 done, 2 done, but some nodes are left out (told on standard error), 1 nothing could be written.`,
		Example: `  # what to enter on the router of BGPPeer rr1
  waymark routers config --peer rr1 --format frr

  # from files, with neighbours by range
  kubectl get nodes,bgpconfigurations,bgppeers,egresspolicies,addresspools,datacenternetworks -o yaml |
    waymark routers config --from - --peer rr1 --format huawei-vrp --neighbors range --subnet 10.132.2.0/24`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := options.check(); err != nil {
				return err
			}
			c, _, err := from.read(cmd.Context(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			text, missing, err := options.config(c)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
				return err
			}
			for _, m := range missing {
				fmt.Fprintln(cmd.ErrOrStderr(), "left out:", m)
			}
			if len(missing) > 0 {
				return errFound
			}
			return nil
		},
	}
	from.flags(cmd, "all objects")
	options.flags(cmd)
	return cmd
}

type configOptions struct {
	peer, format, neighbors, send string
	subnets                       []string
	networks                      []netip.Prefix // of subnets
}

func (o *configOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.format, "format", "", "`format` to write; default: the dialect of the gateway of the DatacenterNetwork that has the router's address")
	f.StringVar(&o.peer, "peer", "", "`name` of the one BGPPeer to write for; default: all")
	f.StringVar(&o.neighbors, "neighbors", "each", "`which` neighbours to write: each: one for each node; range: any address of the nodes' networks")
	f.StringArrayVar(&o.subnets, "subnet", nil, "`prefix` of a network of the nodes; may be repeated")
	f.StringVar(&o.send, "send", "all", "`what` the router announces to nodes: all, or accepted: what they take")
}

func (o *configOptions) check() error {
	switch {
	case o.neighbors != "each" && o.neighbors != "range":
		return fmt.Errorf("--neighbors %s: want each or range", o.neighbors)
	case o.send != "all" && o.send != "accepted":
		return fmt.Errorf("--send %s: want all or accepted", o.send)
	}
	o.networks = nil
	for _, text := range o.subnets {
		prefix, err := v1alpha1.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("--subnet %s: %w", text, err)
		}
		o.networks = append(o.networks, prefix)
	}
	return nil
}

// config writes the routers' configurations, one after the other, and says which nodes are in none and why.
func (o *configOptions) config(c *cluster) (text string, missing []string, err error) {
	if o.peer != "" && !slices.ContainsFunc(c.peers, func(p v1alpha1.BGPPeer) bool { return p.Name == o.peer }) {
		return "", nil, fmt.Errorf("there is no BGPPeer %q; there are %s", o.peer, orNone(names(peerNames(c.peers))))
	}
	if len(c.configurations) == 0 {
		return "", nil, errors.New("there is no BGPConfiguration: beside Nodes it takes that and the BGPPeers to know the sessions")
	}
	peerings, missing, err := c.peerings(o)
	if err != nil {
		return "", nil, err
	}
	if len(peerings) == 0 {
		return "", nil, errors.New("no node has a session to configure" + because(names(missing)))
	}
	for i := range peerings {
		p := &peerings[i]
		format := cmp.Or(o.format, c.dialectOf(p.Router))
		if format == "" {
			return "", nil, fmt.Errorf("BGPPeer %s: no gateway of the DatacenterNetwork has %s, so its dialect is not known: set --format", p.Peer, p.Router)
		}
		part, err := neighbor.Render(format, p)
		if err != nil {
			return "", nil, err
		}
		text += part
	}
	return text, missing, nil
}

func peerNames(peers []v1alpha1.BGPPeer) []string {
	var list []string
	for i := range peers {
		list = append(list, peers[i].Name)
	}
	return list
}

// dialectOf is that of the gateway with an address; "": there is none.
func (c *cluster) dialectOf(router netip.Addr) string {
	for _, g := range c.gateways() {
		if a, err := netip.ParseAddr(g.Address); err == nil && a.Unmap() == router {
			return g.Dialect
		}
	}
	return ""
}

// gateways of the DatacenterNetwork in force; none: it has none.
func (c *cluster) gateways() []v1alpha1.Gateway {
	if d := c.datacenter(); d != nil {
		return d.Spec.Gateways
	}
	return nil
}

// datacenter is the DatacenterNetwork in force; nil: there is none.
func (c *cluster) datacenter() *v1alpha1.DatacenterNetwork {
	for i := range c.datacenters {
		if c.datacenters[i].Name == v1alpha1.DefaultName {
			return &c.datacenters[i]
		}
	}
	return nil
}
