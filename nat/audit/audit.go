// Package audit says with which source address a packet would leave the node, and which rule decides that. It is pure: it
// evaluates a model of what the host's NAT rules are; its subpackages read them, one technology each.
//
// What the model does not understand is never passed over: both ways are followed, and if they do not end the same the
// answer is Unknown, with the rule.
package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// Packet is the first packet of a connection: the only one that NAT rules see.
type Packet struct {
	Source, Destination netip.Addr
	Protocol            uint8  // IP protocol number
	Port                uint16 // of the destination; 0: not known, or the protocol has none
	In, Out             string // names of the interfaces; empty: not known
	Mark                uint32
	ConnectionMark      uint32
	ConnectionMarkKnown uint32 // which bits of it are known
	DestinationType     string // as the routing table has it: unicast, local, ...; empty: not known
	Translated          bool   // its destination was another one before
}

// Field is what a rule may look at. Source ports are not among them: they are not known beforehand.
type Field int

// The fields of a packet that the model knows. Other is everything else.
const (
	Other Field = iota
	SourceAddress
	DestinationAddress
	Protocol
	DestinationPort
	InInterface
	OutInterface
	Mark
	ConnectionMark
	State     // of the connection
	Status    // of the connection
	Direction // of the packet in its connection
	SourceType
	DestinationType
	Version // ipv4 or ipv6
)

// Key is a field as a rule looks at it. A packet of another IP version or protocol does not match, negated or not.
type Key struct {
	Field    Field
	Mask     uint64 // of a number; 0: all bits
	Version  int    // 4 or 6; 0: both
	Protocol uint8  // 0: all
	// Modulus of a hash or a counter, whose value is not known; 0: it is none.
	Modulus int
}

// Range is what one field is compared to: addresses, numbers, a word, or everything.
type Range struct {
	First, Last netip.Addr
	Low, High   uint64
	Word        string // an interface, a state; with * at its end a prefix
	All         bool
}

// Set is a list of alternatives, each with one range for each key.
type Set [][]Range

// Statement is one part of a rule: Match, Uncertain, Lookup, SetMark, Translate, Verdict or Opaque. The first that does not
// match ends the rule.
type Statement interface{ statement() }

// Match lets a packet go on that is in the set.
type Match struct {
	Keys []Key
	Not  bool
	In   Set
}

// Uncertain is a match of which nobody can say here whether it matches.
type Uncertain struct{}

// Lookup is a verdict map. A packet that is in none of its entries goes on.
type Lookup struct {
	Keys    []Key
	Entries []Entry
}

// Entry of a verdict map.
type Entry struct {
	Key     []Range
	Verdict Verdict
}

// SetMark makes a mark (mark AND And) XOR Xor.
type SetMark struct {
	Connection     bool // it is the connection's, else the packet's
	FromConnection bool // it is made of the connection's, else of the packet's
	And, Xor       uint32
	Unknown        bool // nobody can say what the mark is then
}

// Translate is a NAT mapping: in postrouting of the source, in prerouting of the destination. It ends NAT for the connection.
type Translate struct {
	Version    int // 4 or 6; 0: both
	Masquerade bool
	// Otherwise Targets; the first whose Key the packet is in. Without Keys it is the only one.
	Keys    []Key
	Targets []Target
}

// Target of a mapping: the address itself, if neither First nor Network is set.
type Target struct {
	Key         []Range
	First, Last netip.Addr
	Network     netip.Prefix // the address keeps its host part
	Port        uint16       // 0: as it was
}

// Action is what a verdict does.
type Action int

// The actions of a verdict.
const (
	Accept Action = iota // ends the base chain
	Drop
	Return
	Jump
	Goto
	Continue
)

// Verdict ends a rule.
type Verdict struct {
	Do    Action
	Chain string // of Jump and Goto, in the same table
}

// Opaque is a statement whose effect the model does not know.
type Opaque struct{}

func (Match) statement()     {}
func (Uncertain) statement() {}
func (Lookup) statement()    {}
func (SetMark) statement()   {}
func (Translate) statement() {}
func (Verdict) statement()   {}
func (Opaque) statement()    {}

// ChainName names a chain.
type ChainName struct {
	Tool   string // nft, iptables-nft, ip6tables-legacy, ...
	Family string // ip, ip6 or inet
	Table  string
	Chain  string
}

func (n ChainName) String() string {
	return fmt.Sprintf("%s table %s %s chain %s", n.Tool, n.Family, n.Table, n.Chain)
}

// Rule of a chain.
type Rule struct {
	Chain      ChainName
	Handle     uint64 // nft; 0: it has none
	Line       int    // in the chain, from 1
	Text       string // as the tool writes it
	Statements []Statement
}

func (r *Rule) String() string {
	return r.Chain.String() + " " + r.inChain()
}

// inChain says which rule it is to somebody who knows the chain.
func (r *Rule) inChain() string {
	place := fmt.Sprintf("line %d", r.Line)
	if r.Handle != 0 {
		place = fmt.Sprintf("handle %d", r.Handle)
	}
	return fmt.Sprintf("%s (%s): %s", place, r.Owner(), r.Text)
}

// Chain of rules; one with a hook is a base chain.
type Chain struct {
	Name     ChainName
	Priority int  // of a base chain: lower ones run first
	Drops    bool // the policy of a base chain: what comes to the end is dropped
	Rules    []Rule
	// Unread says why the rules are not known; empty: they are.
	Unread string
}

// Ruleset is what is known of NAT on a host.
type Ruleset struct {
	// Prerouting: the chains are of that hook, and the question is which destination a packet gets; else they are of
	// postrouting, and it is which source.
	Prerouting bool
	Base       []*Chain // of the hook, in any order
	// Load gives a chain that a rule leads to; nil: there is none. Large rulesets are not read where no packet comes.
	Load   func(ChainName) *Chain
	Unread []string // what could not be read at all, and why: there may be rules
}

// Kind of an outcome.
type Kind string

// What becomes of the source address, or before routing of the destination.
const (
	Unchanged   Kind = "Unchanged"
	Translated  Kind = "Translated"
	Masqueraded Kind = "Masqueraded" // an address of the interface that it leaves by
	Dropped     Kind = "Dropped"
	Stays       Kind = "Stays" // it does not leave the node: it is for the node itself, or there is no route
	Unknown     Kind = "Unknown"
)

// Outcome is what becomes of a packet.
type Outcome struct {
	Kind      Kind       `json:"kind"`
	Address   netip.Addr `json:"address,omitzero"` // of Unchanged and Translated
	Last      netip.Addr `json:"last,omitzero"`    // if it is one from Address to Last
	Port      uint16     `json:"port,omitempty"`   // of a translated destination
	Interface string     `json:"interface,omitempty"`
	Mark      uint32     `json:"mark,omitempty"` // that the packet has after prerouting
	Why       string     `json:"why,omitempty"`  // it is Unknown
	Rule      *Rule      `json:"-"`              // that decides; nil: none does, the packet is left alone
}

// same tells whether two outcomes are the same but for the rule.
func (o Outcome) same(p Outcome) bool {
	o.Rule, p.Rule, o.Why, p.Why = nil, nil, "", ""
	return o == p
}

func (o Outcome) String() string {
	switch o.Kind {
	case Unchanged, Translated:
		s := o.Address.String()
		if o.Last.IsValid() {
			s += " to " + o.Last.String()
		}
		return s
	case Masqueraded:
		return "the address of " + cmp.Or(o.Interface, "the interface that it leaves by")
	case Dropped:
		return "none, it is dropped"
	case Stays:
		return "none, it does not leave the node"
	}
	return "unknown: " + o.Why
}

// Step is something that happens to the packet on its way.
type Step struct {
	Where string `json:"where"`          // hook, table or chain
	What  string `json:"what"`           // happens
	Rule  string `json:"rule,omitempty"` // that does it
}

// Result of an evaluation.
type Result struct {
	Outcome
	Steps    []Step    `json:"steps"`
	Possible []Outcome `json:"possible,omitempty"` // if it is Unknown which of these
}

// Owner guesses from its names who has made the rule; "unknown" if they do not tell.
func (r *Rule) Owner() string {
	names := strings.ToLower(r.Chain.Table + " " + r.Chain.Chain + " " + r.Text)
	for _, o := range owners {
		for _, word := range o.words {
			if strings.Contains(names, word) {
				return o.name
			}
		}
	}
	return "unknown"
}

// owners by what is in the names of their tables, chains, sets, devices or comments. Who jumps to chains of others is last.
var owners = []struct {
	name  string
	words []string
}{
	{"waymark", []string{"waymark"}},
	{"flannel", []string{"flannel", "flanneld"}},
	{"calico", []string{"cali-", "cali4", "cali6"}},
	{"cilium", []string{"cilium"}},
	{"kube-router", []string{"kube-router"}},
	{"antrea", []string{"antrea"}},
	{"weave", []string{"weave"}},
	{"kube-proxy", []string{"kube-proxy", "kube-", "kubernetes postrouting", "kubernetes service"}},
	{"ip-masq-agent", []string{"ip-masq"}},
	{"cni plugin", []string{"cni-", "cni_", "hostport"}},
	{"docker", []string{"docker", "172.17.0.0/16"}},
	{"podman", []string{"netavark", "podman"}},
	{"libvirt", []string{"libvirt", "virbr"}},
	{"firewalld", []string{"firewalld", "post_public", "post_policy", "postrouting_zones"}},
}
