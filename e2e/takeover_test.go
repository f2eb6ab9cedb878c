package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestTheNextAgentSweeps: while no agent runs, the datacenter withdraws a network. The next agent takes over the routes
// that it finds, keeps the one that is announced again, and removes the other when the peer has told all it has.
func TestTheNextAgentSweeps(t *testing.T) {
	l := NewLab(t)
	with := routerBIRD("")
	bird := nettest.StartBIRD(t, l.Router, with+`protocol static { ipv4; route 198.51.100.0/24 blackhole; }`)
	l.Speak(t)
	l.Accept(t, "{prefix: 0.0.0.0/0, minLength: 8, maxLength: 24}")
	agent := l.Agent(t)
	nettest.Eventually(t, 20*time.Second, func() error { return routeAt(l.Node, "198.51.100.0/24", true) })
	agent.Kill()

	bird.Configure(t, with)
	monitor := l.Node.Start(t, "ip", "monitor", "route")
	l.Agent(t)
	nettest.Eventually(t, 20*time.Second, func() error { return routeAt(l.Node, "198.51.100.0/24", false) })
	if err := routeAt(l.Node, "192.0.2.0/24", true); err != nil {
		t.Error(err)
	}
	if out := monitor.Output(); strings.Contains(out, "192.0.2.0/24") {
		t.Errorf("the route that stays was touched:\n%s", out)
	}
}

// TestPeerWithoutGracefulRestartGetsRoutesAtOnce: our own graceful restart must not hold routes back from a peer that has
// none, neither at the first start nor after a kill.
func TestPeerWithoutGracefulRestartGetsRoutesAtOnce(t *testing.T) {
	l := NewLab(t)
	nettest.StartBIRD(t, l.Router, strings.Replace(routerBIRD(""), "graceful restart on", "graceful restart off", 1))
	l.Speak(t)
	for range 3 {
		begin := time.Now()
		agent := l.Agent(t)
		nettest.Eventually(t, 10*time.Second, func() error { return routeAt(l.Router, podCIDR, true) })
		t.Logf("announced %v after the start", time.Since(begin).Round(time.Millisecond))
		agent.Kill()
		nettest.Eventually(t, 20*time.Second, func() error { return routeAt(l.Router, podCIDR, false) })
	}
}

// TestRestartWhileAFileIsBroken: the agent is killed and started while the file with its only peer does not parse. What it
// cannot know it does not touch: packets cross the node both ways, and strict BFD stays up.
func TestRestartWhileAFileIsBroken(t *testing.T) {
	for _, router := range routers {
		t.Run(router.name, func(t *testing.T) {
			l, agent := strict(t, router.start)
			reachable(t, l)
			stream := StartStream(t, l.Host, hostAddr, l.Pod, podAddr)
			l.Write(t, "peer.yaml", "apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: router}\nspec: {adress: 198.18.0.1}\n")
			agent.Kill()
			begin := time.Now()
			l.Agent(t)
			nettest.Eventually(t, 10*time.Second, func() error {
				s, err := l.Status(t)
				if err == nil && (s.Ready || s.Started.Before(begin) || s.Stages["announce"].Runs < 2) {
					err = fmt.Errorf("status: %+v", s)
				}
				return err
			})
			l.Speak(t, "bfd: {interval: 100ms, multiplier: 3}")
			l.Settled(t, begin)
			stream.Stop(t)
		})
	}
}
