package audit_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/waymark-bgp/waymark/nat/audit"
)

var packet = audit.Packet{
	Source: netip.MustParseAddr("10.244.1.2"), Destination: netip.MustParseAddr("198.51.100.1"), Protocol: 6, Port: 443,
	In: "cni0", Out: "eth0", DestinationType: "unicast",
}

func name(chain string) audit.ChainName {
	return audit.ChainName{Tool: "nft", Family: "ip", Table: "t", Chain: chain}
}

func chain(id string, priority int, rules ...[]audit.Statement) *audit.Chain {
	c := &audit.Chain{Name: name(id), Priority: priority}
	for i, statements := range rules {
		c.Rules = append(c.Rules, audit.Rule{Chain: c.Name, Line: i + 1, Text: id, Statements: statements})
	}
	return c
}

func ruleset(base []*audit.Chain, others ...*audit.Chain) audit.Ruleset {
	return audit.Ruleset{Base: base, Load: func(n audit.ChainName) *audit.Chain {
		for _, c := range others {
			if c.Name == n {
				return c
			}
		}
		return nil
	}}
}

func rule(statements ...audit.Statement) []audit.Statement { return statements }

var (
	masquerade = audit.Translate{Masquerade: true}
	itself     = audit.Translate{Targets: []audit.Target{{}}}
	accept     = audit.Verdict{Do: audit.Accept}
	drop       = audit.Verdict{Do: audit.Drop}
	back       = audit.Verdict{Do: audit.Return}
	toFixed    = audit.Translate{Targets: []audit.Target{{First: netip.MustParseAddr("192.0.2.9"), Last: netip.MustParseAddr("192.0.2.9")}}}
)

func jump(to string) audit.Verdict { return audit.Verdict{Do: audit.Jump, Chain: to} }
func leap(to string) audit.Verdict { return audit.Verdict{Do: audit.Goto, Chain: to} }

func TestEvaluate(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules audit.Ruleset
		want  string
	}{
		{"nothing", ruleset(nil), "10.244.1.2"},
		{"masquerade", ruleset([]*audit.Chain{chain("a", 100, rule(masquerade))}), "the address of eth0"},
		{"an accept ends one chain only", ruleset([]*audit.Chain{chain("a", 90, rule(accept), rule(drop)), chain("b", 100, rule(masquerade))}), "the address of eth0"},
		{"a mapping to itself ends NAT", ruleset([]*audit.Chain{chain("a", 90, rule(itself)), chain("b", 100, rule(masquerade))}), "10.244.1.2"},
		{"the lower priority is first", ruleset([]*audit.Chain{chain("b", 100, rule(masquerade)), chain("a", 90, rule(toFixed))}), "192.0.2.9"},
		{"one priority, two answers", ruleset([]*audit.Chain{chain("a", 100, rule(masquerade)), chain("b", 100, rule(toFixed))}), "unknown"},
		{"one priority, one answer", ruleset([]*audit.Chain{chain("a", 100, rule(masquerade)), chain("b", 100, rule(accept))}), "the address of eth0"},
		{"a drop ends all", ruleset([]*audit.Chain{chain("a", 90, rule(drop)), chain("b", 100, rule(masquerade))}), "none, it is dropped"},
		{"a jump comes back", ruleset([]*audit.Chain{chain("a", 90, rule(jump("x")), rule(masquerade))}, chain("x", 0, rule(back), rule(drop))), "the address of eth0"},
		{"a goto does not", ruleset([]*audit.Chain{chain("a", 90, rule(leap("x")), rule(masquerade))}, chain("x", 0)), "10.244.1.2"},
		{"a chain that is not there", ruleset([]*audit.Chain{chain("a", 90, rule(jump("x")))}), "unknown"},
		{"a loop", ruleset([]*audit.Chain{chain("a", 90, rule(jump("x")))}, chain("x", 0, rule(jump("x")))), "unknown"},
		{"a policy of drop", ruleset([]*audit.Chain{{Name: name("a"), Drops: true}}), "none, it is dropped"},
		{"not understood", ruleset([]*audit.Chain{chain("a", 90, rule(audit.Opaque{}))}), "unknown"},
		{"not understood, but not reached", ruleset([]*audit.Chain{chain("a", 90, rule(itself), rule(audit.Opaque{}))}), "10.244.1.2"},
		{"perhaps", ruleset([]*audit.Chain{chain("a", 90, rule(audit.Uncertain{}, masquerade))}), "unknown"},
		{"perhaps, and otherwise the same", ruleset([]*audit.Chain{chain("a", 90, rule(audit.Uncertain{}, masquerade), rule(masquerade))}), "the address of eth0"},
		{"not read", ruleset([]*audit.Chain{{Name: name("a"), Unread: "no time"}}), "unknown"},
		{"of another version", ruleset([]*audit.Chain{{Name: audit.ChainName{Family: "ip6"}, Unread: "no time"}}), "10.244.1.2"},
		{"mark", ruleset([]*audit.Chain{chain("a", 90,
			rule(audit.SetMark{And: ^uint32(0x4000), Xor: 0x4000}),
			rule(audit.Match{Keys: []audit.Key{{Field: audit.Mark, Mask: 0x4000}}, In: audit.Set{{{Low: 0x4000, High: 0x4000}}}}, masquerade))}), "the address of eth0"},
		{"a mark that cannot be told", ruleset([]*audit.Chain{chain("a", 90,
			rule(audit.SetMark{Unknown: true}),
			rule(audit.Match{Keys: []audit.Key{{Field: audit.Mark, Mask: 0x4000}}, In: audit.Set{{{Low: 0x4000, High: 0x4000}}}}, masquerade))}), "unknown"},
		{"negated, of another version", ruleset([]*audit.Chain{chain("a", 90,
			rule(audit.Match{Keys: []audit.Key{{Field: audit.DestinationAddress, Version: 6}}, Not: true, In: audit.Set{{audit.Prefix(netip.MustParsePrefix("::/0"))}}}, masquerade))}), "10.244.1.2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			result := audit.Evaluate(test.rules, packet)
			if got := result.String(); got != test.want && !(test.want == "unknown" && result.Kind == audit.Unknown) {
				t.Errorf("got %s, want %s; %v", got, test.want, result.Steps)
			}
		})
	}
}

// TestNothingUnknownIsFine puts a part that is not understood, or a match that cannot be told, into random rulesets. The
// answer may become unknown; it may not become another one. An uncertain match is compared with both of what it may be.
func TestNothingUnknownIsFine(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	always := audit.Match{Keys: []audit.Key{{Field: audit.State}}, In: audit.Set{{{Word: "new"}}}}
	never := audit.Match{Keys: []audit.Key{{Field: audit.State}}, Not: true, In: audit.Set{{{Word: "new"}}}}
	ends := []audit.Statement{masquerade, itself, accept, drop, back, toFixed, jump("x"), leap("x"), jump("y"), audit.SetMark{Xor: 1}}
	marked := audit.Match{Keys: []audit.Key{{Field: audit.Mark}}, In: audit.Set{{{Low: 1, High: 1}}}}
	unknown, known := 0, 0
	for range 5000 {
		at := random.IntN(12)
		seed := random.Uint64()
		make := func(doubt audit.Statement) audit.Result {
			r := rand.New(rand.NewPCG(seed, 3))
			n := 0
			some := func() (rules [][]audit.Statement) {
				for range 4 {
					first := []audit.Statement{always, never, marked}[r.IntN(3)]
					end := ends[r.IntN(len(ends))]
					if n == at {
						first = doubt
					}
					n++
					rules = append(rules, rule(first, end))
				}
				return rules
			}
			a, x, y := chain("a", 90, some()...), chain("x", 0, some()...), chain("y", 0, some()...)
			for i := range y.Rules { // no loops
				if v, ok := y.Rules[i].Statements[1].(audit.Verdict); ok && v.Chain != "" {
					y.Rules[i].Statements[1] = accept
				}
			}
			for i := range x.Rules {
				if v, ok := x.Rules[i].Statements[1].(audit.Verdict); ok && v.Chain == "x" {
					x.Rules[i].Statements[1] = jump("y")
				}
			}
			return audit.Evaluate(ruleset([]*audit.Chain{a, chain("b", 100, rule(masquerade))}, x, y), packet)
		}
		doubtful, yes, no := make(audit.Uncertain{}), make(always), make(never)
		if doubtful.Kind == audit.Unknown {
			unknown++
			continue
		}
		known++
		if doubtful.String() != yes.String() || doubtful.String() != no.String() {
			t.Fatalf("seed %d at %d: %s, although it is %s or %s", seed, at, doubtful, yes, no)
		}
		if opaque := make(audit.Opaque{}); opaque.Kind != audit.Unknown && opaque.String() != doubtful.String() {
			t.Fatalf("seed %d at %d: not understood, and yet %s", seed, at, opaque)
		}
	}
	t.Logf("%d unknown, %d known", unknown, known)
	if unknown < 100 || known < 100 {
		t.Error("the rulesets say nothing of one of both")
	}
}

func TestOwner(t *testing.T) {
	for text, want := range map[string]string{
		"KUBE-POSTROUTING": "kube-proxy", "FLANNEL-POSTRTG": "flannel", "cali-nat-outgoing": "calico", "CILIUM_POST_nat": "cilium",
		"DOCKER": "docker", "WAYMARK-POSTROUTING": "waymark", "POSTROUTING": "unknown",
	} {
		r := audit.Rule{Chain: audit.ChainName{Table: "nat", Chain: text}}
		if got := r.Owner(); got != want {
			t.Errorf("chain %s: %s, want %s", text, got, want)
		}
	}
}
