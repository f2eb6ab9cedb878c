package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/route"
)

const (
	auditSoon      = 2 * time.Second // after the start, and again until there is something to ask about
	auditEvery     = 30 * time.Second
	auditTime      = 20 * time.Second // after which one is given up
	auditQuestions = 50               // of one audit, besides what was found before; the others are next
)

// Audit says whether packets leave with the sources that the policies want, whatever other rules the host has.
type Audit struct {
	Runs      uint64        `json:"runs"`
	Checked   time.Time     `json:"checked,omitzero"` // when the last audit ended; zero: there was none
	Took      time.Duration `json:"took"`
	Questions int           `json:"questions"` // of the last one
	Findings  []Finding     `json:"findings,omitempty"`
	// Beaten: in sentences, what another NAT on the host decides before the backend.
	Beaten []string `json:"beaten,omitempty"`
}

// Finding is a packet that leaves otherwise than its policy wants, or perhaps.
type Finding struct {
	Policy      string     `json:"policy"`
	Pod         netip.Addr `json:"pod"`
	Destination netip.Addr `json:"destination"`
	Want        nat.Source `json:"want"`
	Got         string     `json:"got"`               // source address, or why it is not known
	Unknown     bool       `json:"unknown,omitempty"` // it cannot be told
	Rule        string     `json:"rule,omitempty"`    // that changes it, or is not understood
}

// reason as of a Problem.
func (f Finding) reason() string {
	if f.Unknown {
		return "SourceUnknown"
	}
	return "SourceChanged"
}

// problems are those of the findings, one for each policy and reason: what they say is not to change with every audit.
func (a Audit) problems(node string) []Problem {
	var problems []Problem
	for _, b := range a.Beaten {
		problems = append(problems, Problem{Object: "Node/" + node, Reason: "BackendBeaten", Message: b + ": use --nat-backend nftables, or remove the other"})
	}
	for _, f := range a.Findings {
		p := Problem{
			Object: "EgressPolicy/" + f.Policy, Reason: f.reason(),
			Message: fmt.Sprintf("from pod %s to %s: want source %s, got %s; %s", f.Pod, f.Destination, f.Want, f.Got, cmp.Or(f.Rule, "no rule changes it")),
		}
		if !slices.ContainsFunc(problems, func(q Problem) bool { return q.Object == p.Object && q.Reason == p.Reason }) {
			problems = append(problems, p)
		}
	}
	return problems
}

// Auditor asks the host from time to time for samples of what policies decide.
type Auditor struct {
	Agent *Agent
	// Ask answers each question.
	Ask func(ctx context.Context, questions []audit.Question) []audit.Answer
	// Beaten tells what another NAT on the host decides before the backend; nil: the backend always decides first.
	Beaten func(ctx context.Context) ([]string, error)

	round int
	found []Finding
}

// Run audits until ctx ends. It begins when the first policies are in force.
func (a *Auditor) Run(ctx context.Context) error {
	for next := auditSoon; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(next):
		}
		if a.audit(ctx, a.Agent.Status()) {
			next = auditEvery
		}
	}
}

// audit asks once, if the policies of the status are in force, and tells whether they were.
func (a *Auditor) audit(ctx context.Context, s Status) bool {
	if !s.Synced || s.Stages["nat"].Runs == 0 || s.Stages["nat"].LastError != "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, auditTime)
	defer cancel()
	samples := a.samples(s)
	a.round++
	questions := make([]audit.Question, len(samples))
	for i, sample := range samples {
		questions[i] = audit.Question{Pod: sample.Pod, To: sample.Destination, Protocol: tcp, Port: https}
	}
	began := time.Now()
	answers := a.Ask(ctx, questions)
	if errors.Is(ctx.Err(), context.Canceled) {
		return false // the agent stops
	}
	a.found = nil
	for i, sample := range samples {
		if finding, bad := judge(s.Policies, sample, answers[i]); bad {
			a.found = append(a.found, finding)
		}
	}
	slices.SortStableFunc(a.found, func(x, y Finding) int {
		return cmp.Or(strings.Compare(x.Policy, y.Policy), x.Pod.Compare(y.Pod), x.Destination.Compare(y.Destination))
	})
	a.Agent.audited(Audit{Questions: len(questions), Took: time.Since(began), Findings: a.found, Beaten: a.beaten(ctx)})
	return true
}

func (a *Auditor) beaten(ctx context.Context) []string {
	if a.Beaten == nil {
		return nil
	}
	beaten, err := a.Beaten(ctx)
	if err != nil {
		return []string{fmt.Sprintf("it cannot be told whether another NAT decides before the backend (%v)", err)}
	}
	return beaten
}

// audited publishes an audit.
func (a *Agent) audited(done Audit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	done.Runs, done.Checked = a.status.Audit.Runs+1, time.Now()
	for _, f := range done.Findings {
		if !slices.ContainsFunc(a.status.Audit.Findings, func(g Finding) bool { return g.Policy == f.Policy && g.reason() == f.reason() }) {
			a.Log.Warn("source address", "policy", f.Policy, "pod", f.Pod, "destination", f.Destination, "want", f.Want, "got", f.Got, "rule", f.Rule)
		}
	}
	for _, b := range done.Beaten {
		if !slices.Contains(a.status.Audit.Beaten, b) {
			a.Log.Warn("another NAT decides before the backend", "what", b)
		}
	}
	a.status.Audit = done
}

// What is asked about: rules seldom look at ports.
const (
	tcp   = 6
	https = 443
)

// samples are what was found before, to see whether it still is, and then of each policy a pod and a destination of each
// family, others in each round.
func (a *Auditor) samples(s Status) []Finding {
	var all []Finding
	for _, policy := range s.Policies {
		for _, v4 := range []bool{true, false} {
			pods, destinations := podsOf(policy, s.Pods, v4), destinationsOf(policy, v4)
			if len(pods) == 0 || len(destinations) == 0 {
				continue
			}
			all = append(all, Finding{Policy: policy.Name, Pod: pods[a.round%len(pods)], Destination: destinations[a.round/len(pods)%len(destinations)]})
		}
	}
	if n := len(all); n > auditQuestions {
		begin := a.round * auditQuestions % n
		all = append(all[begin:], all[:begin]...)[:auditQuestions]
	}
	samples := []Finding{}
	for _, sample := range slices.Concat(a.found, all) {
		policy := nat.Policy{}
		if i := slices.IndexFunc(s.Policies, func(p nat.Policy) bool { return p.Name == sample.Policy }); i >= 0 {
			policy = s.Policies[i]
		}
		sample = Finding{Policy: policy.Name, Pod: sample.Pod, Destination: sample.Destination}
		decides := Deciding(s.Policies, s.Pods, sample.Pod, sample.Destination)
		if decides != nil && decides.Name == policy.Name && !slices.Contains(samples, sample) {
			samples = append(samples, sample)
		}
	}
	return samples
}

// podsOf are addresses of pods that a policy is about: the selected ones, else one of each prefix of the node.
func podsOf(policy nat.Policy, prefixes []netip.Prefix, v4 bool) []netip.Addr {
	var pods []netip.Addr
	if policy.Selects {
		for _, pod := range policy.Pods {
			if pod.Is4() == v4 {
				pods = append(pods, pod)
			}
		}
		return pods
	}
	for _, p := range prefixes {
		// The first address is the network's, the second the node's.
		if pod := p.Masked().Addr().Next().Next(); p.Contains(pod) && pod.Is4() == v4 {
			pods = append(pods, pod)
		}
	}
	return pods
}

// destinationsOf are addresses that a policy is about, one of each of its prefixes.
func destinationsOf(policy nat.Policy, v4 bool) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range policy.Destinations {
		addr := p.Masked().Addr()
		if next := addr.Next(); p.Contains(next) {
			addr = next
		}
		if addr.Is4() == v4 {
			addrs = append(addrs, addr)
		}
	}
	if len(policy.Destinations) == 0 { // everything: an address for documentation, which nobody has (RFC 5737, RFC 3849)
		addr := netip.AddrFrom4([4]byte{203, 0, 113, 1})
		if !v4 {
			addr = netip.MustParseAddr("2001:db8::1")
		}
		addrs = append(addrs, addr)
	}
	return slices.DeleteFunc(addrs, netip.Addr.IsUnspecified)
}

// Deciding is the policy that decides what a pod sends to a destination; nil: none does. Prefixes are those of the node's pods.
func Deciding(policies []nat.Policy, prefixes []netip.Prefix, pod, destination netip.Addr) *nat.Policy {
	contains := func(list []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	var first *nat.Policy
	for i := range policies {
		p := &policies[i]
		if p.Selects && !slices.Contains(p.Pods, pod) || !p.Selects && !contains(prefixes, pod) {
			continue
		}
		if len(p.Destinations) == 0 && contains(prefixes, destination) || len(p.Destinations) > 0 && !contains(p.Destinations, destination) {
			continue
		}
		if contains(p.Exclude, destination) {
			continue
		}
		if first == nil || cmp.Or(cmp.Compare(p.Priority, first.Priority), strings.Compare(p.Name, first.Name)) < 0 {
			first = p
		}
	}
	return first
}

// judge compares an answer with what the policy wants.
func judge(policies []nat.Policy, f Finding, answer audit.Answer) (Finding, bool) {
	i := slices.IndexFunc(policies, func(p nat.Policy) bool { return p.Name == f.Policy })
	f.Want = Wanted(policies[i], f.Pod)
	if answer.Rule != nil {
		f.Rule = answer.Rule.String()
	}
	f.Unknown = answer.Kind == audit.Unknown
	f.Got = answer.Outcome.String()
	if answer.Source.IsValid() {
		f.Got = answer.Source.String()
	}
	return f, answer.Kind != audit.Stays && !Satisfied(f.Want, f.Pod, answer)
}

// Wanted is the source that the policy asks for now: without a path to a gateway its fallback.
func Wanted(p nat.Policy, pod netip.Addr) nat.Source {
	leads := func(path nat.Path) bool { return path.IPv4 && pod.Is4() || path.IPv6 && pod.Is6() }
	if p.Source == nat.SourceGateway && !slices.ContainsFunc(p.Via, leads) {
		return p.Fallback
	}
	return p.Source
}

// Satisfied tells whether a packet leaves with the source that is wanted.
func Satisfied(want nat.Source, pod netip.Addr, answer audit.Answer) bool {
	switch want {
	case nat.SourcePod:
		return answer.Source == pod
	case nat.SourceNode:
		return answer.Kind == audit.Masqueraded
	case nat.SourceDrop:
		return answer.Kind == audit.Dropped
	}
	// The gateway: another node, which is behind a tunnel, or this one, by a rule of ours.
	tunnelled := strings.HasPrefix(answer.Out, route.TunnelPrefix) && answer.Source == pod
	return tunnelled || answer.Rule != nil && answer.Rule.Owner() == "waymark" && answer.Source.IsValid() && answer.Source != pod
}
