package udp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func configure(t testing.TB, s *Speaker, c bfd.Config) {
	t.Helper()
	if err := s.Set(c); err != nil {
		t.Fatal(err)
	}
}

// guestsAre waits for so many passive sessions.
func guestsAre(t testing.TB, s *Speaker, timeout time.Duration, up, total int) {
	t.Helper()
	nettest.Eventually(t, timeout, func() error {
		if got := s.Status().Passive; got.Up != up || got.Total != total {
			return fmt.Errorf("%+v, want %d of %d up", got, up, total)
		}
		return nil
	})
}

// families are the ends of a multihop session with a router, which opens it.
func families(t *testing.T, check func(t *testing.T, l link)) {
	for _, l := range []link{
		{dev: "eth0", router: "192.0.2.2", node: "192.0.2.1", multihop: true, tx: 100, rx: 100, mult: 3},
		{dev: "eth0", router: "2001:db8::2", node: "2001:db8::1", multihop: true, tx: 100, rx: 100, mult: 3},
	} {
		t.Run(l.router, func(t *testing.T) { check(t, l) })
	}
}

func allHaveLeft(t testing.TB, s *Speaker) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.leaving); n > 0 {
			return fmt.Errorf("%d are still leaving", n)
		}
		return nil
	})
}

func TestPassive(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		families(t, func(t *testing.T, l link) {
			ns, _ := simple(t)
			s := startSpeaker(t)
			configure(t, s, bfd.Config{Passive: prefixes("192.0.2.0/24", "2001:db8::/64")})
			r := make(ns)
			r.start(t, l)
			awaitRouter(t, r, 10*time.Second, "up")
			guestsAre(t, s, 3*time.Second, 1, 1)
			if got := s.Status().Sessions; len(got) != 0 {
				t.Errorf("reported as wanted: %+v", got)
			}

			r.kill()
			killed := time.Now()
			guestsAre(t, s, 3*time.Second, 0, 1)
			if took := time.Since(killed); took > 500*time.Millisecond {
				t.Errorf("noticed after %v, want the router's 3 x 100 ms", took)
			}
			r.start(t, l)
			awaitRouter(t, r, 10*time.Second, "up")
			guestsAre(t, s, 3*time.Second, 1, 1)

			l.mult = 50 // the router must hear it, not time out
			r.configure(t, l)
			time.Sleep(time.Second)
			configure(t, s, bfd.Config{Passive: prefixes("198.51.100.0/24")})
			awaitRouter(t, r, time.Second, "down")
			guestsAre(t, s, time.Second, 0, 0)
		})
	})
}

func TestPassiveSessionIsForgotten(t *testing.T) {
	ns, _ := simple(t)
	st := newStation(t, ns, hop{multi: true})
	s := startSpeaker(t)
	configure(t, s, bfd.Config{Passive: prefixes("192.0.2.2/32")})
	listening(t, 4784, 1)
	st.send(t, "192.0.2.1", 64, down().Append(nil))
	if h := st.hear(t); h.packet.State != bfd.Init || h.packet.YourDiscriminator != down().MyDiscriminator || h.ttl != 255 || h.fromPort < firstPort {
		t.Errorf("answers %+v", h)
	}
	guestsAre(t, s, time.Second, 0, 1)
	guestsAre(t, s, 20*time.Second, 0, 0) // 3 s of detection time, 10 s of being Down
	s.mu.Lock()
	left := len(s.byPeer) + len(s.leaving) + len(s.timers)
	s.mu.Unlock()
	if left > 0 {
		t.Errorf("%d things are left of it", left)
	}
	configure(t, s, bfd.Config{})
	listening(t, 4784, 0)
}

func listening(t testing.TB, port, want int) {
	t.Helper()
	nettest.Eventually(t, time.Second, func() error {
		out := nettest.Run(t, "ss", "-Hulnp", "sport", "=", fmt.Sprint(port))
		if strings.Count(out, "\n") != want {
			return fmt.Errorf("want %d sockets to listen:\n%s", want, out)
		}
		return nil
	})
}

func TestWhoMayNotBegin(t *testing.T) {
	ns, _ := simple(t)
	multi, single := newStation(t, ns, hop{multi: true}), newStation(t, ns, hop{})
	s := startSpeaker(t)
	configure(t, s, bfd.Config{Sessions: []bfd.SessionConfig{with("192.0.2.77")}, Passive: prefixes("192.0.2.3/32")})
	listening(t, 4784, 1)
	up, ended := down(), down()
	up.State, up.YourDiscriminator = bfd.Up, 5
	ended.State = bfd.AdminDown
	count := uint64(0)
	refused := func(what string, st *station, p bfd.Packet) {
		t.Helper()
		st.send(t, "192.0.2.1", 255, p.Append(nil))
		count++
		nettest.Eventually(t, time.Second, func() error {
			if got := s.Status(); got.Dropped[bfd.UnknownSession] != count || got.Passive.Total != 0 {
				return fmt.Errorf("%s: %+v", what, got)
			}
			return nil
		})
	}
	refused("a stranger", multi, down())
	configure(t, s, bfd.Config{Sessions: []bfd.SessionConfig{with("192.0.2.77")}, Passive: prefixes("192.0.2.0/24")})
	refused("single hop", single, down())
	refused("the middle of a session", multi, up)
	refused("the end of a session", multi, ended)
	multi.send(t, "192.0.2.1", 1, down().Append(nil))
	guestsAre(t, s, time.Second, 0, 1)
}

// A session that the peer has opened and that is then wanted goes on without either side noticing.
func TestConfiguredSessionTakesOver(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		for _, local := range []string{"", "192.0.2.1"} {
			t.Run("local "+local, func(t *testing.T) {
				ns, l := simple(t)
				l.multihop = true
				s := startSpeaker(t)
				passive := prefixes("192.0.2.0/24")
				configure(t, s, bfd.Config{Passive: passive})
				r := make(ns)
				r.start(t, l)
				awaitRouter(t, r, 10*time.Second, "up")
				guestsAre(t, s, 3*time.Second, 1, 1)
				begin := time.Now()

				wanted := with("192.0.2.2")
				wanted.Multihop = true
				if local != "" {
					wanted.Local = netip.MustParseAddr(local)
				}
				configure(t, s, bfd.Config{Sessions: []bfd.SessionConfig{wanted}, Passive: passive})
				steady(t, s, r, 2*time.Second)
				st := only(t, s)
				if !st.Since.Before(begin) || st.Failures != 0 || st.Key != wanted.Key {
					t.Errorf("%+v, want it to be up since before %v", st, begin)
				}
				if got := s.Status().Passive; got.Total != 0 {
					t.Errorf("passive too: %+v", got)
				}
				if st.TxInterval != 100*time.Millisecond || st.DetectionTime != 300*time.Millisecond {
					t.Errorf("timing %+v", st)
				}

				configure(t, s, bfd.Config{}) // not wanted any more, by nobody
				awaitRouter(t, r, time.Second, "down")
			})
		}
	})
}

func TestPathDown(t *testing.T) {
	ns, l := simple(t)
	l.multihop = true
	s := startSpeaker(t)
	r := &frr{ns: ns}
	r.start(t, l)
	heard := func(timeout time.Duration, want string) {
		t.Helper()
		nettest.Eventually(t, timeout, func() error {
			var peers []map[string]any
			if err := r.JSON("show bfd peers json", &peers); err != nil {
				return err
			}
			if len(peers) != 1 || peers[0]["status"] != "up" || peers[0]["remote-diagnostic"] != want {
				return fmt.Errorf("want up and %q: %v", want, peers)
			}
			return nil
		})
	}
	gateway, peer := with("192.0.2.2"), with("192.0.2.2")
	gateway.Multihop, peer.Multihop, gateway.Gateway = true, true, true
	passive := prefixes("192.0.2.0/24")
	for _, c := range []bfd.Config{{Passive: passive}, {Sessions: []bfd.SessionConfig{gateway}}} {
		configure(t, s, c)
		heard(10*time.Second, "ok")
		for range 3 {
			c.PathDown = true
			configure(t, s, c)
			heard(time.Second, "concatenated path down")
			c.PathDown = false
			configure(t, s, c)
			heard(time.Second, "ok")
		}
		configure(t, s, bfd.Config{})
		awaitRouter(t, r, time.Second, "down")
		allHaveLeft(t, s)
		r.kill() // else it goes on to name the session that has ended by intent, against section 6.8.1
		c.PathDown = true
		configure(t, s, c) // from the beginning
		r.start(t, l)
		heard(10*time.Second, "concatenated path down")
		configure(t, s, bfd.Config{})
		awaitRouter(t, r, time.Second, "down")
	}
	configure(t, s, bfd.Config{Sessions: []bfd.SessionConfig{peer}, PathDown: true})
	heard(10*time.Second, "ok")
	time.Sleep(300 * time.Millisecond)
	heard(0, "ok") // it is none of a BGP peer's business
}

func TestPortOfAnotherDaemonForGuests(t *testing.T) {
	simple(t)
	other := &bird{ns: nettest.Self}
	other.start(t, link{router: "192.0.2.1", node: "192.0.2.7", multihop: true, tx: 100, rx: 100, mult: 3})
	listening(t, 4784, 2) // IPv4 and IPv6
	s := startSpeaker(t)
	configure(t, s, bfd.Config{Passive: prefixes("192.0.2.0/24")})
	nettest.Eventually(t, 3*time.Second, func() error {
		if got := s.Status().Passive.Problem; !strings.Contains(got, "does another BFD daemon run here?") {
			return fmt.Errorf("problem %q", got)
		}
		return nil
	})
	other.kill()
	nettest.Eventually(t, 3*time.Second, func() error {
		if got := s.Status().Passive.Problem; got != "" {
			return fmt.Errorf("problem %q", got)
		}
		return nil
	})
	listening(t, 4784, 1)
}

// More peers than can be held: the others are refused, those that are there stay. When they are not wanted any more, each
// hears of it, over a link that is slower than they are many.
func TestTooManyGuests(t *testing.T) {
	ns, _ := simple(t)
	ns.IP(t, "route add local 198.18.0.0/16 dev lo")
	nettest.Self.IP(t, "route add 198.18.0.0/16 via 192.0.2.2")
	st := newStation(t, ns, hop{multi: true})
	s := startSpeaker(t)
	configure(t, s, bfd.Config{Passive: prefixes("198.18.0.0/16")})
	listening(t, 4784, 1)
	const more = 100
	b, here := new(batch), endpoint{netip.MustParseAddr("192.0.2.1"), st.hop}
	packet := down()
	packet.DetectMult = 255 // none of them ends by itself while the test runs
	for first := 0; first < maxPassive+more; first += batchSize {
		n := min(batchSize, maxPassive+more-first)
		for i := range n {
			var from [4]byte
			binary.BigEndian.PutUint32(from[:], 198<<24|18<<16|uint32(first+i))
			b.put(i, here, netip.AddrFrom4(from), packet.Append(nil))
		}
		for done := 0; done < n; {
			sent, err := b.send(st.fd, done, n-done)
			if err != nil && err != unix.EAGAIN {
				t.Fatal(err)
			}
			done += sent
		}
		time.Sleep(time.Millisecond) // no more at a time than the sockets take
	}
	guestsAre(t, s, 3*time.Second, 0, maxPassive)
	nettest.Eventually(t, time.Second, func() error {
		if got := s.Status().Dropped[bfd.TooManySessions]; got != more {
			return fmt.Errorf("%d are refused, want %d", got, more)
		}
		return nil
	})
	nettest.Run(t, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "20mbit", "burst", "20k", "limit", "10m")
	// AdminDown is 0 in the first two bits of the second byte behind the UDP header.
	ns.Run(t, "nft", "table inet test { chain in { type filter hook input priority 0; udp dport 4784 @th,72,2 0 counter; }; }")
	configure(t, s, bfd.Config{})
	guestsAre(t, s, 3*time.Second, 0, 0)
	allHaveLeft(t, s)
	const farewells = 5
	nettest.Eventually(t, 3*time.Second, func() error {
		if want, out := fmt.Sprintf("packets %d ", farewells*maxPassive), ns.Run(t, "nft", "list table inet test"); !strings.Contains(out, want) {
			return fmt.Errorf("want %q: %s", want, out)
		}
		return nil
	})
}

func TestGuests(t *testing.T) {
	var list []netip.Prefix
	for i := range 20_000 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32))
	}
	g := newGuests(slices.Concat(list, prefixes("192.0.2.0/24", "2001:db8::/64", "2001:db8:1::7/128")))
	for address, want := range map[string]bool{
		"10.0.0.1": true, "10.78.31.1": true, "10.78.31.2": false, "10.79.0.1": false,
		"192.0.2.77": true, "192.0.3.1": false,
		"2001:db8::99": true, "2001:db8:1::7": true, "2001:db8:1::8": false, "fe80::1": false,
	} {
		if got := g.allow(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if newGuests(prefixes("fe80::/10")).allow(netip.MustParseAddr("fe80::1")) {
		t.Error("a link-local address may begin")
	}
}

func BenchmarkGuests(b *testing.B) {
	var list []netip.Prefix
	for i := range 20_000 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32))
	}
	g := newGuests(list)
	stranger := netip.MustParseAddr("10.200.1.1")
	for b.Loop() {
		g.allow(stranger)
	}
}
