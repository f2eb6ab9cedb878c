package kube

import (
	"cmp"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
)

const maxProblems = 50 // as the CustomResourceDefinition has it

// report is a status as the cluster sees it, but for the time of the report. Before is the report in force: when the source
// addresses could not be applied, the policies of that still are.
func report(s agent.Status, before v1alpha1.NodeRoutingStateStatus) v1alpha1.NodeRoutingStateStatus {
	r := v1alpha1.NodeRoutingStateStatus{
		Version:        s.Version,
		ASN:            int64(s.ASN),
		Sessions:       sessions(s),
		AnnouncedCount: int32(len(s.Announced)),
		LearnedCount:   int32(s.Routes.Installed),
		NATBackend:     s.Backend,
		Policies:       before.Policies,
		Gate:           v1alpha1.GateStatus{Open: s.Gate.Open, Reason: s.Gate.Reason, Message: s.Gate.Message},
		Problems:       problems(s),
	}
	if s.RouterID.IsValid() {
		r.RouterID = s.RouterID.String()
	}
	r.Wanted = int32(len(r.Sessions))
	for _, session := range r.Sessions {
		if session.State == string(bgp.Established) {
			r.Established++
		}
	}
	for _, prefix := range s.Announced {
		r.Announced = append(r.Announced, prefix.String())
	}
	if s.Stages["nat"].LastError == "" {
		r.Policies = policies(s)
	}
	if s.Drain != nil {
		r.Drain = &v1alpha1.DrainStatus{Phase: s.Drain.Phase, Since: metav1.NewTime(s.Drain.Since), Message: s.Drain.Message}
	}
	for _, e := range s.Egress {
		r.Egress = append(r.Egress, egress(e))
	}
	for what, n := range s.Repairs {
		if r.Repairs == nil {
			r.Repairs = map[string]int64{}
		}
		r.Repairs[what] = int64(n)
	}
	return r
}

func egress(e agent.EgressState) v1alpha1.EgressState {
	state := v1alpha1.EgressState{VNI: int32(e.VNI), Term: e.Term, Owner: e.Gateway, Uses: e.Uses, Failovers: e.Failovers}
	if e.Address.IsValid() {
		state.Address = e.Address.String()
	}
	for _, g := range e.Gateways {
		if g.Health == agent.Dead {
			state.Dead = append(state.Dead, g.Node)
		}
	}
	if f := e.LastFailover; f != nil {
		state.LastFailover, state.LastOutage = metav1.NewTime(f.At), f.Outage.Milliseconds()
	}
	return state
}

func sessions(s agent.Status) []v1alpha1.SessionStatus {
	byPeer := map[string]v1alpha1.SessionStatus{}
	for _, name := range s.Waiting {
		byPeer[name] = v1alpha1.SessionStatus{Peer: name, State: v1alpha1.SessionWaiting}
	}
	for _, peer := range s.Peers {
		byPeer[peer.Name] = v1alpha1.SessionStatus{
			Peer: peer.Name, Address: peer.Address.String(), State: string(peer.State),
			Since: metav1.NewTime(peer.Since), LastError: peer.LastError,
		}
	}
	return slices.SortedFunc(maps.Values(byPeer), func(a, b v1alpha1.SessionStatus) int { return cmp.Compare(a.Peer, b.Peer) })
}

func policies(s agent.Status) []v1alpha1.PolicyStatus {
	var policies []v1alpha1.PolicyStatus
	for _, policy := range s.Policies {
		policies = append(policies, v1alpha1.PolicyStatus{Name: policy.Name, Generation: s.Generations[policy.Name]})
	}
	slices.SortFunc(policies, func(a, b v1alpha1.PolicyStatus) int { return cmp.Compare(a.Name, b.Name) })
	return policies
}

// problems are those of objects; those of this machine are for its own status.
func problems(s agent.Status) []v1alpha1.ProblemStatus {
	var problems []v1alpha1.ProblemStatus
	for _, p := range s.Problems {
		if p.Object != "" && len(problems) < maxProblems {
			problems = append(problems, v1alpha1.ProblemStatus{Object: p.Object, Reason: p.Reason, Message: p.Message})
		}
	}
	return problems
}

// steady is a report without what changes by itself: a session that is down goes through the states of its attempts.
func steady(r v1alpha1.NodeRoutingStateStatus) v1alpha1.NodeRoutingStateStatus {
	r.Sessions = slices.Clone(r.Sessions)
	for i := range r.Sessions {
		if s := &r.Sessions[i]; s.State != string(bgp.Established) && s.State != v1alpha1.SessionWaiting {
			s.State = string(bgp.Idle)
		}
	}
	return r
}

// kind is of a report what is told at once when it changes.
func kind(r v1alpha1.NodeRoutingStateStatus) v1alpha1.NodeRoutingStateStatus {
	k := steady(r)
	for i := range k.Sessions {
		k.Sessions[i] = v1alpha1.SessionStatus{Peer: k.Sessions[i].Peer, State: k.Sessions[i].State}
	}
	k.Egress = slices.Clone(k.Egress)
	for i, e := range k.Egress {
		k.Egress[i] = v1alpha1.EgressState{Address: e.Address, VNI: e.VNI, Term: e.Term, Owner: e.Owner}
	}
	k.Sights = slices.Clone(k.Sights)
	for i := range k.Sights {
		k.Sights[i].Time = metav1.Time{}
	}
	k.LearnedCount, k.Repairs, k.Gate.Message = 0, nil, ""
	if k.Drain != nil {
		k.Drain = &v1alpha1.DrainStatus{Phase: k.Drain.Phase}
	}
	return k
}
