package gobgp

import (
	"fmt"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestPeerRestarts kills the router and starts it with one network less. Graceful restart keeps all until it has told what it
// has, not for a moment without, and the session does not wait longer than the router does.
func TestPeerRestarts(t *testing.T) {
	ns := segment(t)
	config := direct()
	router := startBIRD(t, ns, config).(bird)
	s := speak(t, speakerConfig())
	nettest.Eventually(t, patience, learnsAll(s, router))
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.EndOfRIB }))
	before := s.Peers()[0]

	router.Kill()
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.State != bgp.Established }))
	if p := s.Peers()[0]; p.Received != before.Received || p.Flaps != before.Flaps+1 || p.LastError != "the connection broke" {
		t.Errorf("the peer that is away: %s", toJSON(p))
	}
	config.Announce = config.Announce[1:]
	startBIRD(t, ns, config)
	start := time.Now()
	rest := learns(s, "198.51.100.128/25 via 192.0.2.2", "203.0.113.0/24 via 192.0.2.2", "2001:db8:f::/48 via 2001:db8::2")
	nettest.Eventually(t, 5*time.Second, func() error {
		err := rest()
		if err != nil && learnsAll(s, router)() != nil {
			t.Fatalf("neither all nor what is left: %v", err)
		}
		return err
	})
	t.Logf("told again %v after the router had started", time.Since(start))
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool {
		return p.EndOfRIB && p.Received == before.Received-1 && p.LastError == ""
	}))
}

// TestPeerDoesNotComeBack: what is kept of a router that is away goes when its restart time is over.
func TestPeerDoesNotComeBack(t *testing.T) {
	const restartTime = 3 * time.Second
	r := startFRR(t, segment(t), direct()).(frr)
	r.Configure(t, fmt.Sprintf("router bgp 64512\n bgp graceful-restart restart-time %d\nexit\n", restartTime/time.Second))
	s := speak(t, speakerConfig())
	nettest.Eventually(t, patience, learnsAll(s, r))
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.EndOfRIB }))
	r.BGP.Kill()
	start := time.Now()
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.State != bgp.Established }))
	for time.Since(start) < restartTime-500*time.Millisecond {
		if err := learnsAll(s, r)(); err != nil {
			t.Fatalf("%v after the router was killed: %v", time.Since(start), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	nettest.Eventually(t, time.Second, learns(s))
	nettest.Eventually(t, time.Second, peerState(s, func(p bgp.PeerState) bool { return p.Received == 0 }))
}

// TestPeerComesBackWithoutGracefulRestart: such a peer never says that it has told all, so nothing is kept for it.
func TestPeerComesBackWithoutGracefulRestart(t *testing.T) {
	ns := segment(t)
	config := direct()
	router := startBIRD(t, ns, config).(bird)
	s := speak(t, speakerConfig())
	nettest.Eventually(t, patience, learnsAll(s, router))
	router.Kill()
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.State != bgp.Established }))
	config.Restart, config.Announce = false, config.Announce[1:2]
	startBIRD(t, ns, config)
	nettest.Eventually(t, patience, learns(s, "198.51.100.128/25 via 192.0.2.2"))
}
