package gobgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestKindsOfSession brings up each kind of session with FRR and looks at a route each way.
func TestKindsOfSession(t *testing.T) {
	preference := uint32(250)
	for _, tt := range []struct {
		name   string
		router func(c *routerConfig)
		peer   func(p *bgp.Peer)
		want   route // of 10.1.0.0/24
	}{
		{"iBGP", func(c *routerConfig) { c.ASN, c.NeighborAS = 64513, 64513 }, func(p *bgp.Peer) {
			p.ASN = 64513
			p.Attributes = bgp.Attributes{LocalPreference: &preference, Prepend: 2} // prepending is for eBGP
		}, route{ASPath: "Local", LocalPref: 250}},
		{"TTL security", func(c *routerConfig) { c.Security = true }, func(p *bgp.Peer) { p.TTLSecurity = 1 }, route{ASPath: "64513"}},
		{"they connect", func(*routerConfig) {}, func(p *bgp.Peer) { p.Passive = true }, route{ASPath: "64513"}},
		{"we connect", func(c *routerConfig) { c.Passive = true }, func(*bgp.Peer) {}, route{ASPath: "64513"}},
		{"4-byte AS", func(c *routerConfig) { c.ASN = 4200000001 }, func(p *bgp.Peer) { p.ASN = 4200000001 }, route{ASPath: "64513"}},
		{"local preference is not for eBGP", func(*routerConfig) {}, func(p *bgp.Peer) {
			p.Attributes.LocalPreference = &preference
		}, route{ASPath: "64513"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := direct()
			tt.router(&config)
			r := startFRR(t, segment(t), config)
			c := speakerConfig()
			tt.peer(&c.Peers[0])
			s := speak(t, c)
			tt.want.NextHop, tt.want.Communities = "192.0.2.1", []string{"64513:1"}
			nettest.Eventually(t, patience, wantRoute(r, "10.1.0.0/24", tt.want))
			nettest.Eventually(t, patience, learnsAll(s, r))
		})
	}
}

// TestMultihop crosses a router in between.
func TestMultihop(t *testing.T) {
	middle, far := nettest.New(t, "middle"), nettest.New(t, "far")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24"}, middle, "eth0", []string{"192.0.2.3/24"})
	nettest.Join(t, middle, "eth1", []string{"203.0.113.1/24"}, far, "eth0", []string{"203.0.113.2/24"})
	nettest.Self.IP(t, "route add 203.0.113.0/24 via 192.0.2.3")
	far.IP(t, "route add 192.0.2.0/24 via 203.0.113.1")
	r := startFRR(t, far, routerConfig{Address: "203.0.113.2", Neighbor: "192.0.2.1", Multihop: true, Announce: []string{"198.51.100.0/24"}})
	c := speakerConfig()
	c.Peers[0].Address, c.Peers[0].MultihopTTL = netip.MustParseAddr("203.0.113.2"), 2
	s := speak(t, c)
	nettest.Eventually(t, patience, learns(s, "198.51.100.0/24 via 203.0.113.2"))
	nettest.Eventually(t, patience, hasRoute(r, "10.1.0.0/24"))

	c.Peers = slices.Clone(c.Peers)
	c.Peers[0].MultihopTTL = 0
	apply(t, s, c)
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.State != bgp.Established && p.LastError != "" }))
	nettest.Eventually(t, patience, learns(s))
}

// TestOverIPv6 has both families in a session over IPv6; the IPv4 next hops are those of the interface.
func TestOverIPv6(t *testing.T) {
	for _, daemon := range routers {
		t.Run(daemon.name, func(t *testing.T) {
			config := direct()
			config.Address, config.Neighbor = "2001:db8::2", "2001:db8::1"
			config.Announce = []string{"2001:db8:f::/48"}
			want := []string{"2001:db8:f::/48 via 2001:db8::2"}
			switch daemon.name {
			case "FRR", "BIRD": // they have an IPv4 next hop to tell, although GoBGP offers to take another (RFC 8950)
				config.Announce = append(config.Announce, "198.51.100.0/24")
				want = append(want, "198.51.100.0/24 via 192.0.2.2")
			}
			r := daemon.start(t, segment(t), config)
			c := speakerConfig()
			c.Peers[0].Address = netip.MustParseAddr("2001:db8::2")
			s := speak(t, c)
			nettest.Eventually(t, patience, func() error {
				for prefix, want := range map[string]string{"10.1.0.0/24": "192.0.2.1", "2001:db8:1::/64": "2001:db8::1"} {
					got, err := r.route(prefix)
					if err != nil || got == nil || got.NextHop != want {
						return fmt.Errorf("%s at the router: %v: %v, want next hop %s", prefix, err, got, want)
					}
				}
				return nil
			})
			nettest.Eventually(t, patience, learns(s, want...))
		})
	}
}

// TestLastError provokes what an operator may get wrong.
func TestLastError(t *testing.T) {
	for _, tt := range []struct {
		name   string
		router func(c *routerConfig) // nil: there is none
		peer   func(p *bgp.Peer)
		want   string
	}{
		{"peer has another AS", func(c *routerConfig) { c.ASN = 64514 }, nil, "peer says AS 64514, configured 64512"},
		{"peer has another 4-byte AS", func(c *routerConfig) { c.ASN = 4200000001 }, nil, "peer says AS 4200000001, configured 64512"},
		{"peer expects another AS", func(c *routerConfig) { c.NeighborAS = 64999 }, nil, "peer closed: it expects another AS than ours (NOTIFICATION 2/2)"},
		{"peer does not know us", func(c *routerConfig) { c.Neighbor = "192.0.2.77" }, nil, "the peer accepts TCP and closes it again"},
		{"nobody listens", nil, nil, "TCP: connection refused"},
		{"nobody there", nil, func(p *bgp.Peer) { p.Address = netip.MustParseAddr("192.0.2.99") }, "no answer on TCP: nobody there"},
	} {
		for _, daemon := range routers {
			if tt.router == nil && daemon.name != "FRR" {
				continue
			}
			t.Run(tt.name+"/"+daemon.name, func(t *testing.T) {
				ns := segment(t)
				if tt.router != nil {
					config := direct()
					tt.router(&config)
					daemon.start(t, ns, config)
				}
				c := speakerConfig()
				if tt.peer != nil {
					tt.peer(&c.Peers[0])
				}
				s := speak(t, c)
				nettest.Eventually(t, 3*patience, peerState(s, func(p bgp.PeerState) bool {
					return p.State != bgp.Established && strings.Contains(p.LastError, tt.want)
				}))
			})
		}
	}
}

// twoRouters puts two FRR routers on the speaker's segment.
func twoRouters(t *testing.T, first, second routerConfig) (a, b frr, c bgp.Config) {
	t.Helper()
	nettest.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	t.Cleanup(func() { _, _ = nettest.Self.Try("ip", "link", "del", "br0") })
	nettest.Run(t, "ip", "link", "set", "br0", "up")
	nettest.Run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "br0")
	start := func(name string, c routerConfig) frr {
		c.RouterID = c.Address // GoBGP passes nothing on between peers with one ID anyway
		ns := nettest.New(t, name)
		nettest.Join(t, nettest.Self, "to-"+name, nil, ns, "eth0", []string{c.Address + "/24"})
		nettest.Run(t, "ip", "link", "set", "to-"+name, "master", "br0")
		return startFRR(t, ns, c).(frr)
	}
	a, b = start("a", first), start("b", second)
	config := speakerConfig()
	for i, r := range []routerConfig{first, second} {
		config.Peers = append(config.Peers[:i], bgp.Peer{
			Name: "router" + fmt.Sprint(i), Address: netip.MustParseAddr(r.Address), ASN: or0(r.ASN, 64512), Families: []bgp.Family{bgp.IPv4},
		})
	}
	return a, b, config
}

func or0(asn, otherwise uint32) uint32 {
	if asn == 0 {
		return otherwise
	}
	return asn
}

// TestTwoPeers has equal-cost paths, no transit between the peers, changes that reset one peer, and a path failure.
func TestTwoPeers(t *testing.T) {
	first := routerConfig{Address: "192.0.2.2", Neighbor: "192.0.2.1", ASN: 64601, Restart: true, Announce: []string{"198.51.100.0/24", "203.0.113.0/25"}}
	second := routerConfig{Address: "192.0.2.3", Neighbor: "192.0.2.1", ASN: 64602, Restart: true, Announce: []string{"198.51.100.0/24", "203.0.113.128/25"}}
	a, b, c := twoRouters(t, first, second)
	s := speak(t, c)
	all := []string{"198.51.100.0/24 via 192.0.2.2 192.0.2.3", "203.0.113.0/25 via 192.0.2.2", "203.0.113.128/25 via 192.0.2.3"}
	nettest.Eventually(t, patience, learns(s, all...))
	nettest.Eventually(t, patience, hasRoute(a, "10.1.0.0/24"))
	nettest.Eventually(t, patience, hasRoute(b, "10.1.0.0/24"))
	for prefix, r := range map[string]router{"203.0.113.0/25": b, "203.0.113.128/25": a} {
		if err := wantNoRoute(r, prefix)(); err != nil {
			t.Errorf("transit: %v", err)
		}
	}

	before := s.Peers()
	c.Peers = slices.Clone(c.Peers)
	c.Peers[0].Timers.Hold = 30 * time.Second
	apply(t, s, c)
	nettest.Eventually(t, patience, learns(s, "198.51.100.0/24 via 192.0.2.3", "203.0.113.128/25 via 192.0.2.3"))
	nettest.Eventually(t, patience, learns(s, all...))
	after := s.Peers()
	if after[0].Flaps != 1 || after[1].Flaps != 0 || !after[1].Since.Equal(before[1].Since) {
		t.Errorf("a change of one peer reset the other:\nbefore %s\nafter %s", toJSON(before), toJSON(after))
	}

	// A failed path takes its routes away at once, although both sides know graceful restart, and the session comes back.
	c.Peers = slices.Clone(c.Peers)
	c.Peers[1].PathFailures++
	start := time.Now()
	apply(t, s, c)
	nettest.Eventually(t, 200*time.Millisecond, learns(s, "198.51.100.0/24 via 192.0.2.2", "203.0.113.0/25 via 192.0.2.2"))
	nettest.Eventually(t, 5*time.Second, learns(s, all...))
	t.Logf("routes were back after %v", time.Since(start))

	// A router that goes away without a word keeps its routes for its restart time, one that is removed does not.
	b.BGP.Kill()
	nettest.Eventually(t, patience, func() error {
		if p := s.Peers()[1]; p.State == bgp.Established {
			return fmt.Errorf("still up: %s", toJSON(p))
		}
		return nil
	})
	if err := learns(s, all...)(); err != nil {
		t.Errorf("after the peer was killed: %v", err)
	}
	c.Peers = c.Peers[:1]
	apply(t, s, c)
	nettest.Eventually(t, patience, learns(s, "198.51.100.0/24 via 192.0.2.2", "203.0.113.0/25 via 192.0.2.2"))
	if peers := s.Peers(); len(peers) != 1 || peers[0].Flaps != 1 {
		t.Errorf("after removing the second peer: %s", toJSON(peers))
	}
}

// TestLinkReturns cuts the link as BFD would report it: the routes go at once, and are back within 5 s after the link is.
// OpenBGPD and GoBGP themselves rest for longer after a session has broken.
func TestLinkReturns(t *testing.T) {
	for _, daemon := range routers[:2] {
		t.Run(daemon.name, func(t *testing.T) {
			ns := segment(t)
			r := daemon.start(t, ns, direct())
			c := speakerConfig()
			c.Peers[0].Families = []bgp.Family{bgp.IPv4}
			s := speak(t, c)
			all := []string{"198.51.100.0/24 via 192.0.2.2", "198.51.100.128/25 via 192.0.2.2", "203.0.113.0/24 via 192.0.2.2"}
			for _, cut := range []time.Duration{500 * time.Millisecond, 4 * time.Second} {
				nettest.Eventually(t, patience, learns(s, all...))
				nettest.Eventually(t, patience, hasRoute(r, "10.1.0.0/24"))
				ns.IP(t, "link set eth0 down")
				c.Peers = slices.Clone(c.Peers)
				c.Peers[0].PathFailures++
				apply(t, s, c)
				nettest.Eventually(t, 200*time.Millisecond, learns(s))
				time.Sleep(cut)
				ns.IP(t, "link set eth0 up")
				start := time.Now()
				nettest.Eventually(t, 3*patience, learns(s, all...))
				nettest.Eventually(t, patience, hasRoute(r, "10.1.0.0/24"))
				took := time.Since(start)
				t.Logf("cut for %v: back after %v", cut, took)
				if took > 5*time.Second {
					t.Errorf("cut for %v: back after %v", cut, took)
				}
			}
		})
	}
}

// TestOneBadPeer has a peer that cannot be; the other one works.
func TestOneBadPeer(t *testing.T) {
	r := startFRR(t, segment(t), direct())
	c := speakerConfig()
	c.Peers = append([]bgp.Peer{{Name: "bad", Address: netip.MustParseAddr("192.0.2.9")}}, c.Peers...)
	s := New(testLog(t), "", false, func() {})
	t.Cleanup(func() { _ = s.Stop(context.Background(), false) })
	if err := s.Apply(context.Background(), c); err == nil || !strings.Contains(err.Error(), "peer bad (192.0.2.9): ASN is 0") {
		t.Errorf("error is %v", err)
	}
	nettest.Eventually(t, patience, learnsAll(s, r))
}

// TestAllowOwnAS has two nodes with one AS behind an eBGP reflector on their segment: each learns the other's prefix, and
// from whom it is: the node, not the reflector.
func TestAllowOwnAS(t *testing.T) {
	reflector := routerConfig{Address: "192.0.2.2", Neighbor: "192.0.2.1"}
	node := routerConfig{Address: "192.0.2.3", Neighbor: "192.0.2.2", ASN: 64513, NeighborAS: 64512, Announce: []string{"10.2.0.0/24"}}
	r, _, c := twoRouters(t, reflector, node)
	r.Configure(t, `
router bgp 64512
 neighbor 192.0.2.3 remote-as 64513
 neighbor 192.0.2.3 timers connect 1
exit
`)
	c.Peers = c.Peers[:1]
	s := speak(t, c)
	nettest.Eventually(t, patience, hasRoute(r, "10.1.0.0/24"))
	nettest.Eventually(t, patience, func() error {
		_, err := r.Vtysh("show bgp ipv4 10.2.0.0/24 json")
		return err
	})
	nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.EndOfRIB }))
	if err := learns(s)(); err != nil {
		t.Error(err)
	}
	c.Peers = slices.Clone(c.Peers)
	c.Peers[0].AllowOwnAS = 1
	apply(t, s, c)
	nettest.Eventually(t, patience, learns(s, "10.2.0.0/24 via 192.0.2.3"))
}

// TestNoPortIsTakenForBFD: waymark-bfd needs it.
func TestNoPortIsTakenForBFD(t *testing.T) {
	r := startFRR(t, segment(t), direct())
	s := speak(t, speakerConfig())
	nettest.Eventually(t, patience, learnsAll(s, r))
	conn, err := net.ListenPacket("udp", ":3784")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestOneFamilyOfTwo has a peer that speaks IPv4 only, while we offer both. GoBGP, unlike others, ends a session over an
// End-of-RIB of a family that it has not agreed to. A restart must not bring one.
func TestOneFamilyOfTwo(t *testing.T) {
	config := direct()
	config.Announce, config.OnlyV4 = config.V4(), true
	r := startGoBGP(t, segment(t), config)
	dir, job := t.TempDir(), speakerJob{Announce: speakerConfig().Announce}
	p := startSpeaker(t, dir, job)
	nettest.Eventually(t, patience, hasRoute(r, "10.1.0.0/24"))
	time.Sleep(2 * time.Second) // its End-of-RIB is to have arrived
	lost := watchRoutes(t, r, []string{"10.1.0.0/24"})
	p.Kill()
	job.Restarting = true
	p = startSpeaker(t, dir, job)
	nettest.Eventually(t, patience, func() error {
		if !strings.Contains(p.Output(), "BGP session up") {
			return errors.New("the session is not up again")
		}
		return nil
	})
	time.Sleep(2 * time.Second) // over GoBGP's own deferral
	if err := lost(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(p.Output(), "BGP session up"); n != 1 {
		t.Errorf("%d sessions after the restart, want one:\n%s", n, p.Output())
	}
}
