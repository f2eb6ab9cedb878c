package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestCutLinkReturns: without BFD, a link is cut and returns. Within 5 s the session is up, both sides have their routes, and
// the outside host and the pod reach each other. One cut is seen by the router alone, the other by the hold timers alone.
func TestCutLinkReturns(t *testing.T) {
	for _, router := range routers {
		t.Run(router.name, func(t *testing.T) {
			l := NewLab(t)
			router.start(t, l, false)
			l.Speak(t)
			begin := time.Now()
			l.Agent(t)
			l.Settled(t, begin)
			reachable(t, l)
			for _, cut := range []struct {
				name      string
				length    time.Duration
				cut, heal func()
			}{
				{"the router's port", 4 * time.Second,
					func() { l.Router.IP(t, "link set fabric down") }, func() { l.Router.IP(t, "link set fabric up") }},
				{"somewhere between", 10 * time.Second, func() { l.Silence(t) }, func() { l.Heal(t) }},
			} {
				cut.cut()
				time.Sleep(cut.length)
				cut.heal()
				start := time.Now()
				nettest.Eventually(t, 20*time.Second, func() error { return l.together(t) })
				took := time.Since(start)
				t.Logf("%s cut for %v: back after %v", cut.name, cut.length, took.Round(10*time.Millisecond))
				if took > 5*time.Second {
					t.Errorf("%s cut for %v: back after %v, want at most 5 s", cut.name, cut.length, took)
				}
				l.Settled(t, begin)
			}
		})
	}
}

// together says whether the node and its router have their session and each other's routes, and hosts behind them meet.
func (l *Lab) together(t testing.TB) error {
	t.Helper()
	s, err := l.Status(t)
	if err != nil {
		return err
	}
	if len(s.Peers) != 1 || s.Peers[0].State != bgp.Established {
		return fmt.Errorf("peers: %+v", s.Peers)
	}
	if err := routeAt(l.Node, "192.0.2.0/24", true); err != nil {
		return err
	}
	if err := routeAt(l.Router, podCIDR, true); err != nil {
		return err
	}
	_, err = l.Host.Try("ping", "-c1", "-W1", podAddr)
	return err
}
