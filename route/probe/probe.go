// Package probe judges by who answers on the way whether packets to a pod subnet go through a gateway to the node that has the
// subnet. It is pure: its child host sends the packets.
package probe

import (
	"net/netip"
)

// Target is a pod subnet.
type Target struct {
	Prefix netip.Prefix
	Node   string // that has it
	// Addresses inside of the prefix to probe, the first that is answered for decides. At the first address of the prefix
	// the node itself is expected, at the others pods.
	Addresses []netip.Addr
}

// Network is what is known of who may answer.
type Network struct {
	Gateway   string                // the one that is to pass the packets on
	Addresses []netip.Addr          // of that gateway
	Gateways  map[netip.Addr]string // all gateways
	Nodes     map[netip.Addr]string // all nodes
}

// Kind of an answer.
type Kind string

// The kinds of answers. A router whose address is not the one that was asked says Exceeded, Unreachable or Prohibited.
const (
	Nothing     Kind = ""            // nobody answers
	Exceeded    Kind = "exceeded"    // time exceeded in transit: the packet has come to this router
	Reached     Kind = "reached"     // the address itself answers
	Unreachable Kind = "unreachable" // the router knows no way on, or nobody has the address there
	Prohibited  Kind = "prohibited"  // a filter refuses the packet
)

// Hop is the answer to packets of one TTL.
type Hop struct {
	TTL  int        `json:"ttl"`
	From netip.Addr `json:"from,omitzero"`
	Kind Kind       `json:"kind,omitempty"`
}

// Start is what the kernel of this machine does with packets to an address.
type Start struct {
	NextHop netip.Addr // the zero value: none, the address is on a network of Device
	Device  string
	Own     bool   // the address or the node is this machine's
	Error   string // the kernel sends nothing, and why
}

// Verdict on a subnet.
type Verdict string

// The verdicts.
const (
	Right        Verdict = "right"
	Sent         Verdict = "sent"          // to the gateway, which is all that is known without probes
	WrongNode    Verdict = "wrong node"    // another node is on the way
	WrongGateway Verdict = "wrong gateway" // another gateway is on the way
	Loop         Verdict = "loop"
	NoWay        Verdict = "unreachable"
	Filtered     Verdict = "filtered"
	Silent       Verdict = "silent"
	Unproven     Verdict = "unproven" // somebody answers, and nothing says that it is behind the node
	Own          Verdict = "own"      // this machine is the node: others must look
	Aside        Verdict = "aside"    // from this machine packets do not pass the gateway
	Untried      Verdict = "untried"  // the time was over
)

// Finding is the verdict on one subnet.
type Finding struct {
	Prefix  netip.Prefix `json:"prefix"`
	Node    string       `json:"node"`
	Verdict Verdict      `json:"verdict"`
	Reason  string       `json:"reason,omitempty"`
	Address netip.Addr   `json:"address,omitzero"` // that was probed last
	Hops    []Hop        `json:"hops,omitempty"`   // those that were asked for, by TTL
}

// Wrong says that packets to the subnet go astray, as far as anybody has said so.
func (f *Finding) Wrong() bool {
	switch f.Verdict {
	case WrongNode, WrongGateway, Loop, NoWay, Filtered:
		return true
	}
	return false
}
