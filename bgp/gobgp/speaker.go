// Package gobgp speaks BGP with GoBGP. It is the only package that imports it; what goes in and comes out are the types of
// package bgp.
package gobgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/server"

	"github.com/waymark-bgp/waymark/bgp"
)

// Speaker is this node's BGP speaker. Its sessions and learned routes can be read while it works.
type Speaker struct {
	log      *slog.Logger
	socket   string
	writable bool
	changed  chan struct{}
	notify   func()

	// applying is held while the speaker is changed. It is taken before mu, and mu is never held while GoBGP is called:
	// GoBGP calls back, be it only to log.
	applying sync.Mutex
	running  *instance
	stopped  bool
	policies policies
	local    map[netip.Addr]netip.Addr // the local addresses of sessions that have been up, by peer

	mu      sync.RWMutex
	current *instance // whose events count
	frozen  bool      // learned stays as it is
	learned table
	// Only who holds applying changes these, with mu held too; so either is enough to read them.
	config    bgp.Config
	announced map[netip.Prefix]bgp.Announcement
	sessions  map[netip.Addr]*session
}

// instance is one life of GoBGP: it starts over when the ASN, the router ID or the port changes.
type instance struct {
	*server.BgpServer
	cancel context.CancelFunc
	// heldUntil is when GoBGP has stopped to hold back changes from a peer that has our announcements already.
	heldUntil time.Time
	// announced is when something was announced last that was not before, or with other communities.
	announced time.Time
}

// New returns a speaker that begins to speak with the first Apply. It offers GoBGP's own API on a Unix socket at
// socketPath ("": nowhere), read-only unless writable. It calls notify soon after sessions or learned routes have changed,
// once for many changes; notify must not block.
func New(logger *slog.Logger, socketPath string, writable bool, notify func()) *Speaker {
	return &Speaker{
		log:      logger,
		socket:   socketPath,
		writable: writable,
		notify:   notify,
		changed:  make(chan struct{}, 1),
		sessions: map[netip.Addr]*session{},
		learned:  newTable(),
	}
}

// Apply makes the whole configuration true. What is wrong with one peer does not stop the others and is in the error. What
// has changed of a peer's session resets that session; attributes, filters and limits are changed without.
func (s *Speaker) Apply(ctx context.Context, config bgp.Config) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if s.stopped {
		return errors.New("apply BGP configuration: the speaker has been stopped")
	}
	if err := config.Validate(); err != nil {
		return fmt.Errorf("apply BGP configuration: %w", err)
	}
	if s.running != nil && (config.ASN != s.config.ASN || config.RouterID != s.config.RouterID || config.ListenPort != s.config.ListenPort) {
		s.log.Info("BGP identity changes: all sessions start over", "asn", config.ASN, "routerID", config.RouterID)
		if err := s.shutdown(ctx, false); err != nil {
			return err
		}
	}
	if s.running == nil {
		if err := s.start(ctx, config); err != nil {
			return fmt.Errorf("start BGP speaker: %w", err)
		}
	}
	peers, invalid := config.ValidPeers()
	s.mu.Lock()
	s.config = config
	s.mu.Unlock()

	// Filters are there before the peers they are for, and announcements too: what is announced before End-of-RIB takes
	// over from what a restarted speaker had announced, without a gap (RFC 4724, section 4.1).
	removed := s.removePeers(ctx, peers)
	soft, err := s.setPolicies(ctx, peers)
	if err != nil {
		return errors.Join(invalid, removed, err)
	}
	return errors.Join(invalid, removed,
		s.announce(ctx, config.Announce),
		s.addPeers(ctx, peers),
		s.refresh(ctx, soft))
}

// Stop ends all sessions. Graceful: peers that know graceful restart keep our routes for the restart time; else all drop
// them at once. What was learned can still be read.
func (s *Speaker) Stop(ctx context.Context, graceful bool) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.stopped = true
	return s.shutdown(ctx, graceful)
}

func (s *Speaker) start(ctx context.Context, config bgp.Config) error {
	var private string
	logger := slog.New(&logHandler{speaker: s, next: s.log.Handler()})
	options := []server.ServerOption{server.LoggerOption(logger, nil)}
	if s.socket != "" {
		var err error
		if private, err = privateSocket(s.socket); err != nil {
			return err
		}
		defer os.RemoveAll(private)
		options = append(options, apiOptions(private, s.writable)...)
	}
	run, cancel := context.WithCancel(context.Background())
	in := &instance{BgpServer: server.NewBgpServer(options...), cancel: cancel}
	go in.Serve()
	if err := s.prepare(ctx, run, in, private, config); err != nil {
		cancel()
		in.Stop()
		return err
	}
	s.running = in
	s.policies = nil
	s.local = map[netip.Addr]netip.Addr{}
	s.mu.Lock()
	s.current = in
	s.frozen = false
	s.announced = map[netip.Prefix]bgp.Announcement{}
	s.sessions = map[netip.Addr]*session{}
	s.learned = newTable()
	s.mu.Unlock()
	go s.tell(run)
	return nil
}

func (s *Speaker) prepare(ctx, run context.Context, in *instance, private string, config bgp.Config) error {
	if private != "" {
		if err := publishSocket(ctx, private, s.socket); err != nil {
			return err
		}
	}
	port := int32(config.ListenPort)
	if port == 0 {
		port = -1 // GoBGP's way to say that it shall not listen
	}
	err := in.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn:              config.ASN,
		RouterId:         config.RouterID.String(),
		ListenPort:       port,
		ListenAddresses:  listenAddresses(),
		Families:         []uint32{0, 1}, // IPv4 and IPv6 unicast by GoBGP's numbers: a table for each of its 25 takes 10 MB
		UseMultiplePaths: true,
	}})
	if err != nil {
		return err
	}
	return s.watch(run, in)
}

// listenAddresses leaves IPv6 out where the kernel has none.
func listenAddresses() []string {
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		return []string{"0.0.0.0"}
	}
	return []string{"0.0.0.0", "::"}
}

func (s *Speaker) shutdown(ctx context.Context, graceful bool) error {
	if s.running == nil {
		return nil
	}
	in := s.running
	s.running = nil
	s.mu.Lock()
	s.frozen = true // GoBGP withdraws what was learned as it goes down; that is no news
	s.mu.Unlock()
	if !graceful {
		s.closeSessions(ctx, in)
	}
	s.mu.Lock()
	s.current = nil
	for _, session := range s.sessions {
		session.down(bgp.Idle)
		session.deafen()
	}
	s.mu.Unlock()
	in.cancel()
	err := in.StopBgp(ctx, &api.StopBgpRequest{AllowGracefulRestart: graceful})
	in.Stop()
	if s.socket != "" {
		err = errors.Join(err, os.Remove(s.socket))
	}
	if err != nil {
		return fmt.Errorf("stop BGP speaker: %w", err)
	}
	return nil
}

// closeSessions ends the sessions with a NOTIFICATION and waits until it is sent. GoBGP does not wait when it stops, and
// closes what it has accepted with its listener: a peer that knows graceful restart would keep our routes.
func (s *Speaker) closeSessions(ctx context.Context, in *instance) {
	for address := range s.sessions {
		err := in.DisablePeer(ctx, &api.DisablePeerRequest{Address: address.String(), Communication: "waymark-agent withdraws from this node"})
		if err != nil {
			s.log.Error("close a BGP session", "address", address, "error", err)
		}
	}
	up := func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		for _, n := range s.sessions {
			if n.up.Load() {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(2 * time.Second); up() && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
}

// touch says that there is something new. It never blocks.
func (s *Speaker) touch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// tell calls notify for what touch has said, at most every few milliseconds.
func (s *Speaker) tell(ctx context.Context) {
	const pause = 10 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			s.notify()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
