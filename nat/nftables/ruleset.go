package nftables

import (
	"slices"

	"sigs.k8s.io/knftables"

	"github.com/waymark-bgp/waymark/nat"
)

// The names in the kernel. The frame, everything but the elements, never changes with the plan.
const (
	tableName = "waymark"

	postrouting = "postrouting"
	keepPod     = "pod"
	toNode      = "node"

	pods4   = "pods4"
	pods6   = "pods6"
	egress4 = "egress4"
	egress6 = "egress6"
)

var (
	chainNames = []string{keepPod, toNode, postrouting}
	setNames   = []string{pods4, pods6}
	mapNames   = []string{egress4, egress6}
)

// element is a range in a set, or in a map with the chain that it leads to.
type element struct {
	nat.Range
	chain string
}

// elementsOf gives the elements of each set and map, sorted.
func elementsOf(t nat.Table) map[string][]element {
	elements := map[string][]element{}
	for _, r := range t.Pods {
		name := pods4
		if r.First.Is6() {
			name = pods6
		}
		elements[name] = append(elements[name], element{Range: r})
	}
	chains := map[nat.Source]string{nat.SourcePod: keepPod, nat.SourceNode: toNode}
	for _, d := range t.Decisions {
		name := egress4
		if d.First.Is6() {
			name = egress6
		}
		elements[name] = append(elements[name], element{d.Range, chains[d.Source]})
	}
	return elements
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

// addFrame adds all but the elements. In an existing table it replaces the rules and leaves chains, sets and elements.
func addFrame(tx *knftables.Transaction) {
	addTable(tx)
	// Chains before maps: nft 1.0.6 sends the elements of a new map together with the map.
	tx.Add(&knftables.Chain{Name: keepPod})
	tx.Add(&knftables.Chain{Name: toNode})
	tx.Add(&knftables.Chain{
		Name:     postrouting,
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority + "-10"),
		Policy:   knftables.PtrTo(knftables.AcceptPolicy),
	})
	flushChains(tx, chainNames)
	interval := []knftables.SetFlag{knftables.IntervalFlag}
	tx.Add(&knftables.Set{Name: pods4, Type: "ipv4_addr", Flags: interval, Comment: knftables.PtrTo("pods of this node")})
	tx.Add(&knftables.Set{Name: pods6, Type: "ipv6_addr", Flags: interval, Comment: knftables.PtrTo("pods of this node")})
	tx.Add(&knftables.Map{Name: egress4, Type: "ipv4_addr : verdict", Flags: interval, Comment: knftables.PtrTo("destination to source")})
	tx.Add(&knftables.Map{Name: egress6, Type: "ipv6_addr : verdict", Flags: interval, Comment: knftables.PtrTo("destination to source")})
	rule := func(chain, text, comment string) {
		tx.Add(&knftables.Rule{Chain: chain, Rule: text, Comment: knftables.PtrTo(comment)})
	}
	rule(postrouting, "meta mark & 0x4000 != 0 return", "kube-proxy will masquerade this")
	rule(postrouting, "ip saddr @pods4 ip daddr vmap @egress4", "policies, IPv4")
	rule(postrouting, "ip6 saddr @pods6 ip6 daddr vmap @egress6", "policies, IPv6")
	// A mapping to itself ends NAT for the connection; an accept would end this chain only.
	rule(keepPod, "snat ip to ip saddr", "keep the pod's address")
	rule(keepPod, "snat ip6 to ip6 saddr", "keep the pod's address")
	rule(toNode, "masquerade fully-random", "leave with the node's address")
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
func changeElements(tx *knftables.Transaction, have, want map[string][]element) {
	for _, name := range slices.Concat(setNames, mapNames) {
		for _, e := range without(have[name], want[name]) {
			tx.Delete(e.object(name))
		}
		for _, e := range without(want[name], have[name]) {
			tx.Add(e.object(name))
		}
	}
}

// without gives the elements of list that are not in other.
func without(list, other []element) []element {
	in := make(map[element]bool, len(other))
	for _, e := range other {
		in[e] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(e element) bool { return in[e] })
}

func (e element) object(name string) *knftables.Element {
	object := &knftables.Element{Key: []string{e.First.String() + "-" + e.Last.String()}}
	if e.First == e.Last {
		object.Key = []string{e.First.String()}
	}
	if e.chain == "" {
		object.Set = name
		return object
	}
	object.Map, object.Value = name, []string{"goto " + e.chain}
	return object
}
