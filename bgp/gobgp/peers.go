package gobgp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"

	"github.com/waymark-bgp/waymark/bgp"
)

const (
	defaultHold         = 90 * time.Second
	defaultConnectRetry = 2 * time.Second
	// deferral is how long a restarting GoBGP at most waits for End-of-RIB before it announces (RFC 4724, section 4.1:
	// Selection_Deferral_Timer). We pass nothing on, so there is nothing to wait for; it is the least that GoBGP knows.
	deferral = time.Second
	// idleAfterReset is how long a session rests after we have reset it.
	idleAfterReset = time.Second
)

// removePeers ends the sessions that are not wanted, and those that have to start over.
func (s *Speaker) removePeers(ctx context.Context, peers []bgp.Peer) error {
	var errs []error
	for address, n := range s.sessions {
		i := slices.IndexFunc(peers, func(p bgp.Peer) bool { return p.Address == address })
		var next *session
		if i >= 0 {
			if next = s.startOver(n, peers[i]); next == nil {
				continue
			}
		}
		if next == nil {
			s.log.Info("BGP session ends", "peer", n.peer.Name, "address", address, "reason", "removed here")
		}
		n.up.Store(false) // what GoBGP tells of its end is no news
		if err := s.removePeer(ctx, n); err != nil {
			errs = append(errs, fmt.Errorf("peer %s (%s): end the session: %w", n.peer.Name, address, err))
			continue
		}
		s.mu.Lock()
		n.deafen()
		s.release(n, allFamilies...)
		if next != nil {
			s.sessions[address] = next
		} else {
			delete(s.sessions, address)
		}
		s.mu.Unlock()
		s.touch()
	}
	return errors.Join(errs...)
}

// startOver returns the session to come if the peer's configuration cannot be changed under the session that is.
func (s *Speaker) startOver(n *session, wanted bgp.Peer) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := ""
	switch {
	case wanted.PathFailures > n.peer.PathFailures && n.holds():
		reason = "BFD: the path to the peer failed"
	case n.over && wanted.MaxPrefixes != n.peer.MaxPrefixes || n.restart != s.config.GracefulRestart.Offered() || len(n.peer.Restarts(&wanted)) > 0:
		reason = "its configuration changed"
	default:
		return nil
	}
	s.log.Info("BGP session starts over", "peer", wanted.Name, "address", wanted.Address, "reason", reason)
	next := newSession(wanted, s.config.GracefulRestart.Offered())
	next.everUp = n.everUp
	next.state.Flaps, next.state.Since, next.state.LastError = n.state.Flaps, n.state.Since, reason
	if next.hasty = n.up.Load(); next.hasty {
		next.state.Flaps++
		next.state.Since = time.Now()
	}
	return next
}

// holds says that there is something to lose when the path fails: the session is up, or graceful restart keeps its routes.
// One that is still coming up goes on trying, and goes on saying why it is not up.
func (n *session) holds() bool { return n.up.Load() || n.received.prefixes.len() > 0 }

// removePeer ends a session for good. When it returns, the peer has been told so: Cease, Peer De-configured.
func (s *Speaker) removePeer(ctx context.Context, n *session) error {
	if !n.added {
		return nil
	}
	remove := &api.DeletePeerRequest{Address: n.peer.Address.String()}
	if err := s.running.DeletePeer(ctx, remove); err != nil {
		return err
	}
	n.added = false
	delete(s.local, n.peer.Address)
	for deadline := time.Now().Add(2 * time.Second); n.open.Load() && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	if n.peer.Password.Reveal() == "" {
		return nil
	}
	// DeletePeer leaves the key on the listening socket, and a peer without one would not get through. Only a change of it
	// takes it away, and tells the peer another reason; so that is made when the peer has been told.
	peer := s.apiPeer(n)
	peer.Conf.AdminDown = true
	if err := s.running.AddPeer(ctx, &api.AddPeerRequest{Peer: peer}); err != nil {
		return err
	}
	peer.Conf.AuthPassword = ""
	if _, err := s.running.UpdatePeer(ctx, &api.UpdatePeerRequest{Peer: peer}); err != nil {
		return err
	}
	return s.running.DeletePeer(ctx, remove)
}

// addPeers starts the sessions that are not there, and changes what can be changed of the others.
func (s *Speaker) addPeers(ctx context.Context, peers []bgp.Peer) error {
	var errs []error
	for _, p := range peers {
		s.mu.Lock()
		n := s.sessions[p.Address]
		if n == nil {
			n = newSession(p, s.config.GracefulRestart.Offered())
			s.sessions[p.Address] = n
		}
		n.peer = p
		n.received.counted = false
		s.mu.Unlock()
		if n.added {
			s.enforceLimit(n)
			continue
		}
		if err := s.running.AddPeer(ctx, &api.AddPeerRequest{Peer: s.apiPeer(n)}); err != nil {
			errs = append(errs, fmt.Errorf("peer %s (%s): start a session: %w", p.Name, p.Address, err))
			s.mu.Lock()
			n.state.LastError = err.Error()
			s.mu.Unlock()
			continue
		}
		n.added = true
	}
	return errors.Join(errs...)
}

func (s *Speaker) apiPeer(n *session) *api.Peer {
	p := n.peer
	hold := or(p.Timers.Hold, defaultHold)
	peer := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: p.Address.String(),
			PeerAsn:         p.ASN,
			AuthPassword:    p.Password.Reveal(),
			AllowOwnAsn:     math.MaxUint8, // see statements.loops
			Description:     p.Name,
		},
		Timers: &api.Timers{Config: &api.TimersConfig{
			HoldTime:               seconds(hold),
			KeepaliveInterval:      seconds(or(p.Timers.Keepalive, hold/3)),
			ConnectRetry:           seconds(or(p.Timers.ConnectRetry, defaultConnectRetry)),
			IdleHoldTimeAfterReset: seconds(idleAfterReset),
		}},
		Transport: &api.Transport{RemotePort: uint32(p.Port), PassiveMode: p.Passive},
	}
	if p.MultihopTTL > 0 {
		peer.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(p.MultihopTTL)}
	}
	if p.TTLSecurity > 0 {
		peer.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 256 - uint32(p.TTLSecurity)}
	}
	restart := s.config.GracefulRestart
	if restart.Enabled {
		peer.GracefulRestart = &api.GracefulRestart{
			Enabled:         true,
			RestartTime:     uint32(seconds(restart.RestartTime)),
			DeferralTime:    uint32(seconds(deferral)),
			LocalRestarting: restart.Restarting && !n.everUp,
		}
	}
	for _, f := range p.Families {
		peer.AfiSafis = append(peer.AfiSafis, &api.AfiSafi{
			Config:            &api.AfiSafiConfig{Family: apiFamily(f), Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: restart.Enabled}},
		})
	}
	return peer
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func seconds(d time.Duration) uint64 { return uint64(d / time.Second) }

// enforceLimit looks at a limit that has changed.
func (s *Speaker) enforceLimit(n *session) {
	s.mu.Lock()
	f, over := n.overLimit()
	over, n.over = over && !n.over, over || n.over
	s.mu.Unlock()
	if over {
		s.closeOverLimit(n, f)
	}
}

// exceeded is called when a peer has sent too much.
func (s *Speaker) exceeded(in *instance, n *session, f bgp.Family) {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.running == in && s.sessions[n.peer.Address] == n {
		s.closeOverLimit(n, f)
	}
}

// closeOverLimit closes a session for good: trying again would only repeat it. It stays so until the limit or the session's
// configuration changes.
func (s *Speaker) closeOverLimit(n *session, f bgp.Family) {
	reason := fmt.Sprintf("more than %d %s prefixes", n.peer.MaxPrefixes, f)
	s.log.Warn("BGP session closed until its configuration changes", "peer", n.peer.Name, "address", n.peer.Address, "reason", reason)
	s.mu.Lock()
	n.state.LastError = "the peer sent " + reason + ": closed until its configuration changes"
	s.mu.Unlock()
	err := s.running.DisablePeer(context.Background(), &api.DisablePeerRequest{Address: n.peer.Address.String(), Communication: reason})
	if err != nil {
		s.log.Error("close a BGP session", "peer", n.peer.Name, "address", n.peer.Address, "error", err)
	}
}
