package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/nat"
)

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "explain", Short: "Why something is in force, or is not"}
	cmd.AddCommand(explainNodeCommand(), explainPolicyCommand())
	return cmd
}

func explainNodeCommand() *cobra.Command {
	var from access
	cmd := &cobra.Command{
		Use:   "node NODE",
		Short: "Everything that is in force on a node of the cluster, and why",
		Long: `Everything that is in force on a node of the cluster, and why: its AS and router ID and where they come from, its PodCIDRs and
whose they are, each BGPPeer and why it is the node's or not, filters, policies in their order, egress addresses, gate, drain,
problems. What should be comes from the objects, by the code that the agent decides with; what is, from the node's report.

It reads Nodes and waymark.io objects by a kubeconfig, and Pods and Namespaces if an EgressPolicy has selectors.

Exit status: 0 it has been printed, good or not, 1 the cluster could not be read, or has no such node.`,
		Example: `  waymark explain node node-7`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := from.open()
			if err != nil {
				return err
			}
			c, err := r.cluster(cmd.Context())
			if err != nil {
				return err
			}
			node, err := c.node(args[0])
			if err != nil {
				return err
			}
			var pods map[string][]corev1.Pod
			var namespaces []corev1.Namespace
			if c.selectsPods() {
				if pods, namespaces, err = r.pods(cmd.Context(), node.Name); err != nil {
					return err
				}
			}
			e := explanation{
				Writer: tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0),
				now:    time.Now(), cluster: c, node: node, state: c.states[node.Name],
			}
			if e.state == nil {
				e.state = &v1alpha1.NodeRoutingState{}
			}
			e.stale = stale(e.now, node, e.state)
			e.plan = agent.Decide(node.Name, c.snapshot(node, e.state.Spec.PodCIDRs, pods[node.Name], namespaces), c.facts(node.Name))
			return e.print()
		},
	}
	from.flags(cmd)
	return cmd
}

// explanation puts what a node reports beside what its objects ask for.
type explanation struct {
	*tabwriter.Writer
	now     time.Time
	cluster *cluster
	node    *corev1.Node
	state   *v1alpha1.NodeRoutingState // what the node is told and says; empty: nothing
	stale   string                     // why it is not to be relied on
	plan    agent.Plan                 // what its agent should make of the objects
}

func (e *explanation) line(format string, args ...any) { fmt.Fprintf(e, format+"\n", args...) }

func (e *explanation) print() error {
	e.identity()
	e.prefixes()
	e.peers()
	e.filters()
	e.policies()
	e.egress()
	e.problems()
	return e.Flush()
}

func (e *explanation) identity() {
	s := &e.state.Status
	switch {
	case s.Reported.IsZero():
		e.line("Node %s has never reported: below is what should be in force there", e.node.Name)
	case e.stale != "":
		e.line("Node %s reported last %s, and %s: it may not be so any more", e.node.Name, ago(e.now, s.Reported.Time), e.stale)
	default:
		e.line("Node %s, agent %s, source addresses by %s, reported %s", e.node.Name, s.Version, s.NATBackend, ago(e.now, s.Reported.Time))
	}
	if b := e.plan.BGP; b != nil {
		e.line("AS %d\t%s", b.ASN, e.origin(v1alpha1.AnnotationASN, "from BGPConfiguration "+v1alpha1.DefaultName))
		e.line("router ID %s\t%s", b.RouterID, e.origin(v1alpha1.AnnotationRouterID, "the first IPv4 address in the Node's status"))
	} else {
		e.line("BGP cannot be decided on: see the end; what was in force stays")
	}
	if s.Drain != nil {
		e.line("drain: %s since %s%s", s.Drain.Phase, ago(e.now, s.Drain.Since.Time), because(s.Drain.Message))
	}
	if !s.Reported.IsZero() {
		gate := "gate: open"
		if !s.Gate.Open {
			gate = "gate: closed, nothing new is announced: " + s.Gate.Reason + because(s.Gate.Message)
		}
		e.line("%s", gate)
	}
}

// origin says where something comes from that an annotation overrides.
func (e *explanation) origin(annotation, otherwise string) string {
	if _, ok := e.node.Annotations[annotation]; ok {
		return "from annotation " + annotation + " of the Node"
	}
	return otherwise
}

func (e *explanation) prefixes() {
	e.line("\nPREFIX\tSTATE\tTHE CONTROLLER SAYS")
	only := *e.cluster
	only.nodes = []corev1.Node{*e.node}
	for _, r := range routesOf(e.now, &only) {
		state := "announced" + because(r.Note)
		if !r.Announced {
			state = "not announced: " + r.Why
		}
		e.line("%s\t%s\t%s", cmp.Or(r.Prefix, "-"), state, e.verdict(r.Prefix))
	}
}

func (e *explanation) verdict(prefix string) string {
	for _, v := range e.state.Spec.PodCIDRs {
		switch {
		case canonical(v.Prefix) != prefix:
		case v.Conflict != "":
			return v.Conflict
		default:
			return "it is this node's"
		}
	}
	return "nothing yet"
}

func (e *explanation) peers() {
	e.line("\nPEER\tADDRESS\tAS\tHOLD\tFAMILIES\tWHY\tSTATE")
	only := *e.cluster
	only.nodes = []corev1.Node{*e.node}
	for _, p := range peersOf(e.now, &only) {
		i := slices.IndexFunc(e.cluster.peers, func(b v1alpha1.BGPPeer) bool { return b.Name == p.Name })
		why := "there is no such BGPPeer any more"
		if i >= 0 {
			why, _ = selected(&e.cluster.peers[i], e.node)
		}
		if len(p.Sessions) == 0 {
			e.line("%s\t%s\t%d\t-\t-\t%s\tnot this node's", p.Name, p.Address, p.ASN, why)
			continue
		}
		s := p.Sessions[0]
		hold, families := "-", "-"
		if planned := e.planned(p.Name); planned != nil {
			s.Address = planned.Address.String()
			hold, families = planned.Timers.Hold.String(), join(planned.Families)
		}
		e.line("%s\t%s\t%d\t%s\t%s\t%s\t%s, %s%s", p.Name, cmp.Or(s.Address, p.Address), p.ASN, hold, families, why,
			s.State, ago(e.now, s.Since.Time), because(s.LastError))
	}
	if len(e.cluster.peers) == 0 {
		e.line("none")
	}
}

// planned is a peer as the node should have it; nil: it should not, or cannot.
func (e *explanation) planned(name string) *bgp.Peer {
	if e.plan.BGP == nil {
		return nil
	}
	i := slices.IndexFunc(e.plan.BGP.Peers, func(p bgp.Peer) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &e.plan.BGP.Peers[i]
}

func (e *explanation) filters() {
	b := e.plan.BGP
	if b == nil {
		return
	}
	e.line("\nFILTER\tRULES, THE FIRST THAT MATCHES DECIDES")
	e.line("learned from all\t%s", rules(b.Accept, "nothing is learned", "all else is refused"))
	for i := range b.Peers {
		p := &b.Peers[i]
		if len(p.Import) > 0 {
			e.line("from %s, before that\t%s", p.Name, rules(p.Import, "", "all else goes on"))
		}
		if len(p.Export) > 0 {
			e.line("to %s\t%s", p.Name, rules(p.Export, "", "all else is announced"))
		}
	}
}

func rules(list []bgp.FilterRule, empty, otherwise string) string {
	if len(list) == 0 {
		return empty
	}
	var texts []string
	for _, r := range list {
		texts = append(texts, fmt.Sprintf("%s %s length %d..%d", strings.ToLower(string(r.Action)), r.Prefix, r.MinLength, r.MaxLength))
	}
	return strings.Join(append(texts, otherwise), "; ")
}

func (e *explanation) policies() {
	e.line("\nPRIORITY\tPOLICY\tSOURCE\tTO\tSTATE")
	var planned []nat.Policy
	if e.plan.NAT != nil {
		planned = e.plan.NAT.Policies
	}
	slices.SortFunc(planned, func(a, b nat.Policy) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range planned {
		to := cmp.Or(join(p.Destinations), "everything")
		if len(p.Exclude) > 0 {
			to += " but " + join(p.Exclude)
		}
		if p.Selects {
			to += fmt.Sprintf(", from %d selected pods", len(p.Pods))
		}
		e.line("%d\t%s\t%s\t%s\t%s", p.Priority, p.Name, p.Source, to, e.applied(p.Name))
	}
	for i := range e.cluster.policies {
		p := &e.cluster.policies[i]
		if !slices.ContainsFunc(planned, func(n nat.Policy) bool { return n.Name == p.Name }) {
			e.line("-\t%s\t%s\t-\tnot in force: see the end", p.Name, p.Spec.Source)
		}
	}
	if len(e.cluster.policies) == 0 {
		e.line("none: pod traffic leaves as the host would treat it without Waymark")
	}
}

// egress are the addresses that the node says it uses or may own.
func (e *explanation) egress() {
	if len(e.state.Status.Egress) == 0 {
		return
	}
	e.line("\nEGRESS ADDRESS\tPOLICIES\tHERE\tOWNER IT SEES\tTHE CONTROLLER SAYS")
	for _, s := range e.state.Status.Egress {
		var policies []string
		is, says := "uses it", "nothing"
		if !s.Uses {
			is = "uses it not"
		}
		for i := range e.cluster.policies {
			p := &e.cluster.policies[i]
			for _, a := range p.Status.Addresses {
				if a.VNI != s.VNI {
					continue
				}
				policies = append(policies, p.Name)
				if len(a.Gateways) > 0 {
					says = a.Gateways[0].Node
				}
				if slices.ContainsFunc(a.Gateways, func(g v1alpha1.EgressOwner) bool { return g.Node == e.node.Name }) {
					is = strings.Replace("gateway, "+is, ", uses it not", "", 1)
				}
			}
		}
		e.line("%s\t%s\t%s\t%s\t%s", cmp.Or(s.Address, ownAddress), orNone(strings.Join(policies, ", ")), is, orNone(s.Owner), says)
	}
}

// applied compares the generation of a policy with the one that the node reports.
func (e *explanation) applied(name string) string {
	var generation int64
	for i := range e.cluster.policies {
		if e.cluster.policies[i].Name == name {
			generation = e.cluster.policies[i].Generation
		}
	}
	for _, p := range e.state.Status.Policies {
		switch {
		case p.Name != name:
		case p.Generation != generation:
			return fmt.Sprintf("generation %d in force, not yet %d", p.Generation, generation)
		default:
			return fmt.Sprintf("generation %d in force", generation)
		}
	}
	return "not reported to be in force"
}

// problems are those that the node reports, or that it will have.
func (e *explanation) problems() {
	var texts []string
	for _, p := range e.state.Status.Problems {
		texts = append(texts, problemText(p))
	}
	if e.state.Status.Reported.IsZero() {
		for _, p := range e.plan.Problems {
			texts = append(texts, p.String())
		}
	}
	if len(texts) > 0 {
		e.line("\nNOT IN FORCE\n%s", strings.Join(texts, "\n"))
	}
}
