package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

func explainPolicyCommand() *cobra.Command {
	var from access
	cmd := &cobra.Command{
		Use:   "policy POLICY",
		Short: "Where an EgressPolicy is in force, by which gateways, and where it is not and why",
		Long: `Where an EgressPolicy is in force, by which gateways, and where it is not and why. Of each egress address it has the gateways in
the order that the controller has chosen, the owner that the nodes see, and why a gateway is not good; of each node whether pods
use the policy, and its failovers.

It reads Nodes and waymark.io objects, with the agents' reports, by a kubeconfig.

Exit status: 0 it has been printed, in force or not, 1 the cluster could not be read, or has no such policy.`,
		Example: `  waymark explain policy datacenter-sees-pods`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := from.read(cmd.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(c.policies, func(p v1alpha1.EgressPolicy) bool { return p.Name == args[0] })
			if i < 0 {
				return fmt.Errorf("there is no EgressPolicy %q", args[0])
			}
			e := policyExplanation{
				Writer: tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0),
				now:    time.Now(), cluster: c, policy: &c.policies[i],
			}
			return e.print()
		},
	}
	from.flags(cmd)
	return cmd
}

// policyExplanation puts what the controller says of a policy beside what the nodes report.
type policyExplanation struct {
	*tabwriter.Writer
	now     time.Time
	cluster *cluster
	policy  *v1alpha1.EgressPolicy
}

func (e *policyExplanation) line(format string, args ...any) { fmt.Fprintf(e, format+"\n", args...) }

func (e *policyExplanation) print() error {
	e.identity()
	if e.policy.Spec.Gateway != nil {
		e.addresses()
	}
	e.nodes()
	return e.Flush()
}

func (e *policyExplanation) identity() {
	s := &e.policy.Spec
	priority := int32(1000)
	if s.Priority != nil {
		priority = *s.Priority
	}
	e.line("EgressPolicy %s, generation %d, priority %d, source %s", e.policy.Name, e.policy.Generation, priority, s.Source)
	e.line("from\t%s", pods(s.Pods))
	to := slices.Clone(s.Destinations)
	if s.DestinationsFrom != "" {
		to = append(to, "the cidrs of "+s.DestinationsFrom)
	}
	if len(to) == 0 {
		to = []string{"everything outside the cluster"}
	}
	but := ""
	if len(s.ExcludeDestinations) > 0 {
		but = ", but not to " + strings.Join(s.ExcludeDestinations, ", ")
	}
	e.line("to\t%s%s", strings.Join(to, ", "), but)
	if g := s.Gateway; g != nil {
		wants := ownAddress
		switch {
		case g.Pool != "":
			wants = "one of each family of AddressPool " + g.Pool
		case len(g.Addresses) > 0:
			wants = strings.Join(g.Addresses, ", ")
		}
		e.line("with the address\t%s", wants)
		e.line("by nodes\t%s", chosen(g.NodeSelector, "all"))
		e.line("without a gateway\t%s", cmp.Or(g.Fallback, v1alpha1.FallbackDrop))
	}
	for _, c := range e.policy.Status.Conditions {
		note := ""
		if c.ObservedGeneration != e.policy.Generation {
			note = fmt.Sprintf(" (of generation %d)", c.ObservedGeneration)
		}
		e.line("condition %s\t%s: %s%s%s", c.Type, c.Status, c.Reason, because(c.Message), note)
	}
}

func pods(p *v1alpha1.PodSelection) string {
	if p == nil {
		return "all pods"
	}
	return fmt.Sprintf("pods with %s, in namespaces with %s", chosen(p.PodSelector, "any labels"), chosen(p.NamespaceSelector, "any labels"))
}

// chosen is what a selector asks for.
func chosen(s *metav1.LabelSelector, all string) string {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return all
	}
	return metav1.FormatLabelSelector(s)
}

// addresses says of each address who may own it, and who says that who does.
func (e *policyExplanation) addresses() {
	if len(e.policy.Status.Addresses) == 0 {
		e.line("\nIt has no address: %s", cmp.Or(e.conditionMessage(v1alpha1.ConditionValid), "the controller has given it none yet"))
	}
	for _, a := range e.policy.Status.Addresses {
		others := ""
		for i := range e.cluster.policies {
			p := &e.cluster.policies[i]
			if p.Name != e.policy.Name && slices.ContainsFunc(p.Status.Addresses, func(b v1alpha1.EgressAddress) bool { return b.VNI == a.VNI }) {
				others += ", shared with " + p.Name
			}
		}
		e.line("\nADDRESS %s, VNI %d, term %d%s", cmp.Or(a.Address, ownAddress), a.VNI, a.Term, others)
		e.owners(a)
		e.line("PLACE\tGATEWAY\tTUNNELS TO\tSTATE")
		for place, g := range a.Gateways {
			e.line("%d\t%s\t%s\t%s", place+1, g.Node, g.Address, e.gateway(a, g))
		}
		if len(a.Gateways) == 0 {
			e.line("no gateway: %s", cmp.Or(e.conditionMessage(v1alpha1.ConditionValid), "no node may own it"))
		}
	}
	e.unlisted()
}

func (e *policyExplanation) conditionMessage(kind string) string {
	for _, c := range e.policy.Status.Conditions {
		if c.Type == kind && c.Status == metav1.ConditionFalse {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

// owners are those that the nodes see, besides the one that the controller says.
func (e *policyExplanation) owners(a v1alpha1.EgressAddress) {
	if len(a.Gateways) > 0 {
		e.line("owner, as the controller says\t%s", a.Gateways[0].Node)
	}
	seen := e.cluster.owners(e.now, a.VNI)
	for _, owner := range slices.Sorted(maps.Keys(seen)) {
		self := ""
		if slices.Contains(seen[owner], owner) {
			self = ", itself too"
		}
		e.line("owner, as nodes see it\t%s\ton %s%s", orNone(owner), names(seen[owner]), self)
	}
}

// owners are the nodes that see each owner of an address; those that do not report count for nothing.
func (c *cluster) owners(now time.Time, vni int32) map[string][]string {
	seen := map[string][]string{}
	for i := range c.nodes {
		name := c.nodes[i].Name
		if s := c.egress(name, vni); s != nil && stale(now, &c.nodes[i], c.states[name]) == "" {
			seen[s.Owner] = append(seen[s.Owner], name)
		}
	}
	return seen
}

// egress is what a node reports of an address; nil: it has nothing to do with it.
func (c *cluster) egress(node string, vni int32) *v1alpha1.EgressState {
	state := c.states[node]
	if state == nil {
		return nil
	}
	i := slices.IndexFunc(state.Status.Egress, func(s v1alpha1.EgressState) bool { return s.VNI == vni })
	if i < 0 {
		return nil
	}
	return &state.Status.Egress[i]
}

// gateway is in which state a gateway is, as far as anybody says.
func (e *policyExplanation) gateway(a v1alpha1.EgressAddress, g v1alpha1.EgressOwner) string {
	var parts []string
	if g.Leaving {
		parts = append(parts, "leaving: it keeps its connections for a while")
	}
	node, err := e.cluster.node(g.Node)
	if err != nil {
		return strings.Join(append(parts, "there is no such Node any more"), "; ")
	}
	state := e.cluster.states[g.Node]
	if why := stale(e.now, node, state); why != "" {
		parts = append(parts, why)
	} else if e.cluster.egress(g.Node, a.VNI) == nil {
		parts = append(parts, "it has not taken it up yet"+because(problemOf(state, "EgressPolicy/"+e.policy.Name)))
	}
	if state != nil && state.Status.Drain != nil {
		parts = append(parts, strings.ToLower(state.Status.Drain.Phase))
	}
	var dead []string
	for i := range e.cluster.nodes {
		name := e.cluster.nodes[i].Name
		if s := e.cluster.egress(name, a.VNI); s != nil && slices.Contains(s.Dead, g.Node) && stale(e.now, &e.cluster.nodes[i], e.cluster.states[name]) == "" {
			dead = append(dead, name)
		}
	}
	if len(dead) > 0 {
		parts = append(parts, "does not answer "+names(dead))
	}
	if announced := a.Address != "" && state != nil && slices.Contains(state.Status.Announced, hostPrefix(a.Address)); announced {
		parts = append(parts, "announces the address")
	}
	return cmp.Or(strings.Join(parts, "; "), "good")
}

func hostPrefix(address string) string {
	if strings.Contains(address, ":") {
		return canonical(address + "/128")
	}
	return address + "/32"
}

// unlisted are the nodes that are selected and may own nothing.
func (e *policyExplanation) unlisted() {
	selector, err := v1alpha1.Selector(e.policy.Spec.Gateway.NodeSelector)
	if err != nil || len(e.policy.Status.Addresses) == 0 {
		return
	}
	for i := range e.cluster.nodes {
		node := &e.cluster.nodes[i]
		listed := slices.ContainsFunc(e.policy.Status.Addresses, func(a v1alpha1.EgressAddress) bool {
			return slices.ContainsFunc(a.Gateways, func(g v1alpha1.EgressOwner) bool { return g.Node == node.Name })
		})
		if !selector.Matches(labels.Set(node.Labels)) || listed {
			continue
		}
		why := cmp.Or(stale(e.now, node, e.cluster.states[node.Name]), unlistedWhy(node))
		e.line("selected, but in no list\t%s: %s", node.Name, why)
	}
}

func unlistedWhy(n *corev1.Node) string {
	switch {
	case agent.Leaving(n):
		return "it drains"
	case len(agent.TunnelAddresses(n)) == 0:
		return "it has no InternalIP"
	}
	return "the lists are full, or it has no address of the family"
}

func (e *policyExplanation) nodes() {
	gateways := e.policy.Spec.Gateway != nil
	if gateways {
		e.line("\nNODE\tIN FORCE\tPODS USE IT\tOWNER IT SEES\tFAILOVERS")
	} else {
		e.line("\nNODE\tIN FORCE")
	}
	for i := range e.cluster.nodes {
		node := &e.cluster.nodes[i]
		if !gateways {
			e.line("%s\t%s", node.Name, e.inForce(node))
			continue
		}
		uses, owners, failovers := "no", []string{}, []string{}
		for _, a := range e.policy.Status.Addresses {
			s := e.cluster.egress(node.Name, a.VNI)
			if s == nil {
				continue
			}
			if s.Uses {
				uses = "yes"
			}
			owners = append(owners, fmt.Sprintf("%s by %s", cmp.Or(s.Address, ownAddress), orNone(s.Owner)))
			if text := fmt.Sprint(s.Failovers); !s.LastFailover.IsZero() {
				failovers = append(failovers, fmt.Sprintf("%s, last %s, %v without", text, ago(e.now, s.LastFailover.Time), time.Duration(s.LastOutage)*time.Millisecond))
			} else if s.Failovers > 0 {
				failovers = append(failovers, text)
			}
		}
		e.line("%s\t%s\t%s\t%s\t%s", node.Name, e.inForce(node), uses, orNone(strings.Join(owners, "; ")), orNone(strings.Join(failovers, "; ")))
	}
}

// inForce says whether a policy is in force on a node, or why it is not.
func (e *policyExplanation) inForce(node *corev1.Node) string {
	state := e.cluster.states[node.Name]
	why := stale(e.now, node, state)
	problem := problemOf(state, "EgressPolicy/"+e.policy.Name)
	if state != nil {
		for _, p := range state.Status.Policies {
			switch {
			case p.Name != e.policy.Name:
			case why != "":
				return fmt.Sprintf("not known: %s; last it said generation %d", why, p.Generation)
			case p.Generation < e.policy.Generation:
				return fmt.Sprintf("generation %d, not yet %d%s", p.Generation, e.policy.Generation, because(problem))
			case problem != "":
				return "yes, but " + problem
			default:
				return "yes"
			}
		}
	}
	return "no: " + cmp.Or(why, problem, "the node has not taken it up yet")
}
