package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

const (
	shownNodes = 20 // lines of nodes, unless all are asked for
	shownNames = 5  // names in a line that is about many
)

// overview is a cluster in one screen. Lists are never null for programs.
type overview struct {
	Nodes    []nodeView    `json:"nodes"`
	Policies []policyView  `json:"policies"`
	Egress   []egressView  `json:"egress"`
	Problems []problemView `json:"problems"`
}

// nodeView is one node as it reports.
type nodeView struct {
	Name        string                  `json:"name"`
	ASN         int64                   `json:"asn,omitempty"`
	Established int32                   `json:"established"`
	Wanted      int32                   `json:"wanted"`
	Announced   []string                `json:"announced"`
	Learned     int32                   `json:"learned"`
	Gate        v1alpha1.GateStatus     `json:"gate"`
	Drain       *v1alpha1.DrainStatus   `json:"drain,omitempty"`
	Version     string                  `json:"version,omitempty"`
	Reported    metav1.Time             `json:"reported,omitzero"`
	Stale       string                  `json:"stale,omitempty"` // why the report is not to be relied on
	Policies    []v1alpha1.PolicyStatus `json:"policies"`
}

// policyView says where a policy is in force.
type policyView struct {
	Name       string   `json:"name"`
	Generation int64    `json:"generation"`
	Nodes      int      `json:"nodes"`   // that have this generation in force
	Missing    []string `json:"missing"` // nodes that have not
}

// problemView is a problem and the nodes that have it. Without nodes it is one of the cluster, which the controller has found.
type problemView struct {
	v1alpha1.ProblemStatus
	Nodes []string `json:"nodes"`
}

func (n *nodeView) state() string {
	switch {
	case n.Reported.IsZero():
		return n.Stale
	case n.Drain != nil:
		return strings.ToLower(n.Drain.Phase) + because(n.Drain.Message)
	case !n.Gate.Open:
		return "gate closed: " + n.Gate.Reason + because(n.Gate.Message)
	}
	return "open"
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// good says that nobody need look at the node.
func (n *nodeView) good() bool {
	return n.Stale == "" && n.Established == n.Wanted && n.Gate.Open && n.Drain == nil
}

// stale says why a node's report is not to be relied on; empty: it is.
func stale(now time.Time, node *corev1.Node, state *v1alpha1.NodeRoutingState) string {
	return agent.StaleReport(now, node, state)
}

func overviewOf(now time.Time, c *cluster) overview {
	v := overview{Nodes: []nodeView{}, Policies: []policyView{}, Egress: egressOf(now, c), Problems: []problemView{}}
	problems := map[v1alpha1.ProblemStatus][]string{}
	for i := range c.nodes {
		name := c.nodes[i].Name
		state := c.states[name]
		n := nodeView{Name: name, Stale: stale(now, &c.nodes[i], state), Announced: []string{}, Policies: []v1alpha1.PolicyStatus{}}
		if state != nil {
			s := &state.Status
			n.ASN, n.Established, n.Wanted, n.Learned = s.ASN, s.Established, s.Wanted, s.LearnedCount
			n.Announced, n.Policies = list(s.Announced), list(s.Policies)
			n.Gate, n.Drain, n.Version, n.Reported = s.Gate, s.Drain, s.Version, s.Reported
			for _, p := range s.Problems {
				problems[p] = append(problems[p], name)
			}
		}
		v.Nodes = append(v.Nodes, n)
	}
	for i := range c.policies {
		v.Policies = append(v.Policies, v.policy(&c.policies[i]))
	}
	for _, p := range c.invalid() {
		if problems[p] == nil {
			problems[p] = []string{}
		}
	}
	for p, nodes := range problems {
		v.Problems = append(v.Problems, problemView{p, nodes})
	}
	slices.SortFunc(v.Problems, func(a, b problemView) int {
		return cmp.Or(cmp.Compare(len(b.Nodes), len(a.Nodes)), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	return v
}

func (v *overview) policy(p *v1alpha1.EgressPolicy) policyView {
	view := policyView{Name: p.Name, Generation: p.Generation, Missing: []string{}}
	for i := range v.Nodes {
		if slices.Contains(v.Nodes[i].Policies, v1alpha1.PolicyStatus{Name: p.Name, Generation: p.Generation}) {
			view.Nodes++
		} else {
			view.Missing = append(view.Missing, v.Nodes[i].Name)
		}
	}
	return view
}

// invalid is what the controller has found wrong with objects.
func (c *cluster) invalid() []v1alpha1.ProblemStatus {
	var found []v1alpha1.ProblemStatus
	add := func(kind, name string, s *v1alpha1.ObjectStatus) {
		for _, condition := range s.Conditions {
			if condition.Type == v1alpha1.ConditionValid && condition.Status == metav1.ConditionFalse {
				found = append(found, v1alpha1.ProblemStatus{Object: kind + "/" + name, Reason: condition.Reason, Message: condition.Message})
			}
		}
	}
	for i := range c.configurations {
		add("BGPConfiguration", c.configurations[i].Name, &c.configurations[i].Status)
	}
	for i := range c.peers {
		add("BGPPeer", c.peers[i].Name, &c.peers[i].Status.ObjectStatus)
	}
	for i := range c.policies {
		add("EgressPolicy", c.policies[i].Name, &c.policies[i].Status.ObjectStatus)
	}
	for i := range c.pools {
		add("AddressPool", c.pools[i].Name, &c.pools[i].Status)
	}
	for i := range c.datacenters {
		add("DatacenterNetwork", c.datacenters[i].Name, &c.datacenters[i].Status)
	}
	for i := range c.roles {
		add("NodeRole", c.roles[i].Name, &c.roles[i].Status.ObjectStatus)
	}
	for i := range c.exports {
		add("StaticRouteExport", c.exports[i].Name, &c.exports[i].Status.ObjectStatus)
	}
	for i := range c.registries {
		add("RegistryCheck", c.registries[i].Name, &c.registries[i].Status.ObjectStatus)
	}
	return found
}

func printOverview(w io.Writer, now time.Time, v overview, limit int) error {
	p := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	nodes := slices.Clone(v.Nodes)
	var good, announced int
	var up, wanted int32
	asns := map[int64]bool{}
	for i := range nodes {
		n := &nodes[i]
		up, wanted, announced = up+n.Established, wanted+n.Wanted, announced+len(n.Announced)
		if n.good() {
			good++
		}
		if n.ASN != 0 {
			asns[n.ASN] = true
		}
	}
	fmt.Fprintf(p, "%d nodes, %d good; %d of %d sessions up; %d prefixes announced%s\n", len(nodes), good, up, wanted, announced, asText(asns))

	// The nodes that somebody should look at come first.
	slices.SortStableFunc(nodes, func(a, b nodeView) int { return cmp.Compare(rank(a.good()), rank(b.good())) })
	fmt.Fprintf(p, "\nNODE\tSESSIONS\tANNOUNCED\tLEARNED\tREPORTED\tSTATE\n")
	for i := range nodes[:min(limit, len(nodes))] {
		n := &nodes[i]
		if n.Reported.IsZero() {
			fmt.Fprintf(p, "%s\t-\t-\t-\tnever\t%s\n", n.Name, n.state())
			continue
		}
		reported := ago(now, n.Reported.Time)
		if n.Stale != "" {
			reported += ", stale: " + n.Stale
		}
		fmt.Fprintf(p, "%s\t%d/%d\t%d\t%d\t%s\t%s\n", n.Name, n.Established, n.Wanted, len(n.Announced), n.Learned, reported, n.state())
	}
	if rest := nodes[min(limit, len(nodes)):]; len(rest) > 0 {
		good := slices.DeleteFunc(slices.Clone(rest), func(n nodeView) bool { return !n.good() })
		fmt.Fprintf(p, "and %d more, %d of them good: --all prints them\n", len(rest), len(good))
	}
	if len(nodes) == 0 {
		fmt.Fprintln(p, "none")
	}

	fmt.Fprintln(p)
	v.printPolicies(p)
	v.printEgress(p)
	if len(v.Problems) > 0 {
		fmt.Fprintf(p, "\nNOT IN FORCE\n")
	}
	for _, problem := range v.Problems {
		where := "cluster"
		if len(problem.Nodes) > 0 {
			where = "on " + names(problem.Nodes)
		}
		fmt.Fprintf(p, "%s: %s\n", where, problemText(problem.ProblemStatus))
	}
	return p.Flush()
}

func (v *overview) printPolicies(w io.Writer) {
	if len(v.Policies) == 0 {
		fmt.Fprintln(w, "Policies: none, pod traffic leaves as the hosts would treat it without Waymark")
		return
	}
	everywhere := true
	for _, policy := range v.Policies {
		everywhere = everywhere && len(policy.Missing) == 0
	}
	if everywhere {
		fmt.Fprintf(w, "Policies: %d, in force on all nodes\n", len(v.Policies))
		return
	}
	fmt.Fprintf(w, "POLICY\tIN FORCE ON\tNOT ON\n")
	for _, policy := range v.Policies {
		fmt.Fprintf(w, "%s\t%d/%d\t%s\n", policy.Name, policy.Nodes, len(v.Nodes), orNone(names(policy.Missing)))
	}
}

func rank(last bool) int {
	if last {
		return 1
	}
	return 0
}

func asText(asns map[int64]bool) string {
	switch sorted := slices.Sorted(maps.Keys(asns)); len(sorted) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("; AS %d", sorted[0])
	default:
		return fmt.Sprintf("; %d AS numbers, %d..%d", len(sorted), sorted[0], sorted[len(sorted)-1])
	}
}

// names of a list, the first ones only if there are many.
func names(list []string) string {
	if n := len(list) - shownNames; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:shownNames], ", "), n)
	}
	return strings.Join(list, ", ")
}

func problemText(p v1alpha1.ProblemStatus) string {
	if p.Object == "" {
		return p.Reason + ": " + p.Message
	}
	return p.Object + ": " + p.Reason + ": " + p.Message
}

// ago is how long something is ago, in the words of kubectl.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return duration.HumanDuration(now.Sub(then)) + " ago"
}
