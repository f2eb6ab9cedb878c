package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestDeadNodeIsWithdrawn: with the same strict BFD under which a restart of the agent loses no packet, a node that falls
// silent is withdrawn by the router long before hold timer (9 s) or graceful restart (60 s) would end, and the agent drops
// what it has learned. When the link returns, so do session and routes. How fast exactly, `make bench` measures.
func TestDeadNodeIsWithdrawn(t *testing.T) {
	for _, router := range routers {
		t.Run(router.name, func(t *testing.T) {
			l, _ := strict(t, router.start)
			nettest.Eventually(t, 10*time.Second, func() error { return routeAt(l.Router, podCIDR, true) })

			l.Silence(t)
			begin := time.Now()
			nettest.Eventually(t, 4*time.Second, func() error { return routeAt(l.Router, podCIDR, false) })
			t.Logf("withdrawn by the router after %v", time.Since(begin).Round(time.Millisecond))
			nettest.Eventually(t, 4*time.Second, func() error { return routeAt(l.Node, "192.0.2.0/24", false) })

			l.Heal(t)
			begin = time.Now()
			nettest.Eventually(t, 15*time.Second, func() error { return routeAt(l.Router, podCIDR, true) })
			nettest.Eventually(t, 15*time.Second, func() error { return routeAt(l.Node, "192.0.2.0/24", true) })
			t.Logf("back after %v", time.Since(begin).Round(time.Millisecond))
			reachable(t, l)
		})
	}
}

// TestAgentKilledWithBFDIsNoDeadNode: the agent is gone for ten detection times, and the router keeps the prefix.
func TestAgentKilledWithBFDIsNoDeadNode(t *testing.T) {
	for _, router := range routers {
		t.Run(router.name, func(t *testing.T) {
			l, agent := strict(t, router.start)
			agent.Kill()
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if err := routeAt(l.Router, podCIDR, true); err != nil {
					t.Fatalf("%v after the kill: %v", time.Since(end)+3*time.Second, err)
				}
			}
			if router.name == "FRR" {
				// FRR 8.4 heeds BFD only while the BGP session is established. A node that dies in the middle of a
				// restart of its agent stays until the restart time is over; nothing on our side can change that.
				return
			}
			l.Silence(t) // now the node dies as well, with nobody but waymark-bfd to notice
			nettest.Eventually(t, 4*time.Second, func() error { return routeAt(l.Router, podCIDR, false) })
		})
	}
}

// strict is a lab in which agent and BFD are up, and a BFD failure ends the session on the router's side.
func strict(t testing.TB, router func(testing.TB, *Lab, bool)) (*Lab, *nettest.Process) {
	t.Helper()
	l := NewLab(t)
	router(t, l, true)
	l.BFD(t)
	l.Speak(t, "bfd: {interval: 100ms, multiplier: 3}")
	begin := time.Now()
	agent := l.Agent(t)
	l.Settled(t, begin)
	l.BFDUp(t)
	return l, agent
}

// Silence lets nothing in or out of the node, as when it has lost its power: the router's interface stays up.
func (l *Lab) Silence(t testing.TB) {
	t.Helper()
	l.Node.Run(t, "nft", "add table inet dead; add chain inet dead in { type filter hook prerouting priority -400; policy drop; }; "+
		"add chain inet dead out { type filter hook output priority -400; policy drop; }")
}

// Heal ends a Silence.
func (l *Lab) Heal(t testing.TB) {
	t.Helper()
	l.Node.Run(t, "nft", "delete", "table", "inet", "dead")
}

// BFDUp waits until the router's BFD session is up, as the node sees it.
func (l *Lab) BFDUp(t testing.TB) {
	t.Helper()
	nettest.Eventually(t, 20*time.Second, func() error {
		s, err := l.Status(t)
		if err != nil {
			return err
		}
		if len(s.Peers) != 1 || s.Peers[0].BFD == nil || s.Peers[0].BFD.State.String() != "Up" || s.Peers[0].BFD.DetectionTime > 400*time.Millisecond {
			return fmt.Errorf("BFD is not up: %+v", s.Peers)
		}
		return nil
	})
}

// routeAt tells whether a namespace has a route to prefix that BGP has brought, as wanted.
func routeAt(ns nettest.NS, prefix string, want bool) error {
	out, err := ns.Try("ip", "route", "show", prefix)
	if err != nil {
		return err
	}
	if has := strings.Contains(out, "via"); has != want {
		return fmt.Errorf("route to %s at %s: %v, want %v (%q)", prefix, ns, has, want, out)
	}
	return nil
}
