package nftables

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net/netip"
	"regexp"
	"slices"

	"sigs.k8s.io/knftables"

	"github.com/waymark-bgp/waymark/nat"
)

// The names in the kernel.
const (
	tableName = "waymark"

	postrouting = "postrouting"
	keepPod     = "pod"
	toNode      = "node"
)

func classChain(c nat.Class) string {
	if c.Name == "" {
		return "class0"
	}
	return named("class", c.Name)
}

// named names the chain of a class or a group, by name and not by number: a packet on its way through the rules may meet the
// elements of the next plan in the chains of the last one, and must not take one class or group for another.
func named(kind, name string) string {
	if readable.MatchString(name) {
		return kind + "_" + name
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	return fmt.Sprintf("%s%016x", kind, hash.Sum64())
}

// readable is what nft reads as part of a name.
var readable = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,100}$`)

// family of addresses, in the words of nft.
type family struct{ word, key, number string }

var families = [...]family{{"ip", "ipv4_addr", "4"}, {"ip6", "ipv6_addr", "6"}}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return families[0]
	}
	return families[1]
}

func (f family) pods() string              { return "pods" + f.number }
func (f family) local() string             { return "local" + f.number }
func (f family) egress(c nat.Class) string { return classChain(c) + "_egress" + f.number }

// ruleset is what the table is to hold.
type ruleset struct {
	frame
	elements map[string][]element // by map or set, sorted
}

// frame is everything but the elements. It does not grow with prefixes, pods and policies; it has a chain and two maps for
// each class of pods, and for egress gateways a few chains and maps more.
type frame struct {
	chains []*knftables.Chain
	maps   []*knftables.Map
	sets   []*knftables.Set
	rules  []*knftables.Rule
}

// element is a range in a map with the chain that it leads to; in a set there is no chain. In those that keyTypes names it has
// a key and no range.
type element struct {
	nat.Range
	key   string
	chain string
}

// keyType is what keys are that are no addresses, in the words of nft.
type keyType string

const (
	deviceKey keyType = "ifname"
	markKey   keyType = "mark"
)

// keyTypes are the types of the sets and maps whose keys are no addresses. They could be parts of rules, but for this: when a
// rule is replaced, a packet on its way through the old one finds nothing in a set of its own any more, while in one with a
// name it finds what stays.
var keyTypes = map[string]keyType{arrivals: deviceKey, departures: markKey, exits: markKey}

// rulesetOf gives the ruleset of a plan and the table compiled of it.
func rulesetOf(p nat.Plan, t nat.Table) ruleset {
	r := ruleset{elements: map[string][]element{}}
	// Chains before maps: nft 1.0.6 sends the elements of a new map together with the map.
	r.chain(keepPod)
	r.chain(toNode)
	for _, class := range t.Classes {
		r.chain(classChain(class))
	}
	for _, f := range families {
		r.verdicts(f.pods(), f, "pods of this node to class")
	}
	for _, class := range t.Classes {
		for _, f := range families {
			r.verdicts(f.egress(class), f, "destination to source")
		}
	}
	r.base(postrouting, knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority+"-10")
	r.rule(postrouting, "meta mark & 0x4000 != 0 return", "kube-proxy will masquerade this")
	// In nftables mode it marks no hairpins, and has no place before this one to masquerade them at.
	for _, f := range families {
		r.ranges(f.local(), f, "pods of this node")
		r.rule(postrouting, "ct status dnat "+f.word+" daddr @"+f.local()+" return", "to an endpoint here, it may be the pod itself")
	}
	for _, pods := range nat.Ranges(p.Pods) {
		r.element(familyOf(pods.First).local(), pods, "")
	}
	if usesGateways(p, t) {
		r.addGateways(p, t)
	}
	for _, f := range families {
		r.rule(postrouting, f.word+" saddr vmap @"+f.pods(), "pods, IPv"+f.number)
	}
	for i, class := range t.Classes {
		for _, f := range families {
			r.rule(classChain(class), f.word+" daddr vmap @"+f.egress(class), "policies, IPv"+f.number)
		}
		if i > 0 {
			r.rule(classChain(class), "goto "+classChain(t.Classes[0]), "as for all pods")
		}
	}
	// A mapping to itself ends NAT for the connection; an accept would end this chain only.
	r.rule(keepPod, "snat ip to ip saddr", "keep the pod's address")
	r.rule(keepPod, "snat ip6 to ip6 saddr", "keep the pod's address")
	r.rule(toNode, "masquerade fully-random", "leave with the node's address")

	chains := map[nat.Source]string{nat.SourcePod: keepPod, nat.SourceNode: toNode, nat.SourceGateway: undecided, nat.SourceDrop: undecided}
	for _, class := range t.Classes {
		for _, pods := range class.Pods {
			r.element(familyOf(pods.First).pods(), pods, classChain(class))
		}
		for _, d := range class.Decisions {
			r.element(familyOf(d.First).egress(class), d.Range, chains[d.Source])
		}
	}
	for _, list := range r.elements {
		slices.SortFunc(list, inOrder)
	}
	return r
}

func inOrder(a, b element) int {
	return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.key, b.key))
}

func (f *frame) chain(name string) { f.chains = append(f.chains, &knftables.Chain{Name: name}) }

func (f *frame) base(name string, kind knftables.BaseChainType, hook knftables.BaseChainHook, priority knftables.BaseChainPriority) {
	f.chains = append(f.chains, &knftables.Chain{
		Name: name, Type: &kind, Hook: &hook, Priority: &priority, Policy: knftables.PtrTo(knftables.AcceptPolicy),
	})
}

func (f *frame) verdicts(name string, of family, comment string) {
	f.maps = append(f.maps, &knftables.Map{
		Name: name, Type: of.key + " : verdict", Flags: []knftables.SetFlag{knftables.IntervalFlag}, Comment: &comment,
	})
}

func (f *frame) ranges(name string, of family, comment string) {
	f.sets = append(f.sets, &knftables.Set{Name: name, Type: of.key, Flags: []knftables.SetFlag{knftables.IntervalFlag}, Comment: &comment})
}

// keyedVerdicts and keyed add a map to verdicts, and a set, of those that keyTypes names.
func (f *frame) keyedVerdicts(name, comment string) {
	f.maps = append(f.maps, &knftables.Map{Name: name, Type: string(keyTypes[name]) + " : verdict", Comment: &comment})
}

func (f *frame) keyed(name, comment string) {
	f.sets = append(f.sets, &knftables.Set{Name: name, Type: string(keyTypes[name]), Comment: &comment})
}

// rule adds a rule to a chain; an empty comment is none.
func (f *frame) rule(chain, text, comment string) {
	r := &knftables.Rule{Chain: chain, Rule: text}
	if comment != "" {
		r.Comment = &comment
	}
	f.rules = append(f.rules, r)
}

func (r *ruleset) element(name string, of nat.Range, chain string) {
	r.elements[name] = append(r.elements[name], element{Range: of, chain: chain})
}

func (r *ruleset) key(name, key, chain string) {
	r.elements[name] = append(r.elements[name], element{key: key, chain: chain})
}

// chainNames and setNames name what the kernel calls so: maps are sets too.
func (f *frame) chainNames() (names []string) {
	for _, c := range f.chains {
		names = append(names, c.Name)
	}
	return names
}

func (f *frame) setNames() (names []string) {
	for _, m := range f.maps {
		names = append(names, m.Name)
	}
	for _, s := range f.sets {
		names = append(names, s.Name)
	}
	return names
}

// text tells frames apart.
func (f *frame) text() string {
	tx := begin()
	f.add(tx)
	return tx.String()
}

// add adds the frame. In an existing table it replaces the rules and leaves chains, maps and elements.
func (f *frame) add(tx *knftables.Transaction) {
	addTable(tx)
	for _, c := range f.chains {
		tx.Add(c)
	}
	flushChains(tx, f.chainNames())
	for _, m := range f.maps {
		tx.Add(m)
	}
	for _, s := range f.sets {
		tx.Add(s)
	}
	for _, r := range f.rules {
		tx.Add(r)
	}
}

// replaceTable begins a transaction that builds the table anew, whether it exists or not.
func replaceTable(tx *knftables.Transaction) {
	addTable(tx)
	tx.Delete(&knftables.Table{})
	addTable(tx)
}

func addTable(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{Comment: knftables.PtrTo("Waymark: with which source address pod traffic leaves the node")})
}

func flushChains(tx *knftables.Transaction, names []string) {
	for _, name := range names {
		tx.Flush(&knftables.Chain{Name: name})
	}
}

// deleteOthers deletes flushed chains and sets that nothing refers to any more.
func deleteOthers(tx *knftables.Transaction, chains, sets []string) {
	for _, name := range sets {
		tx.Delete(&knftables.Set{Name: name}) // maps too: to the kernel they are sets
	}
	for _, name := range chains {
		tx.Delete(&knftables.Chain{Name: name})
	}
}

// changeElements deletes and adds what differs. An element that stays is not touched, so that lookups in it never miss.
func changeElements(tx *knftables.Transaction, names []string, have, want map[string][]element) {
	for _, name := range names {
		for _, e := range without(have[name], want[name]) {
			tx.Delete(e.object(name))
		}
		for _, e := range without(want[name], have[name]) {
			tx.Add(e.object(name))
		}
	}
}

// without gives the entries of list that are not in other.
func without[T comparable](list, other []T) []T {
	in := make(map[T]bool, len(other))
	for _, e := range other {
		in[e] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(e T) bool { return in[e] })
}

func (e element) object(name string) *knftables.Element {
	object := &knftables.Element{Key: []string{e.First.String() + "-" + e.Last.String()}}
	switch {
	case e.key != "":
		object.Key = []string{e.key}
	case e.First == e.Last:
		object.Key = []string{e.First.String()}
	}
	if e.chain == "" {
		object.Set = name
		return object
	}
	object.Map, object.Value = name, []string{"goto " + e.chain}
	return object
}
