package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/file"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

func planCommand() *cobra.Command {
	var from access
	var paths []string
	var node, output string
	cmd := &cobra.Command{
		Use:   "plan -f FILE|DIRECTORY...",
		Short: "What would change on which node if these manifests were applied; nothing is",
		Long: `What would change on which node if these manifests were applied: sessions, announced prefixes, learned routes, source
addresses, the owners of egress addresses. Nothing is applied. Lines with "!" take traffic away, or may.

The manifests take the place of the objects of the same kind and name that the cluster has, which are read by a kubeconfig.
Passwords are not read: that a Secret has changed is not seen. A node that drains is taken for drained.

Exit status: 0 nothing would change, 2 something would, 1 that could not be found out.`,
		Example: `  waymark plan -f new-policy.yaml
  kustomize build . | waymark plan -f - --node node-7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			manifests, err := readManifests(cmd.InOrStdin(), append(paths, args...))
			if err != nil {
				return err
			}
			wanted, err := goodManifests(manifests)
			if err != nil {
				return err
			}
			r, err := from.open()
			if err != nil {
				return err
			}
			plan, err := r.plan(cmd.Context(), wanted, node)
			if err != nil {
				return err
			}
			if err := show(cmd.OutOrStdout(), output, plan, plan.print); err != nil {
				return err
			}
			if len(plan.Nodes)+len(plan.Cluster) > 0 {
				return errFound
			}
			return nil
		},
	}
	from.flags(cmd)
	fileFlag(cmd, &paths)
	outputFlag(cmd, &output)
	cmd.Flags().StringVar(&node, "node", "", "only what changes on this `node`")
	return cmd
}

// goodManifests refuses files that are not good: what they would do nobody can tell.
func goodManifests(manifests map[string][]byte) (agent.Snapshot, error) {
	snapshot, _ := file.Read(manifests)
	var wrong []string
	for _, p := range snapshot.Problems {
		if p.Reason != file.Ignored {
			wrong = append(wrong, p.String())
		}
	}
	if len(wrong) > 0 {
		return snapshot, fmt.Errorf("the manifests are not good:\n%s", strings.Join(wrong, "\n"))
	}
	return snapshot, nil
}

// clusterPlan is what would change.
type clusterPlan struct {
	Nodes   []nodePlan     `json:"nodes"`   // those where something changes
	Cluster []agent.Change `json:"cluster"` // what would be wrong with objects beside each other
	of      int            // nodes that were looked at
}

type nodePlan struct {
	Node    string         `json:"node"`
	Changes []agent.Change `json:"changes"`
}

func (r *reader) plan(ctx context.Context, wanted agent.Snapshot, only string) (clusterPlan, error) {
	now, err := r.cluster(ctx)
	if err != nil {
		return clusterPlan{}, err
	}
	then := now.with(wanted)
	if only != "" {
		if _, err := then.node(only); err != nil {
			return clusterPlan{}, err
		}
	}
	var pods map[string][]corev1.Pod
	var namespaces []corev1.Namespace
	if now.selectsPods() || then.selectsPods() {
		if pods, namespaces, err = r.pods(ctx, only); err != nil {
			return clusterPlan{}, err
		}
	}
	at := time.Now()
	return difference(now.assign(at), then.assign(at), pods, namespaces, only), nil
}

// with is the cluster after manifests have been applied.
func (c *cluster) with(s agent.Snapshot) *cluster {
	then := *c
	then.configurations = overlay(c.configurations, s.Configurations, replace)
	then.peers = overlay(c.peers, s.Peers, replace)
	then.policies = overlay(c.policies, s.Policies, func(live, wanted v1alpha1.EgressPolicy) v1alpha1.EgressPolicy {
		wanted.Status.Addresses = live.Status.Addresses
		return wanted
	})
	then.pools = overlay(c.pools, s.Pools, replace)
	then.datacenters = overlay(c.datacenters, s.Datacenters, replace)
	then.roles = overlay(c.roles, s.Roles, replace)
	then.exports = overlay(c.exports, s.Exports, replace)
	then.registries = overlay(c.registries, s.Registries, replace)
	then.nodes = overlay(c.nodes, s.Nodes, merge)
	return &then
}

// overlay puts objects over those that there are, by name.
func overlay[T any, P interface {
	*T
	metav1.Object
}](live, wanted []T, onto func(live, wanted T) T) []T {
	all := slices.Clone(live)
	index := map[string]int{}
	for i := range all {
		index[P(&all[i]).GetName()] = i
	}
	for _, w := range wanted {
		i, there := index[P(&w).GetName()]
		if !there {
			P(&w).SetCreationTimestamp(metav1.Now()) // whatever the manifest says: of two objects the older has rights
			all = append(all, w)
			continue
		}
		created := P(&all[i]).GetCreationTimestamp()
		all[i] = onto(all[i], w)
		P(&all[i]).SetCreationTimestamp(created)
	}
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(P(&a).GetName(), P(&b).GetName()) })
	return all
}

func replace[T any](_, wanted T) T { return wanted }

// merge applies a manifest of a Node, of which there is rarely more than labels, annotations and taints.
func merge(live, wanted corev1.Node) corev1.Node {
	n := *live.DeepCopy()
	for key, value := range wanted.Labels {
		metav1.SetMetaDataLabel(&n.ObjectMeta, key, value)
	}
	for key, value := range wanted.Annotations {
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, key, value)
	}
	if wanted.Spec.Taints != nil {
		n.Spec.Taints = wanted.Spec.Taints
	}
	if len(podCIDRs(&wanted)) > 0 {
		n.Spec.PodCIDR, n.Spec.PodCIDRs = wanted.Spec.PodCIDR, wanted.Spec.PodCIDRs
	}
	return n
}

// difference is what changes on the nodes, or on only one.
func difference(now, then *cluster, pods map[string][]corev1.Pod, namespaces []corev1.Namespace, only string) clusterPlan {
	plan := clusterPlan{Nodes: []nodePlan{}, Cluster: []agent.Change{}}
	was := map[string]*corev1.Node{}
	for i := range now.nodes {
		was[now.nodes[i].Name] = &now.nodes[i]
	}
	verdictsNow, verdictsThen := agent.Judge(now.nodes, now.datacenters), agent.Judge(then.nodes, then.datacenters)
	for i := range then.nodes {
		node := &then.nodes[i]
		if only != "" && node.Name != only {
			continue
		}
		plan.of++
		facts := now.facts(node.Name)
		facts.Drained = true // in the end
		var before agent.Plan
		if n := was[node.Name]; n != nil {
			before = agent.Decide(node.Name, now.snapshot(n, verdictsNow[node.Name], pods[node.Name], namespaces), facts)
		}
		facts.BGP = before.BGP
		after := agent.Decide(node.Name, then.snapshot(node, verdictsThen[node.Name], pods[node.Name], namespaces), facts)
		if changes := agent.Diff(before, after); len(changes) > 0 {
			plan.Nodes = append(plan.Nodes, nodePlan{node.Name, changes})
		}
	}
	for _, c := range agent.Diff(agent.Plan{Problems: agent.Check(now.whole())}, agent.Plan{Problems: agent.Check(then.whole())}) {
		if !strings.Contains(c.Text, ": Node/") { // the nodes have told
			plan.Cluster = append(plan.Cluster, c)
		}
	}
	return plan
}

func (p clusterPlan) print(w io.Writer) error {
	for _, c := range p.Cluster {
		fmt.Fprintln(w, c)
	}
	groups := map[string][]nodePlan{}
	for _, n := range p.Nodes {
		groups[n.key()] = append(groups[n.key()], n)
	}
	sorted := slices.SortedFunc(maps.Values(groups), func(a, b []nodePlan) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0].Node, b[0].Node))
	})
	for _, group := range sorted {
		var nodes []string
		for _, n := range group {
			nodes = append(nodes, n.Node)
		}
		if len(nodes) == 1 {
			fmt.Fprintf(w, "on %s:\n", nodes[0])
		} else {
			fmt.Fprintf(w, "on %d nodes, %s:\n", len(nodes), names(nodes))
		}
		for i, c := range group[0].Changes {
			if c.Kind == "prefix" {
				c.Name = prefixesOf(group, i)
			}
			fmt.Fprintf(w, "  %s\n", c)
		}
	}
	if len(p.Nodes) == 0 {
		fmt.Fprintf(w, "nothing changes on any of %d nodes\n", p.of)
		return nil
	}
	_, err := fmt.Fprintf(w, "changes on %d of %d nodes\n", len(p.Nodes), p.of)
	return err
}

// key is the same for nodes on which the same changes, each with its own prefixes.
func (n nodePlan) key() string {
	var lines []string
	for _, c := range n.Changes {
		if c.Kind == "prefix" {
			c.Name = ""
		}
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n")
}

// prefixesOf are the prefixes that the nodes of a group have in the change of an index.
func prefixesOf(group []nodePlan, index int) string {
	var prefixes []string
	for _, n := range group {
		prefixes = append(prefixes, n.Changes[index].Name)
	}
	return names(slices.Compact(prefixes)) // that of an egress address is the same on all its gateways
}
