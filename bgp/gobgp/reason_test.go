package gobgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// logBuffer keeps what a speaker logs for operators.
type logBuffer struct{ nettest.Buffer }

// lines are those with all of these words in them.
func (b *logBuffer) lines(words ...string) []string {
	return slices.DeleteFunc(strings.Split(b.String(), "\n"), func(line string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

func (b *logBuffer) has(count int, words ...string) func() error {
	return func() error {
		if lines := b.lines(words...); len(lines) != count {
			return fmt.Errorf("%d log lines with %q, want %d: %q", len(lines), words, count, lines)
		}
		return nil
	}
}

// speakWithLog is speak for a test that reads the log.
func speakWithLog(t *testing.T, c bgp.Config) (*Speaker, *logBuffer) {
	t.Helper()
	b := &logBuffer{}
	s := New(slog.New(slog.NewTextHandler(b, nil)), "", false, func() {})
	t.Cleanup(func() {
		if err := s.Stop(context.Background(), false); err != nil {
			t.Error(err)
		}
		t.Logf("log:\n%s", b.String())
	})
	apply(t, s, c)
	return s, b
}

// TestReasonStays: what a peer has stated stays the reason over many tries, also while BFD reports failures of the path to
// it, and is in the log once.
func TestReasonStays(t *testing.T) {
	config := direct()
	config.ASN = 64514
	for _, daemon := range routers[:2] {
		t.Run(daemon.name, func(t *testing.T) {
			daemon.start(t, segment(t), config)
			const want = "peer says AS 64514, configured 64512"
			c := speakerConfig()
			s, log := speakWithLog(t, c)
			nettest.Eventually(t, 3*patience, peerState(s, func(p bgp.PeerState) bool { return p.LastError == want }))
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				c.Peers = slices.Clone(c.Peers)
				c.Peers[0].PathFailures++
				apply(t, s, c)
				if p := s.Peers()[0]; p.LastError != want || p.Flaps != 0 {
					t.Fatalf("it flips: %s", toJSON(p))
				}
			}
			if err := log.has(1, "BGP session is not up", "peer=router", want)(); err != nil {
				t.Error(err)
			}
			if lines := log.lines("BGP session is not up"); len(lines) > 3 {
				t.Errorf("more than the reason and guesses before it: %q", lines)
			}
			if err := log.has(0, "starts over")(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGuessIsNotFinal: a reason that was seen at one try gives way when the next one shows another.
func TestGuessIsNotFinal(t *testing.T) {
	ns := segment(t)
	c := speakerConfig()
	s, log := speakWithLog(t, c)
	is := func(want string) func() error {
		return peerState(s, func(p bgp.PeerState) bool { return strings.Contains(p.LastError, want) })
	}
	nettest.Eventually(t, patience, is("TCP: connection refused"))
	config := direct()
	config.Neighbor = "192.0.2.77"
	r := startFRR(t, ns, config).(frr)
	nettest.Eventually(t, patience, is("the peer accepts TCP and closes it again"))
	r.Configure(t, "router bgp 64512\n neighbor 192.0.2.1 remote-as 64999\n neighbor 192.0.2.1 timers connect 1\nexit\n")
	nettest.Eventually(t, 3*patience, is("it expects another AS than ours"))
	r.Configure(t, "router bgp 64512\n no neighbor 192.0.2.1\n neighbor 192.0.2.1 remote-as 64513\n neighbor 192.0.2.1 timers connect 1\nexit\n")
	nettest.Eventually(t, 3*patience, peerState(s, func(p bgp.PeerState) bool { return p.State == bgp.Established && p.LastError == "" }))
	r.Configure(t, "router bgp 64512\n neighbor 192.0.2.1 shutdown\nexit\n")
	nettest.Eventually(t, patience, is("peer closed: administratively shut down"))
	for _, words := range [][]string{
		{"BGP session is not up", "connection refused"},
		{"BGP session is not up", "the peer accepts TCP and closes it again"},
		{"BGP session is not up", "it expects another AS than ours"},
		{"BGP session up", "peer=router"},
		{"BGP session down", "peer=router", "peer closed: administratively shut down"},
	} {
		nettest.Eventually(t, time.Second, log.has(1, words...))
	}
}

// TestRemovedPeer: a peer that is removed here is told so when Apply returns, with and without a password, and the same
// address can be a peer again.
func TestRemovedPeer(t *testing.T) {
	for _, password := range []string{"", "hunter2"} {
		config := direct()
		config.Password = password
		for _, daemon := range routers[:2] {
			t.Run(daemon.name+password, func(t *testing.T) {
				r := daemon.start(t, segment(t), config)
				c := speakerConfig()
				c.Peers[0].Password = bgp.NewPassword(password)
				s, log := speakWithLog(t, c)
				nettest.Eventually(t, patience, learnsAll(s, r))
				peers := c.Peers
				c.Peers = nil
				apply(t, s, c)
				nettest.Eventually(t, 200*time.Millisecond, func() error { return toldRemoved(r) })
				if err := log.has(1, "BGP session ends", "peer=router", "removed here")(); err != nil {
					t.Error(err)
				}
				c.Peers = peers
				apply(t, s, c)
				nettest.Eventually(t, patience, learnsAll(s, r))
				if password == "" {
					return
				}
				// The key is gone from the listening socket too: without one the session does not come up from either side.
				c.Peers = slices.Clone(peers)
				c.Peers[0].Password = bgp.Password{}
				apply(t, s, c)
				nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return strings.Contains(p.LastError, "MD5") }))
			})
		}
	}
}

// toldRemoved asks a router whether the last reason it heard is Cease, Peer De-configured (RFC 4486).
func toldRemoved(r router) error {
	switch r := r.(type) {
	case frr:
		var all map[string]struct {
			LastErrorCodeSubcode   string
			LastNotificationReason string
		}
		if err := r.JSON("show bgp neighbors 192.0.2.1 json", &all); err != nil {
			return err
		}
		if n := all["192.0.2.1"]; n.LastErrorCodeSubcode != "0603" {
			return fmt.Errorf("FRR was told %+v", n)
		}
	case bird:
		out, err := r.Birdc("show protocols all speaker")
		if err != nil || !strings.Contains(out, "Received: Peer de-configured") {
			return fmt.Errorf("BIRD was told: %v: %s", err, out)
		}
	}
	return nil
}

// TestSessionThatIsGoneBeforeItIsLookedAt: what is done when a session is up comes too late for one that is removed.
func TestSessionThatIsGoneBeforeItIsLookedAt(t *testing.T) {
	r := startFRR(t, segment(t), direct())
	c := speakerConfig()
	peers := c.Peers
	c.Peers = nil
	s := speak(t, c)
	s.established(s.running, peers[0].Address, true)
	c.Peers = peers
	c.Peers[0].Passive = true // the first announcement is the one that matters: only the prediction of the next hop is known
	apply(t, s, c)
	if next := s.beside(c.Peers[0])[bgp.IPv6]; next != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("IPv6 next hop toward a peer that is not up yet is %s", next)
	}
	nettest.Eventually(t, patience, hasRoute(r, "2001:db8:1::/64"))
}

// TestPathFailureEndsWhatIsKept: while graceful restart keeps the routes of a peer that is away, a failure of the path to it
// takes them at once.
func TestPathFailureEndsWhatIsKept(t *testing.T) {
	r := startFRR(t, segment(t), direct()).(frr)
	c := speakerConfig()
	s := speak(t, c)
	nettest.Eventually(t, patience, learnsAll(s, r))
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.EndOfRIB }))
	r.BGP.Kill()
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.State != bgp.Established }))
	if err := learnsAll(s, r)(); err != nil {
		t.Fatalf("not kept: %v", err)
	}
	c.Peers = slices.Clone(c.Peers)
	c.Peers[0].PathFailures++
	apply(t, s, c)
	nettest.Eventually(t, 500*time.Millisecond, learns(s))
}
