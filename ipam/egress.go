package ipam

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Egress is all that decides who owns the egress addresses.
type Egress struct {
	Wants []Want
	// Gateways are the nodes, by name. Who is not among them has no place in any list.
	Gateways map[string]Gateway
	// Pools are all prefixes that egress addresses may be of. None: any will do.
	Pools []netip.Prefix
	// Used are the prefixes of others. An address that a policy holds already it keeps all the same.
	Used []Claim
	// Reports are what nodes say of who owns an address: they may have found the first of the list dead.
	Reports map[Place]Report
	// Over are those leaving gateways whose connections are not waited for any more.
	Over map[Place]bool
}

// Gateway is a node as far as it can own addresses.
type Gateway struct {
	Usable     bool // alive, as far as one knows
	Leaving    bool // on its way out: it owns nothing that another can
	IPv4, IPv6 bool // it has an address of the family
}

// Want is what a policy asks for. With neither Addresses nor Pool it is the gateway's own address.
type Want struct {
	Policy    string
	Created   time.Time      // zero, unknown, counts as the youngest
	Addresses []netip.Addr   // these
	Pool      []netip.Prefix // one address of each family
	// Selector in words that are equal if the same nodes are meant: with another one an address cannot be shared.
	Selector string
	Nodes    []string // selected
	Held     []Lease  // what it had until now
}

// Lease is an egress address and who may own it. Policies that share the address have the same lease.
type Lease struct {
	Address  netip.Addr // invalid: the gateway's own
	VNI      uint32     // 1..MaxVNI
	Term     int64      // from 1; grows with each change of the first gateway
	Gateways []Member   // the first that is alive owns it
}

// MaxVNI is the greatest number of a VXLAN (RFC 7348).
const MaxVNI = 1<<24 - 1

// Member is a place in the list of a lease.
type Member struct {
	Node string
	// Leaving: the connections that it has stay with it until they are Over.
	Leaving bool
}

// Place is a node's in a list, as long as that has the term.
type Place struct {
	Node string
	VNI  uint32
	Term int64
}

// Report is what nodes say of a place: that its node owns the address.
type Report struct {
	Self  bool // so does the node itself
	Nodes int  // so many say it, the node itself included
}

// Assignment is what has been decided. It depends on nothing but the Egress.
type Assignment struct {
	Leases   map[string][]Lease // by policy, in the order of its addresses
	Refusals []Refusal          // by the age of the policies
	Moves    []Move
}

// Cause is why a lease moves.
type Cause string

// The causes, strongest first.
const (
	Failover  Cause = "failover"  // the new owner says that it has taken over
	Gone      Cause = "gone"      // there is no such node any more
	Dead      Cause = "dead"      // not Usable
	Departing Cause = "departing" // leaving
)

// Move is a change of the first gateway of a list that had one.
type Move struct {
	Policies []string   // that have the address, the oldest first
	Address  netip.Addr // invalid: the gateway's own
	From     string
	To       string // empty: nobody is left
	Cause    Cause
}

// String tells it, and why.
func (m Move) String() string {
	what, why := "the gateway", ""
	if m.Address.IsValid() {
		what = m.Address.String()
	}
	switch m.Cause {
	case Failover:
		why = m.To + " has taken over"
	case Gone:
		why = "there is no Node " + m.From + " any more"
	case Dead:
		why = m.From + " is not Ready, or its agent is silent"
	case Departing:
		why = m.From + " drains, or is no longer selected"
	}
	if m.To == "" {
		return fmt.Sprintf("%s was on %s and is nowhere now: %s", what, m.From, why)
	}
	return fmt.Sprintf("%s moved from %s to %s: %s", what, m.From, m.To, why)
}

// Assign decides. It changes as little as it can of what the policies hold: an address, its VNI and the order of its gateways
// stay, the first gateway is another only if it cannot own the address, and one that comes back does not take over again.
func (e Egress) Assign() Assignment {
	a := assigner{
		Egress:  e,
		result:  Assignment{Leases: map[string][]Lease{}},
		used:    newIndex(e.Used),
		held:    map[key]Lease{},
		grants:  map[key]*grant{},
		granted: map[string][]*grant{},
		wanted:  map[netip.Addr]bool{},
		firsts:  map[string]int{},
	}
	a.Wants = slices.SortedStableFunc(slices.Values(e.Wants), func(x, y Want) int {
		return cmp.Or(age(Claim{Created: x.Created}, Claim{Created: y.Created}), strings.Compare(x.Policy, y.Policy))
	})
	a.recall()
	for i := range a.Wants {
		a.choose(&a.Wants[i])
	}
	a.number()
	a.order()
	for policy, grants := range a.granted {
		for _, g := range grants {
			a.result.Leases[policy] = append(a.result.Leases[policy], g.lease)
		}
	}
	return a.result
}

// assigner is the state of one Assign.
type assigner struct {
	Egress
	result  Assignment
	used    index
	held    map[key]Lease // of the highest term
	grants  map[key]*grant
	sorted  []*grant            // by age
	granted map[string][]*grant // by policy
	wanted  map[netip.Addr]bool // nobody else is given these from a pool
	firsts  map[string]int      // how many lists each node is the first of
}

// key is what a lease is of: an address, or with an invalid one the gateway's own for one policy.
type key struct {
	address netip.Addr
	policy  string
}

func keyOf(address netip.Addr, policy string) key {
	if address.IsValid() {
		policy = ""
	}
	return key{address, policy}
}

// grant is an address that is given to policies.
type grant struct {
	key
	want    *Want // the oldest
	users   []string
	lease   Lease
	members []Member // of the lease, those who remain in it
}

// recall reads what the policies hold. Those that share an address hold the same, but one may not have heard of it yet.
func (a *assigner) recall() {
	for i := range a.Wants {
		w := &a.Wants[i]
		for _, address := range w.Addresses {
			a.wanted[address] = true
		}
		for _, lease := range w.Held {
			k := keyOf(lease.Address, w.Policy)
			if old, ok := a.held[k]; !ok || old.Term < lease.Term {
				a.held[k] = lease
			}
			if inside(lease.Address, w.Pool) {
				a.wanted[lease.Address] = true
			}
		}
	}
}

// choose grants the policy its addresses.
func (a *assigner) choose(w *Want) {
	if len(w.Nodes) == 0 && len(a.Gateways) > 0 { // who checks may have no nodes at hand
		a.refuse(Refusal{Policy: w.Policy, Reason: NoGateway})
	}
	switch {
	case len(w.Addresses) > 0:
		for i, address := range w.Addresses {
			if !slices.Contains(w.Addresses[:i], address) {
				a.explicit(w, address)
			}
		}
	case len(w.Pool) > 0:
		a.fromPool(w)
	default:
		a.grant(w, netip.Addr{})
	}
}

// explicit grants an address that the policy names.
func (a *assigner) explicit(w *Want, address netip.Addr) {
	refusal := Refusal{Policy: w.Policy, Address: address}
	if len(a.Pools) > 0 && !inside(address, a.Pools) {
		refusal.Reason = Outside
		a.refuse(refusal)
		return
	}
	if other := a.grants[key{address: address}]; other != nil && other.want.Selector != w.Selector {
		refusal.Reason, refusal.Other = Taken, "EgressPolicy "+other.want.Policy
		a.refuse(refusal)
		return
	}
	if others := a.used.overlapping(netip.PrefixFrom(address, address.BitLen())); len(others) > 0 {
		refusal.Reason, refusal.Other, refusal.Kept = InUse, fmt.Sprintf("%s %s", others[0].Kind, others[0].Name), w.holds(address)
		a.refuse(refusal)
		if !refusal.Kept {
			return
		}
	}
	a.grant(w, address)
}

func (w *Want) holds(address netip.Addr) bool {
	return slices.ContainsFunc(w.Held, func(l Lease) bool { return l.Address == address })
}

func (a *assigner) grant(w *Want, address netip.Addr) {
	k := keyOf(address, w.Policy)
	g := a.grants[k]
	if g == nil {
		g = &grant{key: k, want: w}
		a.grants[k] = g
		a.sorted = append(a.sorted, g)
	}
	g.users = append(g.users, w.Policy)
	a.granted[w.Policy] = append(a.granted[w.Policy], g)
	if len(w.Nodes) > 0 && !slices.ContainsFunc(w.Nodes, func(n string) bool { return a.serves(n, address) }) {
		a.refuse(Refusal{Policy: w.Policy, Address: address, Reason: NoFamily})
	}
}

// serves says whether a node has an address of the family, or with an invalid address, any at all.
func (a *assigner) serves(node string, address netip.Addr) bool {
	g := a.Gateways[node]
	return g.IPv4 && !address.Is6() || g.IPv6 && !address.Is4()
}

// number gives each grant its VNI: the one that it has, else by a hash, so that the loss of all state changes little.
func (a *assigner) number() {
	taken := map[uint32]bool{}
	var without []*grant
	for _, g := range a.sorted {
		g.lease = a.held[g.key]
		g.lease.Address = g.address
		if vni := g.lease.VNI; vni == 0 || vni > MaxVNI || taken[vni] {
			without = append(without, g)
		}
		taken[g.lease.VNI] = true
	}
	for _, g := range without {
		vni := uint32(hash(g.key.String())%MaxVNI) + 1
		for taken[vni] {
			vni = vni%MaxVNI + 1
		}
		taken[vni] = true
		g.lease.VNI = vni
	}
}

func (k key) String() string {
	if k.address.IsValid() {
		return k.address.String()
	}
	return "policy " + k.policy
}

// hash of some words, the same on all nodes.
func hash(words ...string) uint64 {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return binary.BigEndian.Uint64(sum[:])
}
