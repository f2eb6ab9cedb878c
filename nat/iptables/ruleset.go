package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/nat"
)

// hook is a chain of everybody, from whose first place a chain of ours is jumped to, if ours has rules.
type hook struct {
	table, chain string
}

func (h hook) own() string  { return chainPrefix + h.chain }
func (h hook) jump() string { return "-j " + h.own() }

const chainPrefix = "WAYMARK-"

var (
	natPostrouting = hook{"nat", "POSTROUTING"}

	// hooks are all that we use.
	hooks = []hook{natPostrouting}
)

// chains are the rules of our chains, without "-A CHAIN". They do not grow with prefixes and pods, which are in sets.
type chains map[hook][]string

func (c chains) add(h hook, format string, args ...any) {
	c[h] = append(c[h], fmt.Sprintf(format, args...))
}

// ruleset is what the kernel is to hold.
type ruleset struct {
	chains map[family]chains
	sets   sets
	probes map[family][]probe // what is to be kept, a sample
}

// identity maps an address to itself: no bit of it is replaced. It ends NAT for the connection, an ACCEPT would end one chain.
var identity = map[family]string{ipv4: "-j NETMAP --to 0.0.0.0/0", ipv6: "-j NETMAP --to ::/0"}

const masquerade = "-j MASQUERADE --random-fully"

func rulesetOf(t nat.Table) ruleset {
	r := ruleset{chains: map[family]chains{ipv4: {}, ipv6: {}}, sets: sets{}, probes: map[family][]probe{}}
	for _, f := range families {
		c := r.chains[f]
		for _, class := range t.Classes {
			r.addClass(f, class)
		}
		if len(c[natPostrouting]) > 0 {
			// What has the mark, kube-proxy will masquerade.
			c[natPostrouting] = slices.Insert(c[natPostrouting], 0, probeRule(f), "-m mark --mark 0x4000/0x4000 -j RETURN")
		}
	}
	return r
}

// addClass adds a rule for each target that the class has.
func (r *ruleset) addClass(f family, class nat.Class) {
	pods := slices.DeleteFunc(slices.Clone(class.Pods), func(p nat.Range) bool { return p.First.Is4() != (f == ipv4) })
	to := map[nat.Target][]nat.Range{}
	for _, d := range class.Decisions {
		if d.First.Is4() == (f == ipv4) {
			to[d.Target] = append(to[d.Target], d.Range)
		}
	}
	if len(pods) == 0 {
		return
	}
	r.addProbes(f, pods, to)
	for _, source := range []nat.Source{nat.SourcePod, nat.SourceNode} {
		ranges := to[nat.Target{Source: source}]
		if len(ranges) == 0 {
			continue
		}
		action := identity[f]
		if source == nat.SourceNode {
			action = masquerade
		}
		r.chains[f].add(natPostrouting, "-m set --match-set %s src -m set --match-set %s dst %s", r.sets.add(f, pods), r.sets.add(f, ranges), action)
	}
}

// equal tells whether the rulesets are the same. The names of sets tell their content.
func (r ruleset) equal(other ruleset) bool {
	return maps.EqualFunc(r.chains, other.chains, func(a, b chains) bool { return maps.EqualFunc(a, b, slices.Equal) })
}

// script is the input of iptables-restore that brings a family from have to want. Each table in it is one transaction.
func script(have contents, want chains) string {
	var b strings.Builder
	for _, table := range []string{"mangle", "filter", "nat"} {
		var lines []string
		for _, h := range hooks {
			if h.table == table {
				lines = append(lines, have[h].become(h, want[h])...)
			}
		}
		if len(lines) > 0 {
			fmt.Fprintf(&b, "*%s\n%s\nCOMMIT\n", table, strings.Join(lines, "\n"))
		}
	}
	return b.String()
}
