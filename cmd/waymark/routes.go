package main

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

func routesCommand() *cobra.Command {
	var from access
	var output string
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "Which node announces which prefix, and which prefixes should be announced and are not",
		Long: `Which node announces which prefix, and which prefixes should be announced and are not, and why: a drain, the gate, an owner
elsewhere, an agent that does not report. Egress addresses are announced by all their gateways.

It reads Nodes and waymark.io objects, with the agents' reports, by a kubeconfig. For gateways without BGP there are the commands
below it, which write their static routes, compare them and prove them.

Exit status: 0 the prefixes have been printed, 1 the cluster could not be read.`,
		Example: `  waymark routes
  waymark routes -o json --context staging`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := from.read(cmd.Context())
			if err != nil {
				return err
			}
			routes := routesOf(time.Now(), c)
			return show(cmd.OutOrStdout(), output, routes, func(w io.Writer) error { return printRoutes(w, routes) })
		},
	}
	from.flags(cmd)
	outputFlag(cmd, &output)
	cmd.AddCommand(routesExportCommand(), routesDiffCommand(), routesVerifyCommand())
	return cmd
}

// routeView is a prefix and the node that announces it, or should.
type routeView struct {
	Prefix    string `json:"prefix"`
	Node      string `json:"node"`
	Announced bool   `json:"announced"`      // as the node last reported
	Why       string `json:"why,omitempty"`  // it is not announced
	Note      string `json:"note,omitempty"` // what is odd about one that is
}

// routesOf are all prefixes that nodes announce or should, by address.
func routesOf(now time.Time, c *cluster) []routeView {
	routes := []routeView{}
	i := slices.IndexFunc(c.configurations, func(b v1alpha1.BGPConfiguration) bool { return b.Name == v1alpha1.DefaultName })
	for j := range c.nodes {
		node := &c.nodes[j]
		state := c.states[node.Name]
		wanted := podCIDRs(node)
		why := stale(now, node, state)
		if state != nil {
			for _, prefix := range state.Status.Announced {
				r := routeView{Prefix: prefix, Node: node.Name, Announced: true, Note: why}
				if egress := c.egressOf(prefix); egress != nil {
					r.Note = cmp.Or(why, egress.part(node.Name))
				} else if !slices.Contains(wanted, prefix) {
					r.Note = "it is not in the node's spec.podCIDRs any more"
				} else if conflict := verdictOf(state, prefix).Conflict; conflict != "" {
					r.Note = conflict
				} else if why == "" && state.Status.Established == 0 {
					r.Note = "no session of the node is up: no peer knows it"
				}
				routes = append(routes, r)
			}
		}
		if i >= 0 && !isFalse(c.configurations[i].Spec.Advertise.EgressAddresses) {
			routes = append(routes, c.unannouncedEgress(node, why)...)
		}
		for _, prefix := range wanted {
			switch {
			case state != nil && slices.Contains(state.Status.Announced, prefix):
				continue
			case i < 0:
				why = "there is no BGPConfiguration named " + v1alpha1.DefaultName
			case isFalse(c.configurations[i].Spec.Advertise.PodCIDRs):
				continue // nobody wants that
			}
			routes = append(routes, routeView{Prefix: prefix, Node: node.Name, Why: unannounced(why, state, prefix)})
		}
		if len(wanted) == 0 {
			routes = append(routes, routeView{Node: node.Name, Why: "the node has no spec.podCIDRs yet"})
		}
	}
	slices.SortStableFunc(routes, func(a, b routeView) int {
		x, _ := netip.ParsePrefix(a.Prefix)
		y, _ := netip.ParsePrefix(b.Prefix)
		return cmp.Or(x.Compare(y), strings.Compare(a.Node, b.Node))
	})
	return routes
}

func isFalse(b *bool) bool { return b != nil && !*b }

// egressOf is the egress address that a prefix is; nil: it is none.
func (c *cluster) egressOf(prefix string) *egressRoute {
	for i := range c.policies {
		for j := range c.policies[i].Status.Addresses {
			if a := &c.policies[i].Status.Addresses[j]; a.Address != "" && hostPrefix(a.Address) == prefix {
				return &egressRoute{a, c.policies[i].Name}
			}
		}
	}
	return nil
}

// egressRoute is an egress address that gateways announce.
type egressRoute struct {
	*v1alpha1.EgressAddress
	policy string
}

// part is what a node has to do with the address.
func (e *egressRoute) part(node string) string {
	switch i := slices.IndexFunc(e.Gateways, func(g v1alpha1.EgressOwner) bool { return g.Node == node }); i {
	case -1:
		return "egress address of " + e.policy + ", but the node is no gateway of it any more"
	case 0:
		return "egress address of " + e.policy + ", first of its gateways"
	}
	return "egress address of " + e.policy + ", standby"
}

// unannouncedEgress are the egress addresses that a gateway should announce and does not.
func (c *cluster) unannouncedEgress(node *corev1.Node, known string) []routeView {
	var routes []routeView
	state := c.states[node.Name]
	for i := range c.policies {
		for _, a := range c.policies[i].Status.Addresses {
			prefix := hostPrefix(a.Address)
			named := slices.ContainsFunc(routes, func(r routeView) bool { return r.Prefix == prefix }) // shared with another policy
			mine := slices.ContainsFunc(a.Gateways, func(g v1alpha1.EgressOwner) bool { return g.Node == node.Name })
			if a.Address == "" || named || !mine || state != nil && slices.Contains(state.Status.Announced, prefix) {
				continue
			}
			routes = append(routes, routeView{Prefix: prefix, Node: node.Name, Why: unannounced(known, state, prefix)})
		}
	}
	return routes
}

// unannounced is why a node does not announce a prefix, known if it does not report.
func unannounced(known string, state *v1alpha1.NodeRoutingState, prefix string) string {
	if known != "" {
		return known
	}
	p, _ := netip.ParsePrefix(prefix) // it was one before it was a text
	return agent.Withheld(state, p)
}

// verdictOf is what the controller has said of a prefix; the zero value: nothing.
func verdictOf(state *v1alpha1.NodeRoutingState, prefix string) v1alpha1.PrefixVerdict {
	if state != nil {
		for _, v := range state.Spec.PodCIDRs {
			if canonical(v.Prefix) == prefix {
				return v
			}
		}
	}
	return v1alpha1.PrefixVerdict{}
}

// podCIDRs are the node's, as agents write prefixes.
func podCIDRs(n *corev1.Node) []string {
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		return []string{canonical(n.Spec.PodCIDR)}
	}
	var prefixes []string
	for _, text := range n.Spec.PodCIDRs {
		prefixes = append(prefixes, canonical(text))
	}
	return prefixes
}

func canonical(text string) string {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.String()
	}
	return text
}

func printRoutes(w io.Writer, routes []routeView) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(p, "PREFIX\tNODE\tNOTE\n")
	announced := 0
	for _, r := range routes {
		if r.Announced {
			announced++
			fmt.Fprintf(p, "%s\t%s\t%s\n", r.Prefix, r.Node, r.Note)
		}
	}
	if announced == 0 {
		fmt.Fprintln(p, "none")
	}
	if announced < len(routes) {
		fmt.Fprintf(p, "\nNOT ANNOUNCED\tNODE\tWHY\n")
	}
	for _, r := range routes {
		if !r.Announced {
			fmt.Fprintf(p, "%s\t%s\t%s\n", cmp.Or(r.Prefix, "-"), r.Node, r.Why)
		}
	}
	return p.Flush()
}
