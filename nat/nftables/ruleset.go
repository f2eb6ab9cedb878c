package nftables

import (
	"fmt"
	"slices"

	"sigs.k8s.io/knftables"

	"github.com/waymark-bgp/waymark/nat"
)

// The names in the kernel. The frame, everything but the elements, does not grow with prefixes, pods and policies; it has a
// chain and two maps for each class of pods.
const (
	tableName = "waymark"

	postrouting = "postrouting"
	keepPod     = "pod"
	toNode      = "node"

	pods4 = "pods4"
	pods6 = "pods6"
)

func classChain(i int) string { return fmt.Sprintf("class%d", i) }
func egress4(i int) string    { return fmt.Sprintf("class%d_egress4", i) }
func egress6(i int) string    { return fmt.Sprintf("class%d_egress6", i) }

// chainsOf names the chains for a number of classes.
func chainsOf(classes int) []string {
	names := []string{keepPod, toNode, postrouting}
	for i := range classes {
		names = append(names, classChain(i))
	}
	return names
}

// mapsOf names the maps for a number of classes.
func mapsOf(classes int) []string {
	names := []string{pods4, pods6}
	for i := range classes {
		names = append(names, egress4(i), egress6(i))
	}
	return names
}

// element is a range in a map with the chain that it leads to.
type element struct {
	nat.Range
	chain string
}

// elementsOf gives the elements of each map, sorted.
func elementsOf(t nat.Table) map[string][]element {
	elements := map[string][]element{}
	add := func(name4, name6 string, r nat.Range, chain string) {
		name := name4
		if r.First.Is6() {
			name = name6
		}
		elements[name] = append(elements[name], element{r, chain})
	}
	chains := map[nat.Source]string{nat.SourcePod: keepPod, nat.SourceNode: toNode}
	for i, class := range t.Classes {
		for _, r := range class.Pods {
			add(pods4, pods6, r, classChain(i))
		}
		for _, d := range class.Decisions {
			add(egress4(i), egress6(i), d.Range, chains[d.Source])
		}
	}
	for _, name := range []string{pods4, pods6} {
		slices.SortFunc(elements[name], func(a, b element) int { return a.First.Compare(b.First) })
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

// addFrame adds all but the elements. In an existing table it replaces the rules and leaves chains, maps and elements.
func addFrame(tx *knftables.Transaction, classes int) {
	addTable(tx)
	// Chains before maps: nft 1.0.6 sends the elements of a new map together with the map.
	for _, name := range chainsOf(classes) {
		if name != postrouting {
			tx.Add(&knftables.Chain{Name: name})
		}
	}
	tx.Add(&knftables.Chain{
		Name:     postrouting,
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority + "-10"),
		Policy:   knftables.PtrTo(knftables.AcceptPolicy),
	})
	flushChains(tx, chainsOf(classes))
	ranges := func(name, key, comment string) {
		tx.Add(&knftables.Map{Name: name, Type: key + " : verdict", Flags: []knftables.SetFlag{knftables.IntervalFlag}, Comment: knftables.PtrTo(comment)})
	}
	ranges(pods4, "ipv4_addr", "pods of this node to class")
	ranges(pods6, "ipv6_addr", "pods of this node to class")
	for i := range classes {
		ranges(egress4(i), "ipv4_addr", "destination to source")
		ranges(egress6(i), "ipv6_addr", "destination to source")
	}
	rule := func(chain, text, comment string) {
		tx.Add(&knftables.Rule{Chain: chain, Rule: text, Comment: knftables.PtrTo(comment)})
	}
	rule(postrouting, "meta mark & 0x4000 != 0 return", "kube-proxy will masquerade this")
	rule(postrouting, "ip saddr vmap @"+pods4, "pods, IPv4")
	rule(postrouting, "ip6 saddr vmap @"+pods6, "pods, IPv6")
	for i := range classes {
		rule(classChain(i), "ip daddr vmap @"+egress4(i), "policies, IPv4")
		rule(classChain(i), "ip6 daddr vmap @"+egress6(i), "policies, IPv6")
	}
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
	if e.First == e.Last {
		object.Key = []string{e.First.String()}
	}
	object.Map, object.Value = name, []string{"goto " + e.chain}
	return object
}
