package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// reasoned are routers with strict BFD that log why a session with the node ends.
var reasoned = []struct {
	name string
	// start gives the router an AS, and returns the daemon with the log.
	start func(t testing.TB, l *Lab, asn string) *nettest.Process
	// What the log says when we have removed the router, and when it thinks that the path has failed.
	removed, failed string
}{
	{"FRR", func(t testing.TB, l *Lab, asn string) *nettest.Process {
		config := routerFRR("neighbor " + nodeAddr + " bfd 3 100 100\n bgp log-neighbor-changes")
		return nettest.StartFRR(t, l.Router, true, strings.Replace(config, "bgp 64512", "bgp "+asn, 1)).BGP
	}, "Down BGP Notification received", "Down BFD down received"},
	{"BIRD", func(t testing.TB, l *Lab, asn string) *nettest.Process {
		config := "log stderr all;\ndebug protocols { events };\n" + routerBIRD("bfd on;")
		return nettest.StartBIRD(t, l.Router, strings.Replace(config, "as 64512", "as "+asn, 1)).Process
	}, "node: Received: Peer de-configured", "node: BFD session down"},
}

// TestMismatchWithBFD: the router has another AS than configured, and BFD comes and goes with its attempts. Status says the
// AS in plain words, and goes on to say so over many attempts; the log says it once.
func TestMismatchWithBFD(t *testing.T) {
	const want = "peer says AS 64514, configured 64512"
	for _, router := range reasoned {
		t.Run(router.name, func(t *testing.T) {
			l := NewLab(t)
			router.start(t, l, "64514")
			l.BFD(t)
			l.Speak(t, "bfd: {interval: 100ms, multiplier: 3}")
			agent := l.Agent(t)
			reason := func() error {
				s, err := l.Status(t)
				if err == nil && (len(s.Peers) != 1 || s.Peers[0].LastError != want) {
					err = fmt.Errorf("peers in status: %+v", s.Peers)
				}
				return err
			}
			nettest.Eventually(t, 30*time.Second, reason)
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if err := reason(); err != nil {
					t.Fatalf("it flips: %v", err)
				}
			}
			if n := strings.Count(agent.Output(), want); n != 1 {
				t.Errorf("the log has the reason %d times, want once:\n%s", n, agent.Output())
			}
		})
	}
}

// TestRemovedPeerWithBFD: a BGPPeer is deleted. The router is told that, and does not end the session for a failure of the
// path. (That BFD goes down too a moment later, it sees as well, since it goes on to want both.)
func TestRemovedPeerWithBFD(t *testing.T) {
	for _, router := range reasoned {
		t.Run(router.name, func(t *testing.T) {
			l := NewLab(t)
			daemon := router.start(t, l, "64512")
			l.BFD(t)
			l.Speak(t, "bfd: {interval: 100ms, multiplier: 3}")
			begin := time.Now()
			agent := l.Agent(t)
			l.Settled(t, begin)
			l.BFDUp(t)
			before := len(daemon.Output())
			if err := os.Remove(filepath.Join(l.Manifests, "peer.yaml")); err != nil {
				t.Fatal(err)
			}
			nettest.Eventually(t, 10*time.Second, func() error { return routeAt(l.Router, podCIDR, false) })
			time.Sleep(time.Second) // BFD has gone too by now
			log := daemon.Output()[before:]
			removed, failed := strings.Index(log, router.removed), strings.Index(log, router.failed)
			if removed < 0 || failed >= 0 && failed < removed {
				t.Errorf("not the first reason for the router: %q\n%s", router.removed, log)
			}
			if !strings.Contains(agent.Output(), "removed here") {
				t.Errorf("the log does not say that the peer was removed here:\n%s", agent.Output())
			}
		})
	}
}
