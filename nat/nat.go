// Package nat decides with which source address a pod's traffic leaves its node. It is pure: nat/nftables and nat/iptables
// write the decision into the kernel.
package nat

import "net/netip"

// Source is the source address that matched traffic leaves with.
type Source string

// The sources of the EgressPolicy object.
const (
	SourcePod  Source = "Pod"  // the pod's own address, whatever other tables on the host would do
	SourceNode Source = "Node" // masquerade behind the node
)

// Policy is one EgressPolicy as far as this node is concerned.
type Policy struct {
	Name string `json:"name"`
	// Pods that the policy is about, if Selects; else it is about all.
	Pods         []netip.Addr   `json:"pods,omitempty"`
	Selects      bool           `json:"selects,omitempty"`
	Priority     int            `json:"priority"`               // lower first; ties by name
	Destinations []netip.Prefix `json:"destinations,omitempty"` // none: everything but the pods of this node
	Exclude      []netip.Prefix `json:"exclude,omitempty"`      // of Destinations: these the policy does not match, a later one may
	Source       Source         `json:"source"`
}

// Plan is the whole desired state of source addresses on this node.
type Plan struct {
	Pods     []netip.Prefix // pod prefixes of this node, both families: what policies speak of, and the pods that they select
	Policies []Policy       // in any order
}

// Result is what an apply has reached.
type Result struct {
	Changed  bool
	Repaired bool // what was there was not what we left there
}
