package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/ipam"
	"github.com/waymark-bgp/waymark/route"
)

const ethernetMTU = 1500 // of a network that is not known

// snapshot is what a node's agent sees of the cluster, with the verdicts that it is told.
func (c *cluster) snapshot(node *corev1.Node, verdicts []v1alpha1.PrefixVerdict, pods []corev1.Pod, namespaces []corev1.Namespace) agent.Snapshot {
	return agent.Snapshot{
		Synced: true, Controlled: true,
		Nodes:          []corev1.Node{*node},
		State:          &v1alpha1.NodeRoutingState{Spec: v1alpha1.NodeRoutingStateSpec{PodCIDRs: verdicts, TunnelPeers: c.tunnelPeers()}},
		Configurations: c.configurations,
		Peers:          c.peers,
		Policies:       c.policies,
		Pools:          c.pools,
		Datacenters:    c.datacenters,
		Secrets:        placeholders(c.peers),
		Pods:           pods,
		Namespaces:     namespaces,
	}
}

// whole is the cluster as the checks across objects want it. Without Secrets, none is missed.
func (c *cluster) whole() agent.Snapshot {
	return agent.Snapshot{
		Synced: true, Nodes: c.nodes, Configurations: c.configurations, Peers: c.peers, Policies: c.policies, Pools: c.pools,
		Datacenters: c.datacenters, Roles: c.roles, Exports: c.exports, Registries: c.registries,
	}
}

// tunnelPeers are the nodes, who may use tunnels.
func (c *cluster) tunnelPeers() []string {
	var peers []string
	for _, p := range agent.NodePrefixes(c.nodes) {
		peers = append(peers, p.String())
	}
	return peers
}

// facts are those of a node that are known from its report. Its peers have told their routes, and tunnels fit its network.
func (c *cluster) facts(node string) agent.Facts {
	f := agent.Facts{Told: true, Egress: agent.EgressFacts{
		Underlay: route.Underlay{MTU: ethernetMTU}, Self: agent.Alive, Now: time.Now(),
		Health: map[netip.Addr]agent.Health{}, Choices: map[uint32]agent.Choice{},
	}}
	state := c.states[node]
	if state == nil {
		return f
	}
	for _, text := range state.Status.Announced {
		if p, err := netip.ParsePrefix(text); err == nil {
			f.Announced = append(f.Announced, p)
		}
	}
	for _, e := range state.Status.Egress {
		f.Egress.Choices[uint32(e.VNI)] = agent.Choice{Gateway: e.Owner, Term: e.Term, Final: true}
		for _, name := range e.Dead {
			if dead, err := c.node(name); err == nil {
				for _, address := range agent.TunnelAddresses(dead) {
					f.Egress.Health[address] = agent.Dead
				}
			}
		}
	}
	f.Drained = state.Status.Drain != nil && state.Status.Drain.Phase == v1alpha1.Drained
	return f
}

// assign is the cluster with the owners of egress addresses that its controller comes to, in the end: gateways that leave have
// left. What Services have is not known.
func (c *cluster) assign(now time.Time) *cluster {
	then := *c
	live := agent.Liveness{Dead: map[string]bool{}, Reports: map[ipam.Place]ipam.Report{}, Over: map[ipam.Place]bool{}}
	for i := range c.nodes {
		name := c.nodes[i].Name
		state := c.states[name]
		if state != nil && stale(now, &c.nodes[i], state) != "" {
			live.Dead[name] = true
		}
		if state == nil || live.Dead[name] {
			continue
		}
		for _, e := range state.Status.Egress {
			place := ipam.Place{Node: e.Owner, VNI: uint32(e.VNI), Term: e.Term}
			said := live.Reports[place]
			said.Nodes++
			said.Self = said.Self || e.Owner == name
			live.Reports[place] = said
		}
	}
	for range 2 {
		lists, _ := agent.Assign(then.whole(), live)
		then.policies = slices.Clone(then.policies)
		for i := range then.policies {
			p := &then.policies[i]
			p.Status.Addresses = lists[p.Name]
			for _, a := range p.Status.Addresses {
				for _, g := range a.Gateways {
					live.Over[ipam.Place{Node: g.Node, VNI: uint32(a.VNI), Term: a.Term}] = g.Leaving
				}
			}
		}
	}
	return &then
}

// placeholders stand for the Secrets that peers name, which we must not read. Each entry has a text of its own, so that a
// peer that is told to use another one changes.
func placeholders(peers []v1alpha1.BGPPeer) []corev1.Secret {
	byName := map[types.NamespacedName]map[string][]byte{}
	for i := range peers {
		if key := peers[i].Spec.PasswordSecret; key != nil {
			name := types.NamespacedName{Namespace: key.Namespace, Name: key.Name}
			if byName[name] == nil {
				byName[name] = map[string][]byte{}
			}
			id := sha256.Sum256([]byte(key.Namespace + "/" + key.Name + "/" + key.Key))
			byName[name][key.Key] = []byte(hex.EncodeToString(id[:]))
		}
	}
	var secrets []corev1.Secret
	for name, data := range byName {
		secrets = append(secrets, corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Data: data})
	}
	return secrets
}

// selectsPods says whether the agents of the cluster look at pods.
func (c *cluster) selectsPods() bool {
	some := func(s *metav1.LabelSelector) bool { return s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 }
	for i := range c.policies {
		if p := c.policies[i].Spec.Pods; p != nil && (some(p.NamespaceSelector) || some(p.PodSelector)) {
			return true
		}
	}
	return false
}
