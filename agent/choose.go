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
	// Final: when it was made, the health of all gateways was known. It stays until something speaks against it.
	Final bool `json:"final,omitempty"`
	// Returned: it was chosen although it had just returned, like all that were alive.
	Returned bool `json:"returned,omitempty"`
	// Lost is the gateway that the first of the failovers left. It comes back as one that has returned; if it does not, this
	// node alone had lost it, and all others have kept to it.
	Lost string `json:"lost,omitempty"`
	// Forced: it was made because one before had failed, or was believed to have.
	Forced bool `json:"forced,omitempty"`
	// Failovers counts the changes that nobody had planned, Outage is that of all of them together.
	Failovers int64         `json:"failovers,omitempty"`
	Outage    time.Duration `json:"outage,omitempty"`
}

// agreeTime is how long a failover is gone by anew when a gateway that comes before the one chosen turns out to be fit: what
// one node sees before the failover another sees after it.
const agreeTime = 5 * time.Second

func (c Choice) open(now time.Time) bool { return c.Forced && now.Sub(c.Since) < agreeTime }

// choose picks the owner of an address. All nodes that see the same pick the same: the first of the list that is alive, rather
// one that has not just returned. Once every gateway's health has been known, the choice stays while nothing speaks against
// it, so that a gateway that comes back does not take over again; only a new term of the list is gone by anew. A gateway that
// was lost and has not been away has not lost the address either.
func choose(list v1alpha1.EgressAddress, before Choice, now time.Time, health func(v1alpha1.EgressOwner) Health) Choice {
	choice := before
	choice.Gateway, choice.Lost, choice.Term, choice.Final, choice.Returned = "", "", list.Term, true, false
	same := before.Term == list.Term
	best := len(preferences)
	for _, g := range list.Gateways {
		h := health(g)
		mine := g.Node == before.Gateway && before.Final && same
		stays := mine && !(before.open(now) && best == 0)
		if g.Node == before.Lost && same && h != Returned || mine && before.Lost == "" && h == Dead {
			choice.Lost = g.Node
		}
		rank := slices.IndexFunc(preferences, func(fits func(bool, Health) bool) bool { return fits(g.Leaving, h) })
		if rank < 0 {
			continue
		}
		choice.Final = choice.Final && (h != Presumed || g.Leaving)
		// After none was alive the last one goes on, if it has not been away itself: it was this node that was cut off.
		resumes := before.Gateway == "" && g.Node == before.Before && same && h != Returned
		switch {
		case g.Node == choice.Lost && h == Alive && !g.Leaving:
			rank = -2
		case stays && !g.Leaving && (h != Returned || before.Returned), resumes && !g.Leaving:
			rank = -1
		case mine && g.Leaving:
		case rank >= best:
			continue
		}
		if rank <= best {
			best, choice.Gateway = rank, g.Node
			// While sessions begin anew it is not known what the gateway says of itself.
			choice.Returned = h == Returned || h == Presumed && mine && before.Returned
		}
	}
	choice.Final = choice.Final || best < 0
	if choice.Gateway == choice.Lost {
		choice.Lost = ""
	}
	return choice
}

// preferences among gateways, the first choice first. A gateway that fits none is not chosen.
var preferences = []func(leaving bool, h Health) bool{
	func(leaving bool, h Health) bool { return !leaving && h <= Alive },
	func(leaving bool, h Health) bool { return !leaving && h == Returned },
	func(leaving bool, h Health) bool { return leaving && h != Dead },
}
