package udp

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
)

// maxPassive is how many sessions peers may open: more than a cluster has nodes, and less than hurts.
const maxPassive = 16384

// retryListen is how long after a failure the port is tried again.
const retryListen = time.Second

// guests is who may open a session. What it costs to ask does not depend on the number of prefixes, but on that of their
// lengths.
type guests struct {
	prefixes map[netip.Prefix]bool
	bits     map[bool][]int // the lengths that occur, by whether they are of IPv6
}

func newGuests(prefixes []netip.Prefix) guests {
	g := guests{make(map[netip.Prefix]bool, len(prefixes)), map[bool][]int{}}
	for _, p := range prefixes {
		g.prefixes[p] = true
		if v6 := p.Addr().Is6(); !slices.Contains(g.bits[v6], p.Bits()) {
			g.bits[v6] = append(g.bits[v6], p.Bits())
		}
	}
	return g
}

// allow asks for an address. One that is good on one link only is nobody's: multihop sessions know no link.
func (g guests) allow(a netip.Addr) bool {
	return !a.IsLinkLocalUnicast() && slices.ContainsFunc(g.bits[a.Is6()], func(bits int) bool {
		p, err := a.Prefix(bits)
		return err == nil && g.prefixes[p]
	})
}

// welcome opens a session for a peer that begins one (RFC 5880 section 6.1, passive role). The reason says why not.
func (s *Speaker) welcome(from endpoint, m meta, p bfd.Packet, now time.Time) (*session, bfd.Reason) {
	switch {
	case !from.hop.multi || p.State != bfd.Down || p.YourDiscriminator != 0 || m.to.IsMulticast() || !s.guests.allow(from.peer):
		return nil, bfd.UnknownSession
	case s.stopping:
		return nil, bfd.UnknownSession
	case len(s.sessions)-s.configured >= maxPassive:
		return nil, bfd.TooManySessions
	}
	c := bfd.SessionConfig{Key: bfd.Key{Peer: from.peer, Local: m.to, Multihop: true}}
	if old := s.leaving[c.Key]; old != nil {
		return nil, bfd.UnknownSession // it hears first that the former one has ended
	}
	sess := s.insert(c)
	sess.passive = true
	sess.machine = bfd.NewPassive(now, sess.discriminator, rand.Float64)
	sess.machine.SetPathDown(now, s.pathDown)
	return sess, ""
}

// adopt makes the passive session with a peer the configured one, which so needs not to come up anew.
func (s *Speaker) adopt(c bfd.SessionConfig) *session {
	if c.Interface != "" {
		return nil
	}
	for _, sess := range s.byPeer[endpointOf(c.Key)] {
		if sess.passive && (!c.Local.IsValid() || c.Local == sess.config.Local) {
			delete(s.sessions, sess.config.Key)
			s.sessions[c.Key] = sess
			return sess
		}
	}
	return nil
}

// receivePassively opens the listeners for peers that begin, or tries again later.
func (s *Speaker) receivePassively(now time.Time) {
	problem := ""
	for v6 := range s.guests.bits {
		if err := s.listen(hop{v6: v6, multi: true}); err != nil {
			problem = err.Error()
		}
	}
	s.retry = time.Time{}
	if problem != "" {
		s.retry = now.Add(retryListen)
	}
	if problem == s.problem {
		return
	}
	s.problem = problem
	if problem != "" {
		s.log.Warn("BFD sessions that peers open cannot be received", "error", problem)
	} else {
		s.log.Info("BFD sessions that peers open can be received again")
	}
	s.notify()
}
