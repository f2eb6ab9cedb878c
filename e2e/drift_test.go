package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// repairLimit is how long drift may last. The check itself takes some of it.
const repairLimit = time.Second

// TestDriftIsRepaired: somebody deletes our route, flushes the whole ruleset, deletes our table. Within a second all is
// back, and counted.
func TestDriftIsRepaired(t *testing.T) {
	l := NewLab(t)
	nettest.StartBIRD(t, l.Router, routerBIRD(""))
	l.Speak(t)
	begin := time.Now()
	l.Agent(t)
	l.Settled(t, begin)
	reachable(t, l)

	l.Node.IP(t, "route del 192.0.2.0/24")
	nettest.Eventually(t, repairLimit, func() error { return routeAt(l.Node, "192.0.2.0/24", true) })

	for _, command := range [][]string{{"flush", "ruleset"}, {"delete", "table", "inet", "waymark"}} {
		l.Node.Run(t, "nft", command...)
		nettest.Eventually(t, repairLimit, func() error {
			_, err := l.Node.Try("nft", "list", "chain", "inet", "waymark", "postrouting")
			return err
		})
	}
	nettest.Eventually(t, 5*time.Second, func() error {
		s, err := l.Status(t)
		if err == nil && (s.Repairs["routes"] < 1 || s.Repairs["nat"] < 2) {
			err = fmt.Errorf("repairs in status: %v", s.Repairs)
		}
		return err
	})
}

// TestForeignRoutesAreNotTouched: an operator's static route for the prefix that BGP brings stays as it is.
func TestForeignRoutesAreNotTouched(t *testing.T) {
	l := NewLab(t)
	static := "192.0.2.0/24 via 198.18.0.1 dev eth0 metric 50"
	l.Node.IP(t, "route add "+static)
	before := l.Node.IP(t, "route show metric 50")
	nettest.StartBIRD(t, l.Router, routerBIRD(""))
	l.Speak(t)
	begin := time.Now()
	agent := l.Agent(t, "--withdraw-on-exit")
	l.Settled(t, begin)
	if after := l.Node.IP(t, "route show metric 50"); after != before {
		t.Errorf("static route was %q, is %q", before, after)
	}
	if err := agent.Stop(); err != nil {
		t.Errorf("agent ended: %v", err)
	}
	if after := l.Node.IP(t, "route show metric 50"); after != before {
		t.Errorf("static route was %q, is %q after the end", before, after)
	}
	nettest.Eventually(t, 5*time.Second, func() error { return routeAt(l.Router, podCIDR, false) })
}
