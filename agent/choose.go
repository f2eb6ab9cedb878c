package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// Health of a gateway node as this node judges it by BFD.
type Health uint8

// The healths, the best first.
const (
	Presumed Health = iota // nothing is known of it yet: it counts as alive
	Alive
	Returned // alive, and says that it owns nothing since others may have taken over from it
	Dead
)

func (h Health) String() string {
	return [...]string{"presumed alive", "alive", "returned", "dead"}[h]
}

// MarshalText writes what String says.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Health) UnmarshalText(text []byte) error {
	for _, known := range []Health{Presumed, Alive, Returned, Dead} {
		if known.String() == string(text) {
			*h = known
			return nil
		}
	}
	return fmt.Errorf("health %q is not known", text)
}

// Choice is the gateway that a node sends new connections of an egress address to.
type Choice struct {
	Gateway string    `json:"gateway,omitempty"` // node; empty: none is alive
	Term    int64     `json:"term"`              // of the list that it was chosen from
	Since   time.Time `json:"since"`
	Before  string    `json:"before,omitempty"` // the gateway before this one: it may have connections still
	// Failovers counts the changes that were not the controller's.
	Failovers int64 `json:"failovers,omitempty"`
}

// choose picks the owner of an address. All nodes that see the same pick the same. The choice before stays while nothing
// speaks against it, so that a gateway that comes back does not take over again; only a new term of the list is gone by anew.
func choose(list v1alpha1.EgressAddress, before Choice, health func(v1alpha1.EgressOwner) Health) string {
	best, owner := len(preferences), ""
	for _, g := range list.Gateways {
		rank := slices.IndexFunc(preferences, func(fits func(bool, Health) bool) bool { return fits(g.Leaving, health(g)) })
		if rank < 0 {
			continue
		}
		stays := g.Node == before.Gateway && list.Term == before.Term
		if rank < best || rank == best && stays {
			best, owner = rank, g.Node
		}
	}
	return owner
}

// preferences among gateways, the first choice first. A gateway that fits none is not chosen.
var preferences = []func(leaving bool, h Health) bool{
	func(leaving bool, h Health) bool { return !leaving && h <= Alive },
	func(leaving bool, h Health) bool { return !leaving && h == Returned },
	func(leaving bool, h Health) bool { return leaving && h != Dead },
}
