package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/ipam"
)

// learning is the reason of a gate that opens when the peers have told their routes.
const learning = "Learning"

// hold closes the gate. The first reason counts.
func (d *decision) hold(reason, format string, args ...any) {
	if d.plan.Gate.Open {
		d.plan.Gate = Gate{Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
}

// judge refuses own prefixes that the controller has not judged or has given to another node, and those that the fabric
// has routes into. It holds back what is not announced yet only: what is reached now stays reached.
func (d *decision) judge(own []ipam.Claim, refused map[netip.Prefix]bool) {
	if !d.snapshot.Controlled {
		return
	}
	var begin []ipam.Claim
	for _, claim := range own {
		announced := slices.Contains(d.facts.Announced, claim.Prefix)
		conflict, judged := d.verdict(claim.Prefix)
		switch {
		case conflict != "" && announced:
			d.overlapInForce(conflict)
		case conflict != "":
			d.refuse(claim, conflict, refused)
		case !judged && !announced:
			d.hold("NotJudged", "%v: the controller has not said yet whether another node has it", claim.Prefix)
			refused[claim.Prefix] = true
		case !announced:
			begin = append(begin, claim)
		}
	}
	if len(begin) == 0 {
		return
	}
	if !d.facts.Told {
		d.hold(learning, "waiting until the peers have told their routes, to see that nobody else announces the PodCIDR")
		for _, claim := range begin {
			refused[claim.Prefix] = true
		}
		return
	}
	for _, c := range ipam.Conflicts(d.routesInto(begin), begin) {
		d.refuse(c.Other, c.String(), refused)
	}
}

// verdict is what the controller says of a prefix: a conflict, in words, or none.
func (d *decision) verdict(prefix netip.Prefix) (conflict string, judged bool) {
	if d.snapshot.State == nil {
		return "", false
	}
	for _, v := range d.snapshot.State.Spec.PodCIDRs {
		if p, err := v1alpha1.ParsePrefix(v.Prefix); err == nil && p == prefix {
			return v.Conflict, true
		}
	}
	return "", false
}

// overlapInForce reports a conflict that changes nothing: a mistake in another object must not cut off pods that are
// reached now.
func (d *decision) overlapInForce(conflict string) {
	d.problem("Node/"+d.node.Name, "Overlap", "%s; it was announced before and stays: correct the one that is wrong, "+
		"or drain the node to withdraw it", conflict)
}

func (d *decision) refuse(claim ipam.Claim, conflict string, refused map[netip.Prefix]bool) {
	d.problem("Node/"+d.node.Name, "Overlap", "%s: not announced", conflict)
	d.hold("Overlap", "%s", conflict)
	refused[claim.Prefix] = true
}

// routesInto are the learned routes to one of the prefixes, or to a part of it.
func (d *decision) routesInto(own []ipam.Claim) []ipam.Claim {
	if d.facts.Learned == nil {
		return nil
	}
	var routes []ipam.Claim
	d.facts.Learned(func(prefix netip.Prefix, nextHops []netip.Addr) bool {
		if slices.ContainsFunc(own, func(c ipam.Claim) bool { return c.Prefix.Bits() <= prefix.Bits() && c.Prefix.Overlaps(prefix) }) {
			var via []string
			for _, hop := range nextHops {
				via = append(via, hop.String())
			}
			routes = append(routes, ipam.Claim{Kind: ipam.Route, Name: "learned via " + strings.Join(via, ", "), Prefix: prefix})
		}
		return true
	})
	return routes
}

// gracefulShutdown is the community by which a node says that it will soon be gone (RFC 8326, section 4.1).
const gracefulShutdown bgp.Community = 65535 << 16

// shutDown makes everything announced to the peers the last choice (RFC 8326, section 4).
func shutDown(config *bgp.Config) {
	for i := range config.Peers {
		peer := &config.Peers[i]
		peer.Attributes.Communities = append(slices.Clone(peer.Attributes.Communities), gracefulShutdown)
		if peer.ASN == config.ASN {
			lowest := uint32(1) // not the 0 of the RFC, which GoBGP cannot set
			peer.Attributes.LocalPreference = &lowest
		} else {
			worst := ^uint32(0)
			peer.Attributes.MED = &worst
		}
	}
}

// Leaving says whether the node is to leave: whether it has the label or taint waymark.io/drain.
func Leaving(n *corev1.Node) bool {
	_, label := n.Labels[v1alpha1.Drain]
	return label || slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.Drain })
}
