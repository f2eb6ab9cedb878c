package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/route/probe"
	"github.com/waymark-bgp/waymark/route/probe/host"
)

func routesVerifyCommand() *cobra.Command {
	var from access
	options := verifyOptions{prober: host.Default}
	cmd := &cobra.Command{
		Use:   "verify --gateway NAME",
		Short: "Whether the way from this machine to each pod subnet really goes through the gateway and the subnet's node",
		Long: `Whether the way from this machine to each pod subnet that the gateway has a route to goes through that gateway and the
subnet's node. Without --probe the kernel of this machine is asked where it would send packets; nothing is sent.

--probe asks everybody on the way, as traceroute does, for one address in each subnet: the first, which is the node's bridge;
where that is silent, as with network plugins that have no bridge, an address near the end, then a running pod of the node if a
cluster is asked. It sends UDP to ports from 33435 on, and echo requests if it may (as root, or by net.ipv4.ping_group_range);
it needs no rights. What it says of a subnet:

  right          the node answers, or says that the packet has come to it, and no other node does
  wrong node     another node is on the way, which may well forward
  wrong gateway  another gateway is on the way, or gets the packets from this machine
  loop           the packet comes to a router again
  unreachable    a router knows no way on, or the node is not there
  filtered       a router refuses the packet; the subnet may still be where it should
  silent         nobody answers: a firewall, a node that is down, or a router that has said too much of late
  unproven       an answer comes, but nobody shows that it is from behind the node: another one may be hidden on the way
  own            this machine is the node: ask from another one
  aside          packets from this machine do not pass the gateway: it has a way of its own
  untried        the time of --timeout was over before
  sent           only without --probe: this machine sends to the gateway, or to a router that may lead to it

Where "filtered" or "unreachable" names a router that is neither the gateway nor behind it, probe from elsewhere.

Nodes send to each other's pods by ways of their own. Where the gateway is on a network of this machine, probes therefore leave by
that network's device. Routers limit how many ICMP messages they send, so each answer is waited for several times.

Exit status: 0 all but the own one are right (without --probe: sent to the gateway), 2 others are not, or a PodCIDR has no route, 1 error.`,
		Example: `  # from an admin's machine or a node of another rack
  waymark routes verify --gateway core1 --probe

  # without the cluster: all verdicts, with everybody who answered on the way
  waymark routes verify --from cluster.json --gateway core1 --probe -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := options.verify(cmd.Context(), cmd.InOrStdin(), &from)
			if err != nil {
				return err
			}
			err = show(cmd.OutOrStdout(), options.output, v, func(w io.Writer) error { return v.print(w, options.all) })
			if err == nil && !v.good() {
				err = errFound
			}
			return err
		},
	}
	from.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&options.from, "from", "cluster", "`source` of Nodes and the DatacenterNetwork: cluster, a file, a directory, or - for standard input")
	f.StringVar(&options.gateway, "gateway", "", "`name` of the gateway; may be left out if there is one only")
	f.BoolVar(&options.probe, "probe", false, "send packets, and hear who is on the way")
	f.BoolVar(&options.all, "all", false, "list the subnets that are right too")
	f.DurationVar(&options.prober.Wait, "wait", options.prober.Wait, "`time` to wait for an answer, of which each probe has three")
	f.IntVar(&options.prober.Parallel, "parallel", options.prober.Parallel, "`number` of subnets to look at at the same time, at most 64")
	f.DurationVar(&options.timeout, "timeout", 5*time.Minute, "`time` for all probes")
	outputFlag(cmd, &options.output)
	return cmd
}

type verifyOptions struct {
	exportOptions
	probe, all bool
	prober     host.Prober
	timeout    time.Duration
	output     string
}

// verifyView is what was found, as programs read it.
type verifyView struct {
	Gateway  string          `json:"gateway"`
	Probed   bool            `json:"probed"`
	Summary  string          `json:"summary"`
	Findings []probe.Finding `json:"findings"`
	Missing  []string        `json:"missing,omitempty"` // what has no route at all
	Note     string          `json:"note,omitempty"`    // what could not be done
}

func (o *verifyOptions) verify(ctx context.Context, stdin io.Reader, from *access) (*verifyView, error) {
	switch {
	case o.prober.Parallel < 1 || o.prober.Parallel > host.Default.Parallel:
		return nil, fmt.Errorf("--parallel %d: want 1 to %d", o.prober.Parallel, host.Default.Parallel)
	case o.prober.Wait <= 0 || o.timeout <= 0:
		return nil, errors.New("--wait and --timeout must be more than 0s")
	}
	c, err := o.read(ctx, stdin, from)
	if err != nil {
		return nil, err
	}
	all, err := agent.WantStaticRoutes(c.nodes, c.datacenters, "")
	if err != nil {
		return nil, err
	}
	if o.gateway == "" && len(all.Gateways) > 1 {
		return nil, errors.New("the DatacenterNetwork has several gateways: choose one of them with --gateway")
	}
	want, err := agent.WantStaticRoutes(c.nodes, c.datacenters, cmp.Or(o.gateway, all.Gateways[0].Name))
	if err != nil {
		return nil, err
	}
	name := want.Gateways[0].Name
	network, targets := agent.GatewayPaths(name, all.Gateways, want.Routes[name], c.nodes)
	v := &verifyView{Gateway: name, Probed: o.probe, Missing: want.Missing}
	if o.probe {
		err = o.run(ctx, v, network, targets, from)
	} else {
		v.Findings, err = host.Leave(network, targets)
	}
	v.Summary = probe.Summary(v.Findings)
	return v, err
}

// podsAsked is of how many silent nodes the API server is asked for pods.
const podsAsked = 100

// run probes all targets, and those that are silent once more with pods, if there is a cluster that knows them.
func (o *verifyOptions) run(ctx context.Context, v *verifyView, network *probe.Network, targets []probe.Target, from *access) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	var err error
	v.Findings, err = o.prober.Run(ctx, network, targets)
	if err != nil || o.from != "cluster" {
		return err
	}
	r, err := from.open()
	if err != nil {
		return err
	}
	var silent []int
	var again []probe.Target
	for i, f := range v.Findings {
		if f.Verdict != probe.Silent || len(again) == podsAsked {
			continue
		}
		pod, err := r.podIn(ctx, f.Prefix, f.Node)
		if err != nil {
			v.Note = err.Error()
			break
		}
		if pod.IsValid() {
			silent = append(silent, i)
			again = append(again, probe.Target{Prefix: f.Prefix, Node: f.Node, Addresses: []netip.Addr{pod}})
		}
	}
	more, err := o.prober.Run(ctx, network, again)
	for j, f := range more {
		if f.Verdict != probe.Silent && f.Verdict != probe.Untried {
			v.Findings[silent[j]] = f
		}
	}
	return err
}

// podIn is the address of a running pod in a subnet of the node; the zero value: there is none.
func (r *reader) podIn(ctx context.Context, prefix netip.Prefix, node string) (netip.Addr, error) {
	var pods corev1.PodList
	err := r.core.Get().Resource("pods").Param("fieldSelector", "status.phase=Running,spec.nodeName="+node).Do(ctx).Into(&pods)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list pods of node %s, to probe one where the node is silent: %w", node, err)
	}
	for i := range pods.Items {
		if pods.Items[i].Spec.HostNetwork || pods.Items[i].DeletionTimestamp != nil {
			continue
		}
		for _, ip := range pods.Items[i].Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil && prefix.Contains(a.Unmap()) {
				return a.Unmap(), nil
			}
		}
	}
	return netip.Addr{}, nil
}

func (v *verifyView) good() bool {
	return len(v.Missing) == 0 && !slices.ContainsFunc(v.Findings, func(f probe.Finding) bool { return !v.fine(f) })
}

func (v *verifyView) fine(f probe.Finding) bool {
	return f.Verdict == probe.Right || f.Verdict == probe.Own || !v.Probed && f.Verdict == probe.Sent
}

// print lists what is not right, or all.
func (v *verifyView) print(w io.Writer, all bool) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	heading := false
	for _, f := range v.Findings {
		if !all && v.fine(f) {
			continue
		}
		if !heading {
			heading = true
			fmt.Fprintln(p, "SUBNET\tNODE\tVERDICT\tPROBED\tWHY")
		}
		fmt.Fprintf(p, "%s\t%s\t%s\t%s\t%s\n", f.Prefix, f.Node, f.Verdict, orDash(f.Address), cmp.Or(f.Reason, "-"))
	}
	if err := p.Flush(); err != nil {
		return err
	}
	for _, m := range v.Missing {
		fmt.Fprintln(w, "no route:", m)
	}
	if v.Note != "" {
		fmt.Fprintln(w, "note:", v.Note)
	}
	what := "subnets behind"
	if len(v.Findings) == 1 {
		what = "subnet behind"
	}
	_, err := fmt.Fprintf(w, "%d %s %s: %s\n", len(v.Findings), what, v.Gateway, cmp.Or(v.Summary, "none"))
	return err
}

func orDash(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}
