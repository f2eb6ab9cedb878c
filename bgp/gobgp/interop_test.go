package gobgp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

const patience = 20 * time.Second

// segment joins the test's namespace (the speaker, 192.0.2.1) and a router (192.0.2.2).
func segment(t *testing.T) nettest.NS {
	t.Helper()
	ns := nettest.New(t, "router")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, ns, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	return ns
}

func direct() routerConfig {
	return routerConfig{
		Address: "192.0.2.2", Neighbor: "192.0.2.1", Restart: true,
		Announce: []string{"198.51.100.0/24", "198.51.100.128/25", "203.0.113.0/24", "2001:db8:f::/48"},
	}
}

func speakerConfig() bgp.Config {
	return bgp.Config{
		ASN: 64513, RouterID: netip.MustParseAddr("192.0.2.1"), ListenPort: 179,
		GracefulRestart: bgp.GracefulRestart{Enabled: true, RestartTime: 2 * time.Minute},
		Accept:          []bgp.FilterRule{rule("0.0.0.0/0", 0, 32, bgp.Accept), rule("::/0", 0, 128, bgp.Accept)},
		Peers: []bgp.Peer{{
			Name: "router", Address: netip.MustParseAddr("192.0.2.2"), ASN: 64512, Families: []bgp.Family{bgp.IPv4, bgp.IPv6},
		}},
		Announce: []bgp.Announcement{
			{Prefix: netip.MustParsePrefix("10.1.0.0/24"), Communities: []bgp.Community{community("64513:1")}},
			{Prefix: netip.MustParsePrefix("2001:db8:1::/64")},
		},
	}
}

func rule(prefix string, low, high int, action bgp.Action) bgp.FilterRule {
	return bgp.FilterRule{Prefix: netip.MustParsePrefix(prefix), MinLength: low, MaxLength: high, Action: action}
}

func community(text string) bgp.Community {
	c, err := bgp.ParseCommunity(text)
	if err != nil {
		panic(err)
	}
	return c
}

// speak starts a speaker in the test's process.
func speak(t *testing.T, c bgp.Config) *Speaker {
	t.Helper()
	s := New(testLog(t), filepath.Join(t.TempDir(), "gobgp.sock"), false, func() {})
	t.Cleanup(func() {
		if err := s.Stop(context.Background(), false); err != nil {
			t.Error(err)
		}
	})
	apply(t, s, c)
	return s
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(line []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(line)))
	return len(line), nil
}

func apply(t *testing.T, s *Speaker, c bgp.Config) {
	t.Helper()
	if err := s.Apply(context.Background(), c); err != nil {
		t.Fatal(err)
	}
}

// learns checks what the speaker has learned, each as "prefix via next hop, next hop".
func learns(s *Speaker, want ...string) func() error {
	return func() error {
		var have []string
		for prefix, next := range s.Learned {
			have = append(have, fmt.Sprintf("%s via %s", prefix, strings.Trim(fmt.Sprint(next), "[]")))
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			return fmt.Errorf("learned:\nhave %q\nwant %q", have, want)
		}
		return nil
	}
}

// peerState waits for the state of the only peer.
func peerState(s *Speaker, check func(p bgp.PeerState) bool) func() error {
	return func() error {
		if peers := s.Peers(); len(peers) == 0 || !check(peers[0]) {
			return fmt.Errorf("peers: %s", toJSON(peers))
		}
		return nil
	}
}

// learnsAll is learns for all that a router of direct announces.
func learnsAll(s *Speaker, r router) func() error {
	next := "2001:db8::2"
	if _, ok := r.(openBGPD); ok {
		next = "::1" // what OpenBGPD says over IPv4, whatever it is told
	}
	return learns(s, "198.51.100.0/24 via 192.0.2.2", "198.51.100.128/25 via 192.0.2.2", "203.0.113.0/24 via 192.0.2.2", "2001:db8:f::/48 via "+next)
}

// everyRouter runs a test against each daemon.
func everyRouter(t *testing.T, c routerConfig, test func(t *testing.T, r router)) {
	for _, daemon := range routers {
		t.Run(daemon.name, func(t *testing.T) {
			ns := segment(t)
			test(t, daemon.start(t, ns, c))
		})
	}
}

// everyRouterOnRestart is everyRouter for tests that kill the speaker.
func everyRouterOnRestart(t *testing.T, test func(t *testing.T, r router)) {
	for _, daemon := range routers {
		t.Run(daemon.name, func(t *testing.T) {
			c := direct()
			// OpenBGPD 7.7 may send two OPENs after an attempt of its own has failed while nobody listened. That is refused,
			// but the session counts for it, and its end as one more restart: it drops what it has kept.
			c.Passive = daemon.name == "OpenBGPD"
			test(t, daemon.start(t, segment(t), c))
		})
	}
}

// TestInterop has both families in one session over IPv4, attributes as seen by the peer, filters both ways, and changes of
// them that reset nothing.
func TestInterop(t *testing.T) {
	everyRouter(t, direct(), func(t *testing.T, r router) {
		c := speakerConfig()
		med := uint32(7)
		c.Peers[0].Attributes = bgp.Attributes{
			MED: &med, Prepend: 2, Communities: []bgp.Community{community("64512:100")},
			LargeCommunities: []bgp.LargeCommunity{{Global: 64513, Local1: 2, Local2: 3}},
		}
		s := speak(t, c)
		v4 := route{NextHop: "192.0.2.1", ASPath: "64513 64513 64513", MED: 7, Communities: []string{"64512:100", "64513:1"}, Large: []string{"64513:2:3"}}
		v6 := route{NextHop: "2001:db8::1", ASPath: "64513 64513 64513", MED: 7, Communities: []string{"64512:100"}, Large: []string{"64513:2:3"}}
		wait := func(prefix string, want route) {
			t.Helper()
			switch r.(type) { // a local preference of their own
			case bird, openBGPD:
				want.LocalPref = 100
			}
			nettest.Eventually(t, patience, wantRoute(r, prefix, want))
		}
		wait("10.1.0.0/24", v4)
		wait("2001:db8:1::/64", v6)
		nettest.Eventually(t, patience, learnsAll(s, r))
		nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool {
			return p.State == bgp.Established && p.EndOfRIB && p.GracefulRestart && len(p.Families) == 2 &&
				p.Received == 4 && p.Accepted == 4 && p.Announced == 2 && p.RouterID == netip.MustParseAddr("192.0.2.254") && p.HoldTime >= 9*time.Second
		}))
		since := s.Peers()[0].Since

		c.Peers = slices.Clone(c.Peers)
		c.Peers[0].Attributes = bgp.Attributes{Communities: []bgp.Community{community("64512:200")}}
		c.Peers[0].Import = []bgp.FilterRule{rule("198.51.100.0/24", 25, 32, bgp.Reject)}
		c.Peers[0].Export = []bgp.FilterRule{rule("2001:db8::/32", 32, 128, bgp.Reject)}
		c.Accept = []bgp.FilterRule{rule("198.51.0.0/16", 16, 32, bgp.Accept)}
		apply(t, s, c)
		wait("10.1.0.0/24", route{NextHop: "192.0.2.1", ASPath: "64513", Communities: []string{"64512:200", "64513:1"}})
		nettest.Eventually(t, patience, wantNoRoute(r, "2001:db8:1::/64"))
		nettest.Eventually(t, patience, learns(s, "198.51.100.0/24 via 192.0.2.2"))
		nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.Received == 4 && p.Accepted == 1 && p.Announced == 1 }))

		c.Peers = slices.Clone(c.Peers)
		c.Peers[0].Import, c.Peers[0].Export = nil, nil
		c.Accept = speakerConfig().Accept
		c.Announce = []bgp.Announcement{{Prefix: netip.MustParsePrefix("10.2.0.0/24")}, c.Announce[1]}
		apply(t, s, c)
		nettest.Eventually(t, patience, wantNoRoute(r, "10.1.0.0/24"))
		wait("10.2.0.0/24", route{NextHop: "192.0.2.1", ASPath: "64513", Communities: []string{"64512:200"}})
		wait("2001:db8:1::/64", route{NextHop: "2001:db8::1", ASPath: "64513", Communities: []string{"64512:200"}})
		nettest.Eventually(t, patience, learnsAll(s, r))
		if p := s.Peers()[0]; p.Flaps != 0 || !p.Since.Equal(since) {
			t.Errorf("the session was reset: %s", toJSON(p))
		}
	})
}

// TestPassword has TCP MD5 keys that fit, that do not, and one that is taken away.
func TestPassword(t *testing.T) {
	config := direct()
	config.Password = "hunter2"
	everyRouter(t, config, func(t *testing.T, r router) {
		c := speakerConfig()
		c.Peers[0].Password = bgp.NewPassword("wrong")
		s := speak(t, c)
		nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool {
			return p.State != bgp.Established && strings.Contains(p.LastError, "MD5 passwords differ")
		}))
		c.Peers = slices.Clone(c.Peers)
		c.Peers[0].Password = bgp.NewPassword("hunter2")
		apply(t, s, c)
		nettest.Eventually(t, patience, learnsAll(s, r))
		if p := s.Peers()[0]; p.LastError != "" {
			t.Errorf("an error of a session that is up: %q", p.LastError)
		}
		c.Peers = slices.Clone(c.Peers)
		c.Peers[0].Password = bgp.Password{}
		apply(t, s, c)
		nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.State != bgp.Established }))
		nettest.Eventually(t, patience, learns(s))
	})
}

// TestGracefulRestart kills the speaker: the peer must have its routes all the time, and after the restart only what the
// new one announces.
func TestGracefulRestart(t *testing.T) {
	everyRouterOnRestart(t, func(t *testing.T, r router) {
		job := speakerJob{Announce: speakerConfig().Announce}
		job.Announce = append(job.Announce, bgp.Announcement{Prefix: netip.MustParsePrefix("10.9.0.0/24")})
		dir := t.TempDir()
		p := startSpeaker(t, dir, job)
		everywhere := []string{"10.1.0.0/24", "2001:db8:1::/64"}
		for _, prefix := range append(everywhere, "10.9.0.0/24") {
			nettest.Eventually(t, patience, hasRoute(r, prefix))
		}
		// End-of-RIB is to have arrived: a peer that was still learning knows nothing to keep.
		time.Sleep(2 * time.Second)
		for _, stop := range []func(){p.Kill, func() { _ = p.Stop() }} {
			lost := watchRoutes(t, r, everywhere)
			stop()
			time.Sleep(time.Second)
			job.Restarting = true
			job.Announce = job.Announce[:2]
			p = startSpeaker(t, dir, job)
			nettest.Eventually(t, patience, func() error {
				if !strings.Contains(p.Output(), "BGP session up") {
					return errors.New("the session is not up again")
				}
				return nil
			})
			nettest.Eventually(t, patience, wantNoRoute(r, "10.9.0.0/24"))
			time.Sleep(2 * time.Second)
			if err := lost(); err != nil {
				t.Error(err)
			}
		}
		// SIGUSR1 withdraws.
		p.Signal(syscall.SIGUSR1)
		for _, prefix := range everywhere {
			nettest.Eventually(t, 2*time.Second, wantNoRoute(r, prefix))
		}
	})
}

// TestRestartAfterRestart kills a speaker again soon after its session is back. A peer drops what has not been announced anew
// by then (RFC 4724, section 4.2), so that is to happen at once, although another peer that GoBGP would wait for is absent.
func TestRestartAfterRestart(t *testing.T) {
	everyRouterOnRestart(t, func(t *testing.T, r router) {
		dir, job := t.TempDir(), speakerJob{Announce: speakerConfig().Announce, Absent: netip.MustParseAddr("192.0.2.99")}
		p := startSpeaker(t, dir, job)
		everywhere := []string{"10.1.0.0/24", "2001:db8:1::/64"}
		for _, prefix := range everywhere {
			nettest.Eventually(t, patience, hasRoute(r, prefix))
		}
		time.Sleep(2 * time.Second) // as above
		soon := deferral / 4
		if _, slow := r.(openBGPD); slow {
			soon = 3 * time.Second // it looks at the first updates of a session only after 2 to 3 s (7.7, November 2026)
		}
		job.Restarting = true
		lost := watchRoutes(t, r, everywhere)
		for range 3 {
			p.Kill()
			p = startSpeaker(t, dir, job)
			nettest.Eventually(t, patience, func() error {
				if !strings.Contains(p.Output(), "BGP session up") {
					return errors.New("the session is not up again")
				}
				return nil
			})
			time.Sleep(soon)
		}
		time.Sleep(2 * time.Second)
		if err := lost(); err != nil {
			t.Error(err)
		}
	})
}

// startSpeaker starts a speaker that can be killed.
func startSpeaker(t *testing.T, dir string, job speakerJob) *nettest.Process {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "job.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return nettest.Self.Start(t, "env", asSpeaker+"="+dir, executable(t))
}

func hasRoute(r router, prefix string) func() error {
	return func() error {
		if got, err := r.route(prefix); err != nil || got == nil {
			return fmt.Errorf("%s is not at the router: %v", prefix, err)
		}
		return nil
	}
}

// watchRoutes looks at the router until it is asked whether a route was ever missing.
func watchRoutes(t *testing.T, r router, prefixes []string) (lost func() error) {
	t.Helper()
	stop, result := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				result <- nil
				return
			default:
			}
			for _, prefix := range prefixes {
				if err := hasRoute(r, prefix)(); err != nil {
					result <- err
					return
				}
			}
		}
	}()
	return func() error {
		close(stop)
		return <-result
	}
}

// TestPeerLimit has the peer refuse us, and tell why.
func TestPeerLimit(t *testing.T) {
	config := direct()
	config.MaxPrefix = 1
	everyRouter(t, config, func(t *testing.T, r router) {
		c := speakerConfig()
		c.Announce = append(c.Announce, bgp.Announcement{Prefix: netip.MustParsePrefix("10.2.0.0/24")})
		s := speak(t, c)
		nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.RouterID.IsValid() }))
		if _, ok := r.(frr); ok { // compares its count before it adds
			nettest.Eventually(t, patience, hasRoute(r, "10.2.0.0/24"))
			c.Announce = append(c.Announce, bgp.Announcement{Prefix: netip.MustParsePrefix("10.3.0.0/24")})
			apply(t, s, c)
		}
		nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool {
			return p.State != bgp.Established && strings.Contains(p.LastError, "too many prefixes from us")
		}))
	})
}

// TestMaxPrefixes closes the session of a peer that sends too much, and opens it when the limit is raised.
func TestMaxPrefixes(t *testing.T) {
	for _, daemon := range routers {
		t.Run(daemon.name, func(t *testing.T) {
			config := direct()
			// OpenBGPD 7.7 does not read our NOTIFICATION when it writes as we close, and would keep our routes for a restart.
			config.Restart = daemon.name != "OpenBGPD"
			r := daemon.start(t, segment(t), config)
			c := speakerConfig()
			c.Peers[0].MaxPrefixes = 2
			s := speak(t, c)
			nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool {
				return p.State == bgp.Idle && p.LastError == "the peer sent more than 2 ipv4 prefixes: closed until its configuration changes"
			}))
			nettest.Eventually(t, patience, learns(s))
			nettest.Eventually(t, patience, wantNoRoute(r, "10.1.0.0/24"))
			c.Peers = slices.Clone(c.Peers)
			c.Peers[0].MaxPrefixes = 3
			apply(t, s, c)
			nettest.Eventually(t, patience, learnsAll(s, r))
			nettest.Eventually(t, patience, hasRoute(r, "10.1.0.0/24"))
		})
	}
}
