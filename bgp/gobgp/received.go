package gobgp

import (
	"net/netip"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/waymark-bgp/waymark/bgp"
)

// received is which prefixes a peer has sent, before any filter. GoBGP could count them too, but copies its whole table to
// do so, and for a prefix limit it does that at every UPDATE.
type received struct {
	prefixes prefixMap[uint32] // to the number of the session that sent it last
	session  uint32
	count    map[bgp.Family]int
	accepted int
	counted  bool // accepted is right
}

func newReceived() received {
	return received{prefixes: newPrefixMap[uint32](), count: map[bgp.Family]int{}}
}

func (r *received) next() { r.session++ }

func (r *received) clear() {
	r.prefixes, r.count, r.counted = newPrefixMap[uint32](), map[bgp.Family]int{}, false
}

func (r *received) set(p netip.Prefix) {
	if _, ok := r.prefixes.get(p); !ok {
		r.count[bgp.FamilyOf(p)]++
		r.counted = false
	}
	r.prefixes.set(p, r.session)
}

func (r *received) remove(p netip.Prefix) {
	if _, ok := r.prefixes.get(p); ok {
		r.prefixes.remove(p)
		r.count[bgp.FamilyOf(p)]--
		r.counted = false
	}
}

// sweep removes what only an earlier session had sent.
func (r *received) sweep(f bgp.Family) {
	for p, session := range r.prefixes.all() {
		if session != r.session && bgp.FamilyOf(p) == f {
			r.remove(p)
		}
	}
}

// counts returns how many prefixes there are and how many of them the filters accept.
func (r *received) counts(first, second []bgp.FilterRule) (all, accepted int) {
	if !r.counted {
		r.accepted = 0
		for p := range r.prefixes.all() {
			if bgp.Decide(first, p, bgp.Accept) && bgp.Decide(second, p, bgp.Reject) {
				r.accepted++
			}
		}
		r.counted = true
	}
	return r.prefixes.len(), r.accepted
}

// pathsReceived counts what a peer sends, and closes the session when it is too much.
func (s *Speaker) pathsReceived(in *instance, paths []*apiutil.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != in {
		return
	}
	for _, path := range paths {
		n := s.sessions[path.PeerAddress]
		nlri, ok := path.Nlri.(*packet.IPAddrPrefix)
		if n == nil || !ok || !n.up.Load() {
			continue
		}
		if path.Withdrawal || loops(path, s.config.ASN, n.peer.AllowOwnAS) {
			n.received.remove(nlri.Prefix)
			continue
		}
		n.received.set(nlri.Prefix)
		if f, over := n.overLimit(); over && !n.over {
			n.over = true
			go s.exceeded(in, n, f)
		}
	}
}

// loops says that a path has been through our AS more often than is allowed (RFC 4271, section 9.1.2). It counts as not sent.
func loops(path *apiutil.Path, asn uint32, allowed uint8) bool {
	times := 0
	for _, attribute := range path.Attrs {
		if a, ok := attribute.(*packet.PathAttributeAsPath); ok {
			for _, segment := range a.Value {
				for _, as := range segment.GetAS() {
					if as == asn {
						times++
					}
				}
			}
		}
	}
	return times > int(allowed)
}

// overLimit says of which family the peer has sent too much.
func (n *session) overLimit() (bgp.Family, bool) {
	for f, count := range n.received.count {
		if n.peer.MaxPrefixes > 0 && count > int(n.peer.MaxPrefixes) {
			return f, true
		}
	}
	return 0, false
}
