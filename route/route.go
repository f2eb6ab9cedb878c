// Package route decides which of the learned prefixes become kernel routes of ours, and through which gateways. It is
// pure: route/kernel reads the host's state and writes the routes.
package route

import (
	"iter"
	"net/netip"
)

// Protocol is the routing protocol number that marks a kernel route as ours (rtm_protocol; 0..255, those from 5 on are
// free for use by daemons). It lies outside the numbers in iproute2's rt_protos.
const Protocol = 179

// MainTable is the number of the kernel's main routing table.
const MainTable = 254

// Desired is the whole set of kernel routes that should be ours.
type Desired struct {
	Table  int // kernel table, 1..4294967295; MainTable is usual
	Metric int // priority of each route; IPv6 has no 0 and takes it as 1024
	Rules  Rules
	// Routes yields each prefix once, with its next hops sorted and without repeats. The slices are shared and must not be
	// changed: not by who takes them, nor later by who gave them.
	Routes iter.Seq2[netip.Prefix, []netip.Addr]
	// Settling says that not all peers have told all they have yet: a route that an earlier process has left stays until it
	// has been desired once. What has been desired and is not any more goes at once, settling or not.
	Settling bool
}

// Refusal is a learned route that is not installed, or not through all of its next hops, and why.
type Refusal struct {
	Prefix netip.Prefix `json:"prefix"`
	Reason string       `json:"reason"`
}

// Result is what an apply has reached.
type Result struct {
	Installed int       `json:"installed"` // routes of ours in the kernel now
	Added     int       `json:"added"`
	Changed   int       `json:"changed"`
	Removed   int       `json:"removed"`
	Repaired  int       `json:"repaired"`          // of Added and Changed: those that somebody else had taken away or altered
	Refused   []Refusal `json:"refused,omitempty"` // at most MaxRefusals of them, and
	RefusedN  int       `json:"refusedCount"`      // how many there are
}

// MaxRefusals bounds Result.Refused: a table of a hundred thousand bad routes must not fill the memory or the log.
const MaxRefusals = 20

// Refuse notes a refusal.
func (r *Result) Refuse(prefix netip.Prefix, reason string) {
	r.RefusedN++
	if len(r.Refused) < MaxRefusals {
		r.Refused = append(r.Refused, Refusal{Prefix: prefix, Reason: reason})
	}
}
