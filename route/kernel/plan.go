package kernel

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/waymark-bgp/waymark/route"
)

// hopSets gives each set of hops a number, so that a route is remembered in a few bytes. 0 is no number.
type hopSets struct {
	numbers map[string]uint32
	sets    [][]route.Hop
	scratch []byte
}

func (s *hopSets) number(hops []route.Hop) uint32 {
	s.scratch = s.scratch[:0]
	for _, hop := range hops {
		a := hop.Gateway.As16()
		s.scratch = append(s.scratch, a[:]...)
		s.scratch = binary.NativeEndian.AppendUint32(s.scratch, uint32(hop.Link))
	}
	n, known := s.numbers[string(s.scratch)]
	if !known {
		if s.numbers == nil {
			s.numbers = make(map[string]uint32)
		}
		s.sets = append(s.sets, slices.Clone(hops))
		n = uint32(len(s.sets))
		s.numbers[string(s.scratch)] = n
	}
	return n
}

func (s *hopSets) hops(number uint32) []route.Hop {
	if number == 0 {
		return nil
	}
	return s.sets[number-1]
}

// without is the set of those hops of a that b has not.
func (s *hopSets) without(a, b uint32) []route.Hop {
	return slices.DeleteFunc(slices.Clone(s.hops(a)), func(hop route.Hop) bool { return slices.Contains(s.hops(b), hop) })
}

// plan is how the routes of one set of next hops are installed.
type plan struct {
	hops    uint32 // number of the set of hops; 0: not at all
	is4     bool
	leftOut string // why some or all next hops are not used; "": all are
}

// maxPlans bounds what is remembered of sets of next hops that no route has any more.
const maxPlans = 1 << 14

// plans remembers the plan of each set of next hops: routes are many, their sets of next hops few.
type plans struct {
	host    route.Host
	own     []netip.Prefix
	sets    *hopSets
	known   map[string]plan
	scratch []byte
	// Neighbours in a table mostly share the slice itself.
	last     []netip.Addr
	lastPlan plan
}

func newPlans(host route.Host, own []netip.Prefix, sets *hopSets) *plans {
	return &plans{host: host, own: own, sets: sets, known: make(map[string]plan)}
}

func (p *plans) of(nextHops []netip.Addr) plan {
	if len(nextHops) > 0 && len(nextHops) == len(p.last) && &nextHops[0] == &p.last[0] {
		return p.lastPlan
	}
	p.scratch = p.scratch[:0]
	for _, nextHop := range nextHops {
		a := nextHop.As16()
		p.scratch = append(p.scratch, a[:]...)
	}
	found, known := p.known[string(p.scratch)]
	if !known {
		hops, leftOut := p.host.Hops(p.own, nextHops)
		found = plan{leftOut: leftOut}
		if len(hops) > 0 {
			found.hops, found.is4 = p.sets.number(hops), hops[0].Gateway.Is4()
		}
		if len(p.known) >= maxPlans {
			clear(p.known)
		}
		p.known[string(p.scratch)] = found
	}
	p.last, p.lastPlan = nextHops, found
	return found
}
