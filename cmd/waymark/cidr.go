package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/ipam"
	"github.com/waymark-bgp/waymark/route/export"
)

// shownFindings is how many findings of a range are printed.
const shownFindings = 10

func cidrCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cidr", Short: "The address ranges of a cluster", Args: cobra.NoArgs}
	cmd.AddCommand(cidrCheckCommand())
	return cmd
}

func cidrCheckCommand() *cobra.Command {
	var from access
	var o cidrOptions
	var output string
	cmd := &cobra.Command{
		Use:   "check --cluster CIDR[,CIDR] --nodes N",
		Short: "Before a cluster is built: are its ranges free, large enough, for how long, and which would do instead",
		Long: `Before a cluster is built: are its ranges free, large enough, for how long, and which would do instead.

What the datacenter uses is said by --datacenter, which may be repeated. Each is one of
  FILE       manifests with a DatacenterNetwork and Nodes; a list of prefixes, with comments after #; or the routing table of a
             router as "show ip route", "display ip routing-table", "show route", "ip route", "birdc show route",
             "/ip route print", "route -n show" or "gobgp global rib" print it, JSON, or CSV with a line of names.
             - is standard input, and of a directory all manifests are read.
  cluster    the DatacenterNetworks, node addresses and PodCIDRs of a running cluster
  agent      what the agent on this machine has learned by BGP

A range must overlap none of that. A default route is no overlap. A route to something larger than the range is a doubt: an
aggregate does no harm, but the network team may have given the addresses to somebody. Other doubts are Docker's 172.17.0.0/16,
carriers' 100.64.0.0/10, public addresses, and fewer addresses on a node than a kubelet runs pods.

Ranges that would do are of the same size, or of the right one if that is too small, free, and near by: in the same private block
(RFC 1918, RFC 4193; RFC 6598 if the range is in it), and if that is full in another.

Lines that seem to have a route and cannot be read are named, and count as found: what they say may overlap.

Exit status: 0 all ranges fit, perhaps with doubts; 2 something speaks against one, or a line could not be read; 1 error.`,
		Example: `  # dual stack, 100 nodes to begin with, a third more each year, beside what a core router knows
  ssh core1 'display ip routing-table' > core1.txt
  waymark cidr check --cluster 10.131.0.0/16,fd00:131::/48 --service 10.130.0.0/20,fd00:130::/108 \
    --nodes 100 --per-node /24,/64 --growth 33% --datacenter core1.txt

  # beside a cluster that is there, and what BGP says on this node
  waymark cidr check --cluster 10.140.0.0/16 --nodes 50 --datacenter cluster --datacenter agent`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := o.plan()
			if err != nil {
				return err
			}
			view := cidrView{Nodes: plan.Nodes, Growth: plan.Growth, Sources: []cidrSource{}}
			for _, name := range o.datacenter {
				source, claims, err := o.source(cmd.Context(), cmd.InOrStdin(), &from, name)
				if err != nil {
					return err
				}
				view.Sources = append(view.Sources, source)
				plan.Used = append(plan.Used, claims...)
			}
			verdicts, err := plan.Check()
			if err != nil {
				return err
			}
			view.judge(verdicts)
			if err := show(cmd.OutOrStdout(), output, view, view.print); err != nil {
				return err
			}
			if !view.Fits {
				return errFound
			}
			return nil
		},
	}
	o.flags(cmd)
	from.flags(cmd)
	outputFlag(cmd, &output)
	return cmd
}

type cidrOptions struct {
	cluster, service, perNode, datacenter []string
	nodes                                 int
	growth, runDir                        string
}

func (o *cidrOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&o.cluster, "cluster", nil, "`CIDRs` for pods, one of each family (--cluster-cidr of kube-controller-manager)")
	f.StringSliceVar(&o.service, "service", nil, "`CIDRs` for Services, one of each family (--service-cluster-ip-range)")
	f.IntVar(&o.nodes, "nodes", 0, "`number` of nodes at the beginning")
	f.StringSliceVar(&o.perNode, "per-node", nil, "`length` of a node's prefix, for each CIDR for pods (--node-cidr-mask-size); default: /24 and /64")
	f.StringVar(&o.growth, "growth", "0%", "`percent` more nodes each year")
	f.StringArrayVar(&o.datacenter, "datacenter", nil, "`source` of what the datacenter uses: FILE, a directory, -, cluster or agent; may be repeated")
	f.StringVar(&o.runDir, "run-dir", "/run/waymark", "run `directory` of the agent")
}

// plan is what the options say of the cluster.
func (o *cidrOptions) plan() (ipam.Plan, error) {
	p := ipam.Plan{Nodes: o.nodes}
	if len(o.cluster) == 0 || o.nodes == 0 {
		return p, errors.New("--cluster and --nodes are missing: what is to be checked, and for how many nodes")
	}
	if len(o.perNode) > len(o.cluster) {
		return p, fmt.Errorf("--per-node has %d lengths for %d CIDRs of --cluster", len(o.perNode), len(o.cluster))
	}
	growth, err := strconv.ParseFloat(strings.TrimSuffix(o.growth, "%"), 64)
	if err != nil {
		return p, fmt.Errorf("--growth %s: want a percentage, as 30%%", o.growth)
	}
	p.Growth = growth / 100
	for i, s := range o.cluster {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return p, fmt.Errorf("--cluster: %w", err)
		}
		r := ipam.Range{Prefix: prefix, PerNode: 64}
		if prefix.Addr().Is4() {
			r.PerNode = 24
		}
		if i < len(o.perNode) {
			if r.PerNode, err = strconv.Atoi(strings.TrimPrefix(o.perNode[i], "/")); err != nil {
				return p, fmt.Errorf("--per-node %s: want a length, as /24", o.perNode[i])
			}
		}
		p.Cluster = append(p.Cluster, r)
	}
	for _, s := range o.service {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return p, fmt.Errorf("--service: %w", err)
		}
		p.Service = append(p.Service, prefix)
	}
	return p, nil
}

// cidrView is what is found.
type cidrView struct {
	Fits    bool         `json:"fits"`
	Nodes   int          `json:"nodes"`
	Growth  float64      `json:"growth"` // a year
	Ranges  []cidrRange  `json:"ranges"`
	Sources []cidrSource `json:"sources"`
}

type cidrRange struct {
	Prefix    netip.Prefix   `json:"prefix"`
	For       string         `json:"for"` // pods or Services
	Fits      bool           `json:"fits"`
	PerNode   int            `json:"perNode,omitempty"`
	Capacity  uint64         `json:"capacity,omitempty"` // nodes
	Years     *float64       `json:"years,omitempty"`    // until it is full; absent: it does not grow, or has no room now
	Findings  []cidrFinding  `json:"findings"`
	Proposals []netip.Prefix `json:"proposals"`
}

type cidrFinding struct {
	Reason  ipam.Reason `json:"reason"`
	Message string      `json:"message"`
	Doubt   bool        `json:"doubt"` // it alone does not speak against the range
}

func (v *cidrView) judge(verdicts []ipam.Verdict) {
	v.Fits = true
	for i := range verdicts {
		one := &verdicts[i]
		r := cidrRange{Prefix: one.Prefix, For: "pods", Fits: one.Fits(), PerNode: one.PerNode, Capacity: one.Capacity, Findings: []cidrFinding{}, Proposals: list(one.Proposals)}
		if one.Service {
			r.For = "Services"
		}
		if one.Years > 0 {
			years := math.Round(one.Years*10) / 10
			r.Years = &years
		}
		for _, f := range one.Findings {
			r.Findings = append(r.Findings, cidrFinding(f))
		}
		v.Ranges = append(v.Ranges, r)
		v.Fits = v.Fits && r.Fits
	}
	for _, s := range v.Sources {
		v.Fits = v.Fits && len(s.Unread) == 0
	}
}

func (v *cidrView) print(w io.Writer) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(p, "RANGE\tFOR\tROOM\tFULL AT %g%% A YEAR\tVERDICT\n", math.Round(v.Growth*1000)/10)
	for _, r := range v.Ranges {
		room, full, verdict := "-", "-", "fits"
		if r.For == "pods" {
			room = fmt.Sprintf("%d of %d nodes, /%d each", v.Nodes, r.Capacity, r.PerNode)
			switch {
			case r.Years != nil:
				full = fmt.Sprintf("in %.1f years", *r.Years)
			case uint64(v.Nodes) >= r.Capacity:
				full = "now"
			default:
				full = "never"
			}
		}
		switch {
		case !r.Fits:
			verdict = "does not fit"
		case len(r.Findings) > 0:
			verdict = "fits, with doubts"
		}
		fmt.Fprintf(p, "%s\t%s\t%s\t%s\t%s\n", r.Prefix, r.For, room, full, verdict)
	}
	if err := p.Flush(); err != nil {
		return err
	}
	for _, r := range v.Ranges {
		r.print(w)
	}
	fmt.Fprintln(w)
	if len(v.Sources) == 0 {
		fmt.Fprintln(w, "Nothing is known of the datacenter's networks: name them by --datacenter.")
	}
	for _, s := range v.Sources {
		s.print(w)
	}
	return nil
}

func (r *cidrRange) print(w io.Writer) {
	if len(r.Findings) > 0 {
		fmt.Fprintf(w, "\n%s for %s:\n", r.Prefix, r.For)
	}
	for i, f := range r.Findings {
		if i == shownFindings {
			fmt.Fprintf(w, "  and %d more, which -o json has\n", len(r.Findings)-i)
			break
		}
		sign := "!"
		if f.Doubt {
			sign = "?"
		}
		fmt.Fprintf(w, "  %s %s\n", sign, f.Message)
	}
	switch {
	case len(r.Proposals) > 0:
		fmt.Fprintf(w, "  would do: %s\n", names(texts(r.Proposals)))
	case !r.Fits:
		fmt.Fprintln(w, "  no private range of the right size is free")
	}
}

func texts(prefixes []netip.Prefix) []string {
	var all []string
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return all
}

// cidrSource is what has been read from one place.
type cidrSource struct {
	Source   string          `json:"source"`
	Networks int             `json:"networks"` // what is said to be in use
	Routes   int             `json:"routes"`   // different ones
	Unread   []export.Unread `json:"unread"`
}

func (s *cidrSource) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %d networks, %d routes, %d lines that could not be read\n", s.Source, s.Networks, s.Routes, len(s.Unread))
	for _, u := range s.Unread {
		fmt.Fprintf(w, "  line %d: %s: %s\n", u.Line, u.Reason, u.Text)
	}
}

// cluster takes what a cluster has in use.
func (s *cidrSource) cluster(c *cluster) []ipam.Claim {
	var claims []ipam.Claim
	take := func(kind ipam.Kind, name, text string) {
		if p, err := v1alpha1.ParsePrefix(text); err == nil {
			claims = append(claims, ipam.Claim{Kind: kind, Name: name, Prefix: p.Masked()})
		}
	}
	for i := range c.datacenters {
		d := &c.datacenters[i]
		for _, text := range append(list(d.Spec.CIDRs), d.Spec.ClusterCIDRs...) {
			take(ipam.DatacenterNetwork, d.Name, text)
		}
	}
	for i := range c.nodes {
		n := &c.nodes[i]
		for _, text := range podCIDRs(n) {
			take(ipam.Node, n.Name, text)
		}
		for _, a := range n.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil {
				take(ipam.NodeAddress, n.Name, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()).String())
			}
		}
	}
	s.Networks = len(claims)
	return claims
}
