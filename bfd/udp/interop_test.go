package udp

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func runSpeaker(t testing.TB, s *Speaker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestUpAndCut(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		ns, l := simple(t)
		r := make(ns)
		r.start(t, l)
		s := startSpeaker(t)
		set(t, s, with("192.0.2.2"))
		await(t, s, 10*time.Second, "up", isUp)
		awaitRouter(t, r, time.Second, "up")
		up := await(t, s, 5*time.Second, "fast", func(st bfd.Status) bool { return st.DetectionTime == 300*time.Millisecond })
		if up.TxInterval != 100*time.Millisecond {
			t.Errorf("interval %v, want 100 ms", up.TxInterval)
		}
		steady(t, s, r, time.Second)

		ns.IP(t, "link set eth0 down")
		cut := time.Now()
		down := await(t, s, 3*time.Second, "down", isDown)
		took := down.Since.Sub(cut)
		t.Logf("cut link noticed after %v", took)
		if took > 400*time.Millisecond {
			t.Errorf("cut link noticed after %v, want 3 x 100 ms", took)
		}
		if down.Failures != 1 || down.Diag != bfd.DiagTimeExpired {
			t.Errorf("after the cut: %+v", down)
		}
		ns.IP(t, "link set eth0 up")
		await(t, s, 10*time.Second, "up again", isUp)
	})
}

func TestAdminDownByUs(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		ns, l := simple(t)
		r := make(ns)
		l.mult = 50 // the router must hear it, not time out
		r.start(t, l)
		s := New(testLog(t))
		stop := runSpeaker(t, s)
		slow := with("192.0.2.2")
		slow.DetectMult = 50
		set(t, s, slow)
		await(t, s, 10*time.Second, "up", isUp)
		awaitRouter(t, r, time.Second, "up")

		set(t, s) // removed
		awaitRouter(t, r, time.Second, "down")
		set(t, s, slow)
		await(t, s, 10*time.Second, "up again", isUp)
		awaitRouter(t, r, time.Second, "up")

		begin := time.Now()
		stop()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the stop took %v", took)
		}
		awaitRouter(t, r, time.Second, "down")
	})
}

func TestAdminDownByThePeer(t *testing.T) {
	ns, l := simple(t)
	r := &frr{ns: ns}
	r.start(t, l)
	s := startSpeaker(t)
	set(t, s, with("192.0.2.2"))
	await(t, s, 10*time.Second, "up", isUp)

	r.Configure(t, "bfd\n peer 192.0.2.1 interface eth0\n  shutdown\n")
	down := await(t, s, 3*time.Second, "down", isDown)
	if !down.AdminDownByPeer() || down.Failures != 0 || down.Diag != bfd.DiagNeighborDown {
		t.Errorf("after a shutdown by the peer: %+v", down)
	}
	r.Configure(t, "bfd\n peer 192.0.2.1 interface eth0\n  no shutdown\n")
	if up := await(t, s, 10*time.Second, "up again", isUp); up.AdminDownByPeer() {
		t.Errorf("up again: %+v", up)
	}
}

func TestIntervalsChangeWithoutAFlap(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		ns, l := simple(t)
		r := make(ns)
		r.start(t, l)
		s := startSpeaker(t)
		set(t, s, with("192.0.2.2"))
		await(t, s, 10*time.Second, "up", isUp)
		awaitRouter(t, r, time.Second, "up")

		for _, interval := range []time.Duration{400 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
			c := with("192.0.2.2")
			c.Timing = timing(interval)
			set(t, s, c)
			steady(t, s, r, time.Second)
			want := max(interval, 100*time.Millisecond)
			if st := only(t, s); st.TxInterval != want || st.DetectionTime != 3*want {
				t.Errorf("we change to %v: %+v", interval, st)
			}
		}
		for _, ms := range []int{400, 60, 100} {
			l.tx, l.rx = ms, ms
			r.configure(t, l)
			steady(t, s, r, time.Second)
			want := max(time.Duration(ms)*time.Millisecond, 100*time.Millisecond)
			if st := only(t, s); st.TxInterval != want || st.DetectionTime != 3*want {
				t.Errorf("router changes to %d ms: %+v", ms, st)
			}
		}
	})
}

func TestAsymmetricIntervals(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		ns, l := simple(t)
		l.tx, l.rx, l.mult = 100, 500, 4
		r := make(ns)
		r.start(t, l)
		s := startSpeaker(t)
		c := with("192.0.2.2")
		c.Timing = bfd.Timing{DesiredMinTx: 50 * time.Millisecond, RequiredMinRx: 200 * time.Millisecond, DetectMult: 5}
		set(t, s, c)
		await(t, s, 10*time.Second, "up", isUp)
		await(t, s, 5*time.Second, "at 500 ms out, 4 x 200 ms in", func(st bfd.Status) bool {
			return st.TxInterval == 500*time.Millisecond && st.DetectionTime == 800*time.Millisecond
		})
		steady(t, s, r, time.Second)
		before := only(t, s)
		begin := time.Now()
		steady(t, s, r, 4*time.Second)
		st, took := only(t, s), time.Since(begin).Seconds()
		out, in := float64(st.PacketsOut-before.PacketsOut)/took, float64(st.PacketsIn-before.PacketsIn)/took
		t.Logf("%.1f packets/s out, %.1f in", out, in)
		if out < 1.6 || out > 3.2 || in < 4.5 || in > 7.2 { // 2 to 2.67 and 5 to 6.67, with room for the edges
			t.Errorf("%.1f packets/s out, %.1f in", out, in)
		}
	})
}

func TestPeerRestart(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		ns, l := simple(t)
		r := make(ns)
		r.start(t, l)
		s := startSpeaker(t)
		set(t, s, with("192.0.2.2"))
		first := await(t, s, 10*time.Second, "up and fast", func(st bfd.Status) bool {
			return isUp(st) && st.DetectionTime == 300*time.Millisecond
		})

		r.kill()
		killed := time.Now()
		down := await(t, s, 3*time.Second, "down", isDown)
		took := down.Since.Sub(killed)
		t.Logf("kill -9 of the router's daemon noticed after %v", took)
		if took > 400*time.Millisecond {
			t.Errorf("noticed after %v", took)
		}
		r.start(t, l)
		again := await(t, s, 10*time.Second, "up again", isUp)
		if again.RemoteDiscr == first.RemoteDiscr || again.Failures != 1 {
			t.Errorf("after the restart: %+v, before %+v", again, first)
		}
		awaitRouter(t, r, time.Second, "up")
	})
}

func TestMultihop(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		middle, far := nettest.New(t, "middle"), nettest.New(t, "far")
		nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24"}, middle, "eth0", []string{"192.0.2.2/24"})
		nettest.Join(t, middle, "eth1", []string{"198.51.100.1/24"}, far, "eth0", []string{"198.51.100.2/24"})
		nettest.Self.IP(t, "route add 198.51.100.0/24 via 192.0.2.2")
		far.IP(t, "route add 192.0.2.0/24 via 198.51.100.1")
		r := make(far)
		r.start(t, link{router: "198.51.100.2", node: "192.0.2.1", multihop: true, tx: 100, rx: 100, mult: 3})
		s := startSpeaker(t)
		c := with("198.51.100.2")
		c.Local = netip.MustParseAddr("192.0.2.1")
		c.Multihop, c.MinTTL = true, 254
		if _, ok := r.(*bird); ok {
			c.MinTTL = 63 // BIRD 2.0 sends multihop packets with 64
		}
		set(t, s, c)
		await(t, s, 10*time.Second, "up", isUp)
		awaitRouter(t, r, time.Second, "up")

		c.MinTTL = 255 // it is one hop away: nothing comes through any more
		set(t, s, c)
		down := await(t, s, 3*time.Second, "down", isDown)
		if down.Dropped[bfd.LowTTL] == 0 {
			t.Errorf("no packet was counted as dropped: %+v", down)
		}
		c.MinTTL = 0
		set(t, s, c)
		await(t, s, 10*time.Second, "up again", isUp)
		middle.IP(t, "link set eth1 down")
		await(t, s, 3*time.Second, "down", isDown)
	})
}

func TestIPv6(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		ns, l := simple(t)
		r := make(ns)
		l.router, l.node = "2001:db8::2", "2001:db8::1"
		r.start(t, l)
		s := startSpeaker(t)
		set(t, s, with("2001:db8::2"))
		await(t, s, 10*time.Second, "up", isUp)
		awaitRouter(t, r, time.Second, "up")
		steady(t, s, r, time.Second)
	})
}

func TestLinkLocal(t *testing.T) {
	routers(t, func(t *testing.T, make func(nettest.NS) router) {
		ns, l := simple(t)
		r := make(ns)
		l.router, l.node = linkLocal(t, ns), linkLocal(t, nettest.Self)
		r.start(t, l)
		s := startSpeaker(t)
		c := with(l.router)
		c.Interface = "eth0"
		set(t, s, c)
		await(t, s, 10*time.Second, "up", isUp)
		awaitRouter(t, r, time.Second, "up")
		steady(t, s, r, time.Second)
	})
}
