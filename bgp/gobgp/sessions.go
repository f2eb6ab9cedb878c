package gobgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"github.com/waymark-bgp/waymark/bgp"
)

// session is what is known of one session. Speaker.mu guards it, but for up.
type session struct {
	peer     bgp.Peer
	restart  bgp.GracefulRestart
	added    bool          // GoBGP knows it; used by Apply alone
	state    bgp.PeerState // without the counts
	known    known         // how state.LastError is known
	told     []string      // the reasons that are in the log since it was up
	up       atomic.Bool   // Established; read for every log record of GoBGP
	open     atomic.Bool   // GoBGP has not yet closed the established connection
	everUp   bool
	over     bool // the peer has sent more than MaxPrefixes: closed until its configuration changes
	endOfRIB []bgp.Family
	received received
	// graceful are the families whose routes stay for restartTime when the peer goes away, and kept are those that do.
	graceful    []bgp.Family
	restartTime time.Duration
	kept        prefixMap[struct{}]
	patience    *time.Timer // ends when restartTime is over
	hasty       bool        // a collision may begin it anew
	ear         *net.IPConn // hears the peer for a while; nil: it does not
}

func newSession(peer bgp.Peer, restart bgp.GracefulRestart) *session {
	return &session{
		peer:     peer,
		restart:  restart,
		state:    bgp.PeerState{State: bgp.Idle, Since: time.Now()},
		received: newReceived(),
	}
}

// down notes that the session is not established (any more).
func (n *session) down(state bgp.SessionState) {
	if n.up.Swap(false) {
		n.state.Since = time.Now()
		n.state.Flaps++
	}
	n.state.State = state
	n.state.HoldTime = 0
	n.state.Families = nil
	n.state.GracefulRestart = false
	n.endOfRIB = nil
}

// Peers returns the state of every session, in the order of the configuration.
func (s *Speaker) Peers() []bgp.PeerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]bgp.PeerState, 0, len(s.sessions))
	for _, n := range s.sessions {
		state := n.state
		state.Name, state.Address, state.ASN = n.peer.Name, n.peer.Address, n.peer.ASN
		state.Received, state.Accepted = n.received.counts(n.peer.Import, s.config.Accept)
		if state.State == bgp.Established {
			state.EndOfRIB = !slices.ContainsFunc(state.Families, func(f bgp.Family) bool { return !slices.Contains(n.endOfRIB, f) })
			for prefix := range s.announced {
				if slices.Contains(state.Families, bgp.FamilyOf(prefix)) && bgp.Decide(n.peer.Export, prefix, bgp.Accept) {
					state.Announced++
				}
			}
		}
		states = append(states, state)
	}
	slices.SortFunc(states, func(a, b bgp.PeerState) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.Address.Compare(b.Address)
	})
	return states
}

// watch subscribes to what happens in GoBGP. The events of one session come in order.
func (s *Speaker) watch(ctx context.Context, in *instance) error {
	return in.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnPeerUpdate: func(e *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
			if e.Type == apiutil.PEER_EVENT_STATE {
				s.sessionChanged(in, &e.Peer.State)
			}
		},
		OnPathUpdate: func(paths []*apiutil.Path, _ time.Time) { s.pathsReceived(in, paths) },
		OnPathEor:    func(end *apiutil.Path, _ time.Time) { s.endOfRIB(in, end) },
		OnBestPath:   func(paths []*apiutil.Path, _ time.Time) { s.pathsSelected(in, paths) },
	}, server.WatchPeer(), server.WatchUpdate(false, "", ""), server.WatchEor(false), server.WatchBestPath(false))
}

var sessionStates = map[packet.FSMState]bgp.SessionState{
	packet.BGP_FSM_IDLE:        bgp.Idle,
	packet.BGP_FSM_CONNECT:     bgp.Connect,
	packet.BGP_FSM_ACTIVE:      bgp.Active,
	packet.BGP_FSM_OPENSENT:    bgp.OpenSent,
	packet.BGP_FSM_OPENCONFIRM: bgp.OpenConfirm,
	packet.BGP_FSM_ESTABLISHED: bgp.Established,
}

// sessionChanged follows the state machine of a session.
func (s *Speaker) sessionChanged(in *instance, e *apiutil.PeerState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.sessions[e.NeighborAddress]
	if s.current != in || n == nil {
		return
	}
	state := sessionStates[e.SessionState]
	if state != bgp.Established {
		up := n.up.Load()
		if up {
			s.log.Info("BGP session down", "peer", n.peer.Name, "address", n.peer.Address, "reason", n.state.LastError)
			n.told = []string{n.state.LastError}
			if e.DisconnectReason == api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART {
				s.keep(in, n)
			} else {
				s.release(n, allFamilies...)
				n.received.clear()
			}
		}
		if e.DisconnectReason == api.PeerState_DISCONNECT_REASON_INVALID_MSG {
			go s.overhear(n)
		}
		n.down(state)
		switch {
		case up && n.broke(e.DisconnectReason):
			go s.again(in, n, true)
		case !up && n.collided(state, e.DisconnectReason):
			n.hasty = false
			go s.again(in, n, false)
		}
		s.touch()
		return
	}
	n.up.Store(true)
	n.everUp = true
	n.received.next()
	n.state.State, n.state.Since, n.state.RouterID = state, time.Now(), e.RouterID
	n.state.Families, n.state.GracefulRestart = negotiated(n.peer.Families, e.RemoteCap)
	n.graceful, n.restartTime = graceful(e.RemoteCap)
	for _, f := range allFamilies {
		if !slices.Contains(n.graceful, f) {
			s.release(n, f) // the peer will not say that it has told all
		}
	}
	s.log.Info("BGP session up", "peer", n.peer.Name, "address", n.peer.Address, "families", fmt.Sprint(n.state.Families))
	s.touch()
	go s.established(in, n.peer.Address, true)
}

// negotiated reads what the peer can do. A peer that names no family speaks IPv4 unicast (RFC 4760, section 8).
func negotiated(ours []bgp.Family, capabilities []packet.ParameterCapabilityInterface) (families []bgp.Family, gracefulRestart bool) {
	theirs := map[packet.Family]bool{}
	for _, c := range capabilities {
		switch c := c.(type) {
		case *packet.CapMultiProtocol:
			theirs[c.CapValue] = true
		case *packet.CapGracefulRestart:
			gracefulRestart = true
		}
	}
	if len(theirs) == 0 {
		theirs[packet.RF_IPv4_UC] = true
	}
	for _, f := range ours {
		if theirs[family(f)] {
			families = append(families, f)
		}
	}
	return families, gracefulRestart
}

// established does what can only be done when a session is up. Patient: it need not all be done now.
func (s *Speaker) established(in *instance, address netip.Addr, patient bool) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.running != in {
		return
	}
	ctx := context.Background()
	local, held, err := s.whenOpen(ctx, in, address)
	if err != nil {
		s.log.Error("read the state of a BGP session", "address", address, "error", err)
		return
	}
	s.touch()
	if !local.IsValid() || local.IsUnspecified() {
		return // it has ended again, and may be removed
	}
	if err := s.sessionAddress(ctx, address, local); err != nil {
		s.log.Error("set the next hops for a BGP peer", "address", address, "error", err)
		return
	}
	switch partial := s.partial(address); {
	case held && partial && patient:
		// resend would send what some peers do not bear. Mostly it is not needed: the peers' End-of-RIB is on its way.
		time.AfterFunc(partialWait, func() { s.established(in, address, false) })
		return
	case held:
		// A restarting GoBGP holds routes back from all peers until all have sent End-of-RIB, or the deferral time is over.
		// Who knows no graceful restart has lost our routes, and who does drops them if we restart once more before they
		// are announced again. Since we pass nothing on, what there is to announce is complete: End-of-RIB may follow.
		in.heldUntil = time.Now().Add(deferral + 200*time.Millisecond)
	case partial || time.Since(in.announced) > openTime:
		return
	}
	// Also what was announced after GoBGP had chosen what to send first, and before the session was open, has not been sent.
	if err := s.resend(ctx, in, address); err != nil {
		s.log.Error("announce to a BGP peer", "address", address, "error", err)
	}
}

// openTime is how long GoBGP may take to open a session that it has told of.
const openTime = time.Second

// whenOpen reads the local address of a session that is up, and whether GoBGP holds routes back from it. GoBGP (v4.8.0) tells of a
// session before it counts it as established itself, and passes it over until then, also when it is asked to send all again.
func (s *Speaker) whenOpen(ctx context.Context, in *instance, address netip.Addr) (local netip.Addr, held bool, err error) {
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		up, open := false, false
		err := in.ListPeer(ctx, &api.ListPeerRequest{Address: address.String()}, func(p *api.Peer) {
			local, _ = netip.ParseAddr(p.GetTransport().GetLocalAddress())
			held = p.GetGracefulRestart().GetLocalRestarting()
			open = p.GetState().GetSessionState() == api.PeerState_SESSION_STATE_ESTABLISHED
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := s.sessions[address]; n != nil && n.up.Load() {
				up = true
				n.state.HoldTime = time.Duration(p.GetTimers().GetState().GetNegotiatedHoldTime()) * time.Second
			}
		})
		if err != nil || open || !up || time.Since(begin) > openTime {
			return local, held, err
		}
	}
}

// partialWait is how long a peer with less families than we offer is given to end GoBGP's deferral by its End-of-RIB.
const partialWait = deferral / 4

// partial says that a session has not all families that we offer. GoBGP then sends End-of-RIB for the others too when it is
// asked to send all again, and a peer that is a GoBGP ends the session over it (v4.8.0).
func (s *Speaker) partial(address netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.sessions[address]
	return n != nil && n.up.Load() && len(n.state.Families) < len(n.peer.Families)
}

// endOfRIB notes that a peer has sent all it has of a family.
func (s *Speaker) endOfRIB(in *instance, end *apiutil.Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.sessions[end.PeerAddress]
	if s.current != in || n == nil || !n.up.Load() {
		return
	}
	f := bgp.IPv4
	if end.Family == packet.RF_IPv6_UC {
		f = bgp.IPv6
	}
	if !slices.Contains(n.endOfRIB, f) {
		n.endOfRIB = append(n.endOfRIB, f)
	}
	n.received.sweep(f)
	s.release(n, f)
	s.touch()
}
