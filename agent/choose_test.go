package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// TestChoose follows one node through what it sees of the gateways a, b and c: "+" alive, "?" presumed, "~" returned, "x"
// dead; a capital letter is a gateway that is leaving; "|" is a new term, in whose list the order is that of the letters; "."
// comes at once, all others ten seconds later; "!" is what c sees that takes itself for cut off.
func TestChoose(t *testing.T) {
	for _, test := range []struct{ name, sees, chooses string }{
		{"the first of the list", "a+b+c+", "a"},
		{"the next one when it dies", "a+b+c+ axb+c+", "a b"},
		{"no takeover back", "a+b+c+ axb+c+ a~b+c+ a+b+c+", "a b b b"},
		{"one that was not away has not lost it", "a+b+c+ axb+c+ a?b+c+ a+b+c+ a+b+c+", "a b b a a"},
		{"nor has the first of those that were lost", "a+b+c+ axb+c+ axbxc+ axbxcx a?b?c? a?b+c+ a+b+c+", "a b c - c c a"},
		{"those that come before it are not asked", "A+b+ a+b+ axbx .a?b+ .a+b+", "b b - b b"},
		{"it goes on as one like all others", "a+b+c+ axb+c+ a+b+c+ A+b+c+ a+b+c+", "a b a b b"},
		{"after a failover they still agree", "a~b+c+ a~b+cx .a+b+cx a+b+c~", "b b b b"},
		{"what others saw earlier", "c+a~b+ cxa~b+ .cxa+b+ c~a+b+ .c~axb+ .c~a~b+", "c b a a b b"},
		{"those that are like all others again do not take turns", "a+b~c~ axb~c~ .axb~c+ .axb+c+ axb+c+", "a b b b b"},
		{"what comes too late", "c+a~b+ cxa~b+ cxa+b+", "c b b"},
		{"one that has returned and dies again", "a+b+ axb+ a~b+ a+b+ axb+ a+b+", "a b b b b b"},
		{"a new term is gone by", "a+b+c+ axb+c+ |a+b+c+", "a b a"},
		{"the new term's order", "a+b+ axb+ a~b+ |b+a+", "a b b b"},
		{"presumed while nothing is known", "a?b?c? a+b+c+", "a a"},
		{"what is presumed is not final", "axb?c? a+b?c? a+b+c+", "b a a"},
		{"all have just started", "a?b? a~b? a~b~ a+b~ a+b+", "a b a a a"},
		{"all have just started, and the first is late", "axb~ axb+ a~b+ a+b+", "b b b b"},
		{"one that was chosen when all had returned stays", "a~b~ a~b+ a+b+", "a a a"},
		{"one that says it has returned is left", "a+b+ a~b+ a+b+", "a b b"},
		{"a drain moves on", "a+b+c+ A+b+c+ a+b+c+", "a b b"},
		{"a drain to one that has returned", "a+b~c~ A+b~c~ A+b+c~ a+b+c~", "a b b b"},
		{"a drain of the only one", "a+ A+ Ax", "a a -"},
		{"none is alive", "a+b+ axbx", "a -"},
		{"the one that was chosen last goes on", "a+b+ axb+ axbx a?b? a~b+", "a b - b b"},
		{"but not if it was away itself", "a+b+ axb+ axbx a~b~", "a b - a"},
		{"sessions begin anew with one that was chosen as returned", "a~b~ a~b+ a?b? a~b+", "a a a a"},
		{"cut off", "a+b+c+ !axbxc~ a?b?c~ a+b+c~", "a c a a"},
		{"cut off as the owner", "A+B+c+ a+b+c+ !axbxc~ a?b?c~ a+b+c~", "c c c a a"},
		{"cut off from BFD alone", "a+b+c+ axb+c+ a~b+c+ a+b+c+ !a+b+c~ a?b?c~ a+b+c~", "a b b b b b b"},
		{"cut off from BFD alone as the first, and all others have returned", "c+a~b~ !c~a~b~ c~a?b? c~a~b~ c~a+b~ c+a+b~", "c a a a a a"},
		{"sessions begin anew", "a+b+ axb+ a?b? a~b+", "a b b b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var choice Choice
			var got []string
			term, now := int64(1), time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
			for sight := range strings.FieldsSeq(test.sees) {
				if rest, ok := strings.CutPrefix(sight, "|"); ok {
					term, sight = term+1, rest
				}
				now = now.Add(2 * agreeTime)
				if rest, ok := strings.CutPrefix(sight, "."); ok {
					now, sight = now.Add(1-2*agreeTime), rest
				}
				sight, isolated := strings.CutPrefix(sight, "!")
				list := v1alpha1.EgressAddress{Term: term}
				healths := map[string]Health{}
				for i := 0; i < len(sight); i += 2 {
					name := strings.ToLower(sight[i : i+1])
					healths[name] = map[byte]Health{'+': Alive, '?': Presumed, '~': Returned, 'x': Dead}[sight[i+1]]
					list.Gateways = append(list.Gateways, v1alpha1.EgressOwner{Node: name, Leaving: name != sight[i:i+1]})
				}
				u := use{EgressAddress: list}
				for _, g := range list.Gateways {
					u.states = append(u.states, GatewayState{Node: g.Node, Health: healths[g.Node], Leaving: g.Leaving})
				}
				u.choose(EgressFacts{Choices: map[uint32]Choice{0: choice}, Now: now, Isolated: isolated}, "c", false)
				choice = u.choice
				got = append(got, map[bool]string{true: "-", false: choice.Gateway}[choice.Gateway == ""])
			}
			if chose := fmt.Sprint(strings.Join(got, " ")); chose != test.chooses {
				t.Errorf("saw %s: chose %s, want %s", test.sees, chose, test.chooses)
			}
		})
	}
}

// TestPortsOfGateways: without a controller any two gateways of up to four give out different ports; with one the owner and
// whoever takes over from it, and owners that follow each other.
func TestPortsOfGateways(t *testing.T) {
	type part struct{ first, last uint16 }
	of := func(self, list string, term int64, controlled bool) part {
		u := use{EgressAddress: v1alpha1.EgressAddress{Term: term}}
		for _, name := range list {
			u.states = append(u.states, GatewayState{Node: string(name)})
		}
		first, last := u.ports(self, controlled)
		return part{first, last}
	}
	apart := func(what string, parts ...part) {
		t.Helper()
		for i, a := range parts {
			if a.first < firstPort || a.first >= a.last {
				t.Errorf("%s: ports %d to %d", what, a.first, a.last)
			}
			for _, b := range parts[:i] {
				if a.first <= b.last && b.first <= a.last {
					t.Errorf("%s: ports %d to %d, and %d to %d", what, a.first, a.last, b.first, b.last)
				}
			}
		}
	}
	apart("two", of("a", "ba", 1, false), of("b", "ba", 1, false))
	apart("three", of("a", "bca", 1, false), of("b", "bca", 1, false), of("c", "bca", 1, false))
	apart("four", of("a", "bcad", 1, false), of("b", "bcad", 1, false), of("c", "bcad", 1, false), of("d", "bcad", 1, false))
	apart("one of many", of("e", "abcde", 1, false))
	for term := range int64(2) {
		apart("the owner and who takes over", of("b", "bca", term, true), of("c", "bca", term, true))
		apart("owners that follow each other", of("b", "bca", term, true), of("c", "cba", term+1, true))
	}
	if p := of("a", "abc", 1, false); p != (part{firstPort, 21844}) {
		t.Errorf("the first of three: ports %d to %d", p.first, p.last)
	}
}
