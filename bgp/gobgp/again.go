package gobgp

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/waymark-bgp/waymark/bgp"
)

// A session that has broken rests for 5 s in GoBGP, and refuses the peer meanwhile: most of the time until the routes are
// back after a cut link has returned. A peer that is removed and added does not rest. But GoBGP forgets with it what
// graceful restart keeps (RFC 4724, section 4.2), so that is kept here, in the table of what was learned.

var allFamilies = []bgp.Family{bgp.IPv4, bgp.IPv6}

// broke says of the end of an established session that nobody has meant it.
func (n *session) broke(why api.PeerState_DisconnectReason) bool {
	switch why {
	case api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART, api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED,
		api.PeerState_DISCONNECT_REASON_READ_FAILED, api.PeerState_DISCONNECT_REASON_WRITE_FAILED:
		return true
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_RECEIVED:
		silent, _ := peerClosed(packet.BGP_ERROR_HOLD_TIMER_EXPIRED, 0)
		return n.state.LastError == silent
	}
	return false
}

// collided says of the end of a session that was not up that it may be for a second connection: after a cut both sides
// connect at once, and RFC 4271, section 6.8, has them close one, by which GoBGP ends the session. This is not looked at more
// closely, but the next end is none.
func (n *session) collided(state bgp.SessionState, why api.PeerState_DisconnectReason) bool {
	return n.hasty && state == bgp.Idle &&
		(why == api.PeerState_DISCONNECT_REASON_INVALID_MSG || why == api.PeerState_DISCONNECT_REASON_READ_FAILED)
}

// again has GoBGP begin a session anew that has ended; hasty: and once more, if it collides.
func (s *Speaker) again(in *instance, n *session, hasty bool) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.mu.RLock()
	ended := s.running == in && s.sessions[n.peer.Address] == n && !n.up.Load() && !n.over
	s.mu.RUnlock()
	if !ended {
		return
	}
	ctx := context.Background()
	local, known := s.local[n.peer.Address]
	err := s.removePeer(ctx, n)
	if known {
		s.local[n.peer.Address] = local // or the first announcements would lack the other family
	}
	if err == nil {
		s.mu.Lock()
		n.hasty = hasty
		s.mu.Unlock()
		err = s.addPeers(ctx, []bgp.Peer{n.peer})
	}
	if err != nil {
		s.log.Error("begin a broken BGP session anew", "peer", n.peer.Name, "address", n.peer.Address, "error", err)
	}
}

// graceful reads for how long, and of which families, a peer's routes are to be kept while it restarts.
func graceful(capabilities []packet.ParameterCapabilityInterface) (families []bgp.Family, restartTime time.Duration) {
	for _, capability := range capabilities {
		if c, ok := capability.(*packet.CapGracefulRestart); ok {
			restartTime = time.Duration(c.Time) * time.Second
			for _, t := range c.Tuples {
				for _, f := range allFamilies {
					if family(f) == packet.NewFamily(t.AFI, t.SAFI) {
						families = append(families, f)
					}
				}
			}
		}
	}
	return families, restartTime
}

// keep notes what of a peer's routes stays until the peer has told all again, or is late.
func (s *Speaker) keep(in *instance, n *session) {
	if n.patience != nil {
		n.patience.Stop()
	}
	n.patience = time.AfterFunc(n.restartTime, func() { s.late(in, n) })
	n.kept = newPrefixMap[struct{}]()
	for prefix, h := range s.learned.routes.all() {
		if slices.Contains(n.graceful, bgp.FamilyOf(prefix)) && h.includes(n.peer.Address) {
			n.kept.set(prefix, struct{}{})
		}
	}
}

// keeps says whether a path of GoBGP's is no news, since it is gone there and kept here.
func (n *session) keeps(prefix netip.Prefix, withdrawn bool) bool {
	_, kept := n.kept.get(prefix)
	if kept && !withdrawn && n.up.Load() {
		n.kept.remove(prefix) // told again
	}
	return kept && withdrawn
}

// release lets go of what is still kept.
func (s *Speaker) release(n *session, families ...bgp.Family) {
	for prefix := range n.kept.all() {
		if slices.Contains(families, bgp.FamilyOf(prefix)) {
			n.kept.remove(prefix)
			s.learned.set(prefix, n.peer.Address, netip.Addr{})
			s.touch()
		}
	}
}

// late is called when the restart time of a peer is over.
func (s *Speaker) late(in *instance, n *session) {
	s.mu.Lock()
	late := s.current == in && s.sessions[n.peer.Address] == n && !n.up.Load() && n.kept.len() > 0
	if late {
		s.release(n, allFamilies...)
		n.received.clear()
	}
	s.mu.Unlock()
	if late {
		s.explain(n, "the peer did not come back within its restart time", guessed)
	}
}
