package agent

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/registry"
)

// Whereabouts are the objects that say whose an address is, and who announces it.
type Whereabouts struct {
	Nodes          []corev1.Node
	States         map[string]*v1alpha1.NodeRoutingState // by node
	Configurations []v1alpha1.BGPConfiguration
	Policies       []v1alpha1.EgressPolicy
	Datacenters    []v1alpha1.DatacenterNetwork
	Pods           map[netip.Addr]string // see NotePod; nil: not known
	Services       []corev1.Service      // nil: not known
}

// Cluster is what a judgement of addresses needs to know, at a time.
func (w *Whereabouts) Cluster(now time.Time) registry.Cluster {
	c := registry.Cluster{Pods: w.Pods, Egress: map[netip.Addr]string{}}
	for i := range w.Nodes {
		c.Nodes = append(c.Nodes, w.node(now, &w.Nodes[i]))
	}
	if w.Services != nil {
		c.Services = map[netip.Addr]string{}
	}
	for i := range w.Services {
		s := &w.Services[i]
		for _, ip := range slices.Concat(s.Spec.ClusterIPs, s.Spec.ExternalIPs) {
			note(c.Services, ip, s.Namespace+"/"+s.Name)
		}
		for _, ingress := range s.Status.LoadBalancer.Ingress {
			note(c.Services, ingress.IP, s.Namespace+"/"+s.Name)
		}
	}
	for i := range w.Policies {
		for _, a := range w.Policies[i].Status.Addresses {
			note(c.Egress, a.Address, "EgressPolicy "+w.Policies[i].Name)
		}
	}
	for i := range w.Datacenters {
		c.Datacenter = append(c.Datacenter, goodPrefixes(w.Datacenters[i].Spec.CIDRs)...)
		c.PodCIDRs = append(c.PodCIDRs, goodPrefixes(w.Datacenters[i].Spec.ClusterCIDRs)...)
	}
	return c
}

// NotePod notes whose the addresses of a pod are, as namespace/name: of a hundred thousand pods nothing else is kept.
func NotePod(into map[netip.Addr]string, p *corev1.Pod) {
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return // the address is the node's, or has been given back
	}
	for _, ip := range p.Status.PodIPs {
		note(into, ip.IP, p.Namespace+"/"+p.Name)
	}
}

func note(into map[netip.Addr]string, address, whose string) {
	if addr, err := netip.ParseAddr(address); err == nil {
		into[addr.Unmap()] = whose
	}
}

func (w *Whereabouts) node(now time.Time, node *corev1.Node) registry.Node {
	state := w.States[node.Name]
	n := registry.Node{Name: node.Name, PodCIDRs: goodPrefixes(podCIDRs(node)), Unknown: StaleReport(now, node, state)}
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			n.Addresses = append(n.Addresses, addr.Unmap())
		}
	}
	if n.Unknown != "" {
		return n
	}
	n.Announced, n.Learned = goodPrefixes(state.Status.Announced), int(state.Status.LearnedCount)
	if len(n.PodCIDRs) > 0 {
		n.Withheld = w.switchedOff()
		if n.Withheld == "" {
			n.Withheld = Withheld(state, n.PodCIDRs[0])
		}
	}
	for _, s := range state.Status.Sessions {
		n.Sessions = append(n.Sessions, registry.Session{Peer: s.Peer, Up: s.State == string(bgp.Established), Why: s.State + colon(s.LastError)})
	}
	return n
}

// switchedOff says that nodes are not to announce their PodCIDRs, if so.
func (w *Whereabouts) switchedOff() string {
	for i := range w.Configurations {
		c := &w.Configurations[i]
		if announce := c.Spec.Advertise.PodCIDRs; c.Name == v1alpha1.DefaultName && announce != nil && !*announce {
			return "BGPConfiguration " + c.Name + " has advertise.podCIDRs: false"
		}
	}
	return ""
}

// StaleReport says why a node's report is not to be relied on; empty: it is.
func StaleReport(now time.Time, node *corev1.Node, state *v1alpha1.NodeRoutingState) string {
	switch {
	case state == nil || state.Status.Reported.IsZero():
		return "no report"
	case now.Sub(state.Status.Reported.Time) > 2*v1alpha1.ReportInterval:
		return "the agent does not report"
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return "the node is not Ready"
		}
	}
	return ""
}

// Withheld says why a node does not announce a prefix of its own, by its report.
func Withheld(state *v1alpha1.NodeRoutingState, prefix netip.Prefix) string {
	s := &state.Status
	for _, v := range state.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(v.Prefix); err == nil && p.Masked() == prefix && v.Conflict != "" && s.Drain == nil {
			return v.Conflict
		}
	}
	switch {
	case s.Drain != nil:
		return strings.ToLower(s.Drain.Phase) + colon(s.Drain.Message)
	case !s.Gate.Open:
		return s.Gate.Reason + colon(s.Gate.Message)
	}
	return "the node has not taken it up yet"
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// goodPrefixes are those of a list: of the bad ones others tell.
func goodPrefixes(texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			list = append(list, p.Masked())
		}
	}
	return list
}
