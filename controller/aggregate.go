package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

const shownDown = 20 // of a BGPPeer's status

// established is the State of a session that is up.
const established = "Established"

// sessions collects what the nodes report of each BGPPeer, by its name.
func sessions(states []v1alpha1.NodeRoutingState) map[string]v1alpha1.BGPPeerStatus {
	peers := map[string]v1alpha1.BGPPeerStatus{}
	newest := map[string]metav1.Time{}
	for i := range states {
		for _, s := range states[i].Status.Sessions {
			peer := peers[s.Peer]
			peer.Wanted++
			if s.State == established {
				peer.Established++
			} else {
				peer.Down = append(peer.Down, states[i].Name)
				if at := newest[s.Peer]; s.LastError != "" && (peer.LastError == "" || at.Before(&s.Since)) {
					newest[s.Peer] = s.Since
					peer.LastError = short(states[i].Name + ": " + s.LastError)
				}
			}
			peers[s.Peer] = peer
		}
	}
	for name, peer := range peers {
		slices.Sort(peer.Down)
		peer.Down = peer.Down[:min(len(peer.Down), shownDown)]
		peers[name] = peer
	}
	return peers
}

// application is on which nodes a policy is in force as it is now. A node without an agent does not count.
func application(p *v1alpha1.EgressPolicy, states []v1alpha1.NodeRoutingState) (nodes int32, ready metav1.Condition) {
	var missing []string
	why := ""
	for i := range states {
		status := &states[i].Status
		if status.Reported.IsZero() {
			continue
		}
		if applied(p, status) {
			nodes++
			continue
		}
		missing = append(missing, states[i].Name)
		if problem := problemOf(status, "EgressPolicy/"+p.Name); problem != nil && why == "" {
			why = fmt.Sprintf("; %s: %s", states[i].Name, problem.Message)
		}
	}
	ready = metav1.Condition{Type: v1alpha1.ConditionReady, ObservedGeneration: p.Generation}
	switch {
	case len(missing) > 0:
		slices.Sort(missing)
		ready.Status, ready.Reason = metav1.ConditionFalse, "NotOnAllNodes"
		ready.Message = short(fmt.Sprintf("in force on %d of %d nodes, not on %s%s", nodes, int(nodes)+len(missing), few(missing), why))
	case nodes == 0:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionUnknown, "NoNodes", "no agent has reported yet"
	case unowned(p) != "":
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, "NoAddress", unowned(p)+": the fallback is in force"
	default:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionTrue, "InForce", fmt.Sprintf("in force on %d nodes", nodes)
	}
	return nodes, ready
}

// unowned says what of the addresses that the policy's traffic is to leave with is missing.
func unowned(p *v1alpha1.EgressPolicy) string {
	if p.Spec.Source == v1alpha1.SourceGateway && len(p.Status.Addresses) == 0 {
		return "the policy has no address"
	}
	for _, a := range p.Status.Addresses {
		if len(a.Gateways) == 0 {
			return strings.TrimSpace("no gateway may own the address " + a.Address)
		}
	}
	return ""
}

// applied says whether the node has this generation of the policy in force, or a later one that we have not seen yet.
func applied(p *v1alpha1.EgressPolicy, status *v1alpha1.NodeRoutingStateStatus) bool {
	return slices.ContainsFunc(status.Policies, func(s v1alpha1.PolicyStatus) bool { return s.Name == p.Name && s.Generation >= p.Generation })
}

func problemOf(status *v1alpha1.NodeRoutingStateStatus, object string) *v1alpha1.ProblemStatus {
	if i := slices.IndexFunc(status.Problems, func(p v1alpha1.ProblemStatus) bool { return p.Object == object }); i >= 0 {
		return &status.Problems[i]
	}
	return nil
}

// nodeKinds counts the nodes by what they do, all kinds always.
func nodeKinds(states []v1alpha1.NodeRoutingState) map[string]int {
	kinds := map[string]int{"silent": 0, "draining": 0, "drained": 0, "gated": 0, "open": 0}
	for i := range states {
		switch s := &states[i].Status; {
		case s.Reported.IsZero():
			kinds["silent"]++
		case s.Drain != nil:
			kinds[strings.ToLower(s.Drain.Phase)]++
		case !s.Gate.Open:
			kinds["gated"]++
		default:
			kinds["open"]++
		}
	}
	return kinds
}

// sameReport says whether a node reports nothing new that is shown elsewhere.
func sameReport(a, b *v1alpha1.NodeRoutingState) bool {
	x, y := &a.Status, &b.Status
	return x.Gate.Open == y.Gate.Open && x.Reported.IsZero() == y.Reported.IsZero() &&
		(x.Drain == nil) == (y.Drain == nil) && (x.Drain == nil || x.Drain.Phase == y.Drain.Phase) &&
		slices.Equal(x.Policies, y.Policies) && slices.Equal(x.Problems, y.Problems) && slices.Equal(x.Announced, y.Announced) &&
		slices.EqualFunc(x.Sessions, y.Sessions, func(s, t v1alpha1.SessionStatus) bool {
			return s.Peer == t.Peer && s.State == t.State && s.LastError == t.LastError
		})
}

// few names the first of some nodes.
func few(names []string) string {
	const shown = 5
	if n := len(names) - shown; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), n)
	}
	return strings.Join(names, ", ")
}

// short cuts a text that others have written to the 1024 bytes that an Event may have, less some for what we add.
func short(text string) string {
	const most = 1000
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:cmp.Or(strings.LastIndexByte(text[:most], ' '), most)], "") + "..."
}
