package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/nat"
)

// hook is a chain of everybody, from whose first or last place a chain of ours is jumped to, if ours has rules.
type hook struct {
	table, chain string
	last         bool
}

func (h hook) own() string  { return chainPrefix + h.chain }
func (h hook) jump() string { return "-j " + h.own() }

const chainPrefix = "WAYMARK-"

var (
	natPostrouting = hook{table: "nat", chain: "POSTROUTING"}

	// hooks are all that we use.
	hooks = []hook{manglePrerouting, filterInput, filterForward, natPrerouting, natPostrouting}
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

func rulesetOf(p nat.Plan, t nat.Table) ruleset {
	r := ruleset{chains: map[family]chains{ipv4: {}, ipv6: {}}, sets: sets{}, probes: map[family][]probe{}}
	for _, f := range families {
		c := r.chains[f]
		c.add(natPostrouting, "%s", probeRule(f))
		c.add(natPostrouting, "%s -j RETURN", kubeProxy)
		if pods := of(f, nat.Ranges(p.Pods)); len(pods) > 0 {
			// To an endpoint here, which may be the pod itself: in nftables mode kube-proxy masquerades that without a mark.
			c.add(natPostrouting, "-m conntrack --ctstate DNAT -m set --match-set %s dst -j RETURN", r.sets.add(f, pods))
		}
		frame := len(c[natPostrouting])
		if usesGateways(p, t) {
			r.addGateways(f, p, t)
		}
		for _, class := range inOrder(t) {
			r.addClass(f, class)
		}
		if len(c[natPostrouting]) == frame {
			delete(c, natPostrouting)
		}
	}
	return r
}

// inOrder gives the classes as rules are asked: what is decided for all pods comes after what is otherwise for some.
func inOrder(t nat.Table) []nat.Class {
	all := nat.Class{Decisions: t.Classes[0].Decisions}
	for _, class := range t.Classes {
		all.Pods = append(all.Pods, class.Pods...)
	}
	slices.SortFunc(all.Pods, func(a, b nat.Range) int { return a.First.Compare(b.First) })
	return append(slices.Clone(t.Classes[1:]), all)
}

// addClass adds a rule for each target that the class has in nat.
func (r *ruleset) addClass(f family, class nat.Class) {
	pods := of(f, class.Pods)
	if len(pods) == 0 {
		return
	}
	to := map[nat.Source][]nat.Range{}
	for _, d := range class.Decisions {
		to[d.Source] = append(to[d.Source], of(f, []nat.Range{d.Range})...)
	}
	r.addProbes(f, pods[0].Last, slices.Concat(to[nat.SourcePod], to[nat.SourceGateway]))
	if ranges := to[nat.SourcePod]; len(ranges) > 0 {
		r.chains[f].add(natPostrouting, "%s %s", r.match(f, pods, ranges), identity[f])
	}
	if ranges := to[nat.SourceNode]; len(ranges) > 0 {
		r.chains[f].add(natPostrouting, "%s %s", r.match(f, pods, ranges), masquerade)
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
