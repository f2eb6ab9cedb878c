package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/audit"
)

// auditedHost answers as a host where a rule of flannel masquerades what goes to some addresses.
type auditedHost struct {
	masquerades []netip.Prefix
	asked       []audit.Question
}

func (h *auditedHost) ask(_ context.Context, questions []audit.Question) []audit.Answer {
	h.asked = append(h.asked, questions...)
	var answers []audit.Answer
	for _, q := range questions {
		a := audit.Answer{Source: q.Pod, Out: "eth0"}
		a.Outcome = audit.Outcome{Kind: audit.Unchanged, Address: q.Pod}
		if slices.ContainsFunc(h.masquerades, func(p netip.Prefix) bool { return p.Contains(q.To) }) {
			a.Source = netip.MustParseAddr("192.0.2.1")
			a.Outcome = audit.Outcome{Kind: audit.Masqueraded, Interface: "eth0", Rule: &audit.Rule{Chain: audit.ChainName{Chain: "FLANNEL-POSTRTG"}}}
		}
		answers = append(answers, a)
	}
	return answers
}

func auditedAgent(policies ...nat.Policy) *Agent {
	a := &Agent{Log: slog.New(slog.DiscardHandler)}
	a.status = Status{
		Synced: true, Policies: policies, Stages: map[string]Stage{"nat": {Runs: 1}},
		Pods: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
	}
	return a
}

func TestAuditFindsWhatChangesASource(t *testing.T) {
	a := auditedAgent(
		nat.Policy{Name: "registries", Source: nat.SourcePod, Destinations: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")}},
		nat.Policy{Name: "rest", Priority: 1, Source: nat.SourceNode, Destinations: []netip.Prefix{netip.MustParsePrefix("10.3.0.0/16")}},
	)
	h := &auditedHost{masquerades: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/15")}}
	auditor := &Auditor{Agent: a, Ask: h.ask}
	for range 4 { // the destinations take turns; what was found is asked again each time
		auditor.audit(t.Context(), a.status)
	}
	problems := a.status.Audit.problems("n1")
	if len(a.status.Audit.Findings) != 1 || len(problems) != 1 || a.status.Audit.Runs != 4 {
		t.Fatalf("got %+v, problems %v", a.status.Audit, problems)
	}
	want := "EgressPolicy/registries: SourceChanged: from pod 10.244.1.2 to 10.2.0.1: want source Pod, got 192.0.2.1;" +
		"  table   chain FLANNEL-POSTRTG line 0 (flannel): "
	if got := problems[0].String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	h.masquerades = h.masquerades[:0]
	auditor.audit(t.Context(), a.status)
	if f := a.status.Audit.Findings; len(f) != 1 || f[0].Policy != "rest" || f[0].Want != nat.SourceNode {
		t.Errorf("after flannel has gone: %+v", f)
	}
}

func TestAuditSaysThatTheBackendIsBeaten(t *testing.T) {
	a := auditedAgent(nat.Policy{Name: "registries", Source: nat.SourcePod})
	a.Node = "n1"
	for _, test := range []struct {
		beaten []string
		err    error
		want   string
	}{
		{},
		{[]string{"what 10.244.1.2 sends to 10.1.0.1 is decided before iptables-nft, by table ip flannel"}, nil,
			"Node/n1: BackendBeaten: what 10.244.1.2 sends to 10.1.0.1 is decided before iptables-nft, by table ip flannel: use --nat-backend nftables, or remove the other"},
		{nil, errors.New("the rules are not in force"),
			"Node/n1: BackendBeaten: it cannot be told whether another NAT decides before the backend (the rules are not in force): use --nat-backend nftables, or remove the other"},
	} {
		auditor := &Auditor{Agent: a, Ask: (&auditedHost{}).ask, Beaten: func(context.Context) ([]string, error) { return test.beaten, test.err }}
		auditor.audit(t.Context(), a.status)
		var got string
		for _, p := range a.status.Audit.problems(a.Node) {
			got += p.String()
		}
		if got != test.want {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
}

func TestAuditIsBounded(t *testing.T) {
	var policies []nat.Policy
	for i := range 300 {
		policies = append(policies, nat.Policy{Name: fmt.Sprint("p", i), Source: nat.SourcePod, Destinations: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", 100+i/200, i%200))}})
	}
	a := auditedAgent(policies...)
	h := &auditedHost{}
	auditor := &Auditor{Agent: a, Ask: h.ask}
	for range 6 {
		auditor.audit(t.Context(), a.status)
		if n := a.status.Audit.Questions; n != auditQuestions {
			t.Errorf("%d questions in one audit", n)
		}
	}
	asked := map[netip.Addr]bool{}
	for _, q := range h.asked {
		asked[q.To] = true
	}
	if len(asked) != len(policies) {
		t.Errorf("after six audits %d of %d policies were asked about", len(asked), len(policies))
	}
}

func TestAuditKnowsWhatIsWanted(t *testing.T) {
	pod, node, fixed := netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	waymark := &audit.Rule{Chain: audit.ChainName{Table: "waymark"}}
	answer := func(kind audit.Kind, source netip.Addr, out string, rule *audit.Rule) audit.Answer {
		a := audit.Answer{Source: source, Out: out}
		a.Kind, a.Rule = kind, rule
		return a
	}
	via := []nat.Path{{Mark: 1, IPv4: true}}
	for _, test := range []struct {
		name   string
		policy nat.Policy
		answer audit.Answer
		fine   bool
	}{
		{"pod", nat.Policy{Source: nat.SourcePod}, answer(audit.Unchanged, pod, "eth0", nil), true},
		{"pod, unknown", nat.Policy{Source: nat.SourcePod}, answer(audit.Unknown, netip.Addr{}, "eth0", nil), false},
		{"node", nat.Policy{Source: nat.SourceNode}, answer(audit.Masqueraded, node, "eth0", waymark), true},
		{"node, unchanged", nat.Policy{Source: nat.SourceNode}, answer(audit.Unchanged, pod, "eth0", nil), false},
		{"tunnel", nat.Policy{Source: nat.SourceGateway, Via: via}, answer(audit.Unchanged, pod, "waymark7", waymark), true},
		{"past the tunnel", nat.Policy{Source: nat.SourceGateway, Via: via}, answer(audit.Unchanged, pod, "eth0", nil), false},
		{"this node is the gateway", nat.Policy{Source: nat.SourceGateway, Via: via}, answer(audit.Translated, fixed, "eth0", waymark), true},
		{"masqueraded by others", nat.Policy{Source: nat.SourceGateway, Via: via}, answer(audit.Masqueraded, node, "eth0", &audit.Rule{}), false},
		{"no gateway, dropped", nat.Policy{Source: nat.SourceGateway, Fallback: nat.SourceDrop}, answer(audit.Dropped, netip.Addr{}, "", waymark), true},
		{"no gateway, not dropped", nat.Policy{Source: nat.SourceGateway, Fallback: nat.SourceDrop}, answer(audit.Unchanged, pod, "eth0", nil), false},
	} {
		if _, bad := judge([]nat.Policy{test.policy}, Finding{Pod: pod}, test.answer); bad == test.fine {
			t.Errorf("%s: fine %v", test.name, !bad)
		}
	}
}
