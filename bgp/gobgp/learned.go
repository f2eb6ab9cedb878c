package gobgp

import (
	"net/netip"
	"slices"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// table is what was learned and accepted. GoBGP keeps a kilobyte or so a route; this is what a caller needs of it, small
// and quick to read. Routes with the same next hops from the same peers share them.
type table struct {
	routes prefixMap[*hops]
	shared map[string]*hops
	key    []byte // scratch
}

// hops are the next hops of equal-cost best paths. They do not change: a route gets others.
type hops struct {
	from      []hop
	addresses []netip.Addr // sorted, each once
	key       string
	routes    int // how many share it
}

type hop struct{ peer, next netip.Addr }

// includes says whether one of the paths is from the peer.
func (h *hops) includes(peer netip.Addr) bool {
	return slices.ContainsFunc(h.from, func(h hop) bool { return h.peer == peer })
}

func newTable() table {
	return table{routes: newPrefixMap[*hops](), shared: map[string]*hops{}}
}

// set makes next the next hop of the path from a peer; an invalid one removes the path. It reports whether the route changed.
func (t *table) set(prefix netip.Prefix, peer, next netip.Addr) bool {
	old, _ := t.routes.get(prefix)
	var buffer [8]hop
	from := buffer[:0]
	if old != nil {
		from = append(from, old.from...)
	}
	i := slices.IndexFunc(from, func(h hop) bool { return h.peer == peer })
	switch {
	case i < 0 && !next.IsValid() || i >= 0 && from[i].next == next:
		return false
	case i < 0:
		from = append(from, hop{peer, next})
	case next.IsValid():
		from[i].next = next
	default:
		from = slices.Delete(from, i, i+1)
	}
	if old != nil {
		if old.routes--; old.routes == 0 {
			delete(t.shared, old.key)
		}
	}
	if len(from) == 0 {
		t.routes.remove(prefix)
		return true
	}
	t.routes.set(prefix, t.share(from))
	return true
}

func (t *table) share(from []hop) *hops {
	slices.SortFunc(from, func(a, b hop) int { return a.peer.Compare(b.peer) })
	t.key = t.key[:0]
	for _, h := range from {
		t.key = append(h.peer.AppendTo(t.key), ' ')
		t.key = append(h.next.AppendTo(t.key), ' ')
	}
	h := t.shared[string(t.key)]
	if h == nil {
		h = &hops{from: slices.Clone(from), key: string(t.key)}
		for _, f := range from {
			h.addresses = append(h.addresses, f.next)
		}
		slices.SortFunc(h.addresses, netip.Addr.Compare)
		h.addresses = slices.Compact(h.addresses)
		t.shared[h.key] = h
	}
	h.routes++
	return h
}

// Learned yields every prefix that was learned and accepted, with the next hops of its best paths, sorted; the slice is
// shared and must not be changed. The table is locked meanwhile: the loop must be short and must not call the Speaker.
func (s *Speaker) Learned(yield func(netip.Prefix, []netip.Addr) bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for prefix, h := range s.learned.routes.all() {
		if !yield(prefix, h.addresses) {
			return
		}
	}
}

// pathsSelected follows the best paths: each one is new, changed, or withdrawn (also because another one is better now).
func (s *Speaker) pathsSelected(in *instance, paths []*apiutil.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != in || s.frozen {
		return
	}
	changed := false
	for _, path := range paths {
		nlri, ok := path.Nlri.(*packet.IPAddrPrefix)
		if !ok || !path.PeerAddress.IsValid() { // our own
			continue
		}
		var next netip.Addr
		n := s.sessions[path.PeerAddress]
		if n != nil && n.keeps(nlri.Prefix, path.Withdrawal) {
			continue
		}
		if !path.Withdrawal && n != nil && !n.over {
			next = nextHop(path)
		}
		changed = s.learned.set(nlri.Prefix, path.PeerAddress, next) || changed
	}
	if changed {
		s.touch()
	}
}

func nextHop(path *apiutil.Path) netip.Addr {
	var next netip.Addr
	for _, attribute := range path.Attrs {
		switch a := attribute.(type) {
		case *packet.PathAttributeNextHop:
			next = a.Value
		case *packet.PathAttributeMpReachNLRI:
			next = a.Nexthop
		}
	}
	if next.IsLinkLocalUnicast() {
		next = next.WithZone(path.PeerAddress.Zone())
	}
	return next
}
