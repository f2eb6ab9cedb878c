package udp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// link is a session seen from a router: it is the other way round than a bfd.SessionConfig.
type link struct {
	dev, router, node string // the router's device and address, and ours
	multihop          bool
	tx, rx            int // ms
	mult              int
}

// router is another implementation of BFD.
type router interface {
	// state of its only session: "up", "down" and so on.
	state() (string, error)
	// configure changes the timing of the session.
	configure(t *testing.T, l link)
	// kill ends the daemon as a crash does.
	kill()
	// start starts it again.
	start(t *testing.T, l link)
}

// routers are the implementations that each test of interoperation runs against.
func routers(t *testing.T, check func(t *testing.T, make func(ns nettest.NS) router)) {
	t.Run("FRR", func(t *testing.T) { check(t, func(ns nettest.NS) router { return &frr{ns: ns} }) })
	t.Run("BIRD", func(t *testing.T) { check(t, func(ns nettest.NS) router { return &bird{ns: ns} }) })
}

type frr struct {
	ns nettest.NS
	*nettest.FRR
}

func (f *frr) start(t *testing.T, l link) {
	f.FRR = nettest.StartFRR(t, f.ns, true, f.config(l))
}

func (f *frr) configure(t *testing.T, l link) { f.Configure(t, f.config(l)) }

func (f *frr) kill() {
	f.BFD.Kill()
	f.Zebra.Kill()
	f.BGP.Kill()
}

func (f *frr) config(l link) string {
	var b strings.Builder
	how := "interface " + l.dev
	if l.multihop {
		how = "multihop"
	}
	if l.multihop || strings.Contains(l.router, ":") {
		how += " local-address " + l.router
	}
	fmt.Fprintf(&b, "bfd\n peer %s %s\n", l.node, how)
	fmt.Fprintf(&b, "  transmit-interval %d\n  receive-interval %d\n  detect-multiplier %d\n", l.tx, l.rx, l.mult)
	fmt.Fprintf(&b, "  no shutdown\n exit\nexit\n")
	return b.String()
}

func (f *frr) state() (string, error) {
	var peers []struct{ Status string }
	if err := f.JSON("show bfd peers json", &peers); err != nil {
		return "", err
	}
	if len(peers) != 1 {
		return "", fmt.Errorf("%d peers", len(peers))
	}
	return peers[0].Status, nil
}

type bird struct {
	ns nettest.NS
	*nettest.BIRD
}

func (b *bird) start(t *testing.T, l link) { b.BIRD = nettest.StartBIRD(t, b.ns, b.config(l)) }

func (b *bird) configure(t *testing.T, l link) { b.Configure(t, b.config(l)) }

func (b *bird) kill() { b.Kill() }

func (b *bird) config(l link) string {
	timing := fmt.Sprintf("{ min tx interval %d ms; min rx interval %d ms; multiplier %d; }", l.tx, l.rx, l.mult)
	how := fmt.Sprintf(`dev "%s"`, l.dev)
	if l.multihop {
		how = "local " + l.router + " multihop on"
	}
	return fmt.Sprintf("protocol device {}\nprotocol bfd {\n interface \"*\" %s;\n multihop %s;\n neighbor %s %s;\n}\n",
		timing, timing, l.node, how)
}

func (b *bird) state() (string, error) {
	out, err := b.Birdc("show bfd sessions")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:])
	if len(fields) < 3 {
		return "", fmt.Errorf("no session: %s", out)
	}
	return strings.ToLower(fields[2]), nil
}

// startSpeaker runs a Speaker until the test ends.
func startSpeaker(t testing.TB) *Speaker {
	t.Helper()
	s := New(testLog(t))
	runSpeaker(t, s)
	return s
}

func timing(interval time.Duration) bfd.Timing {
	return bfd.Timing{DesiredMinTx: interval, RequiredMinRx: interval, DetectMult: 3}
}

func with(peer string) bfd.SessionConfig {
	return bfd.SessionConfig{Key: bfd.Key{Peer: netip.MustParseAddr(peer)}, Timing: timing(100 * time.Millisecond)}
}

func set(t testing.TB, s *Speaker, want ...bfd.SessionConfig) {
	t.Helper()
	if err := s.Set(bfd.Config{Sessions: want}); err != nil {
		t.Fatal(err)
	}
}

func only(t testing.TB, s *Speaker) bfd.Status {
	t.Helper()
	all := s.Status().Sessions
	if len(all) != 1 {
		t.Fatalf("%d sessions, want 1: %+v", len(all), all)
	}
	return all[0]
}

func await(t testing.TB, s *Speaker, timeout time.Duration, what string, ok func(bfd.Status) bool) bfd.Status {
	t.Helper()
	var st bfd.Status
	nettest.Eventually(t, timeout, func() error {
		if st = only(t, s); !ok(st) {
			return fmt.Errorf("session is not %s: %+v", what, st)
		}
		return nil
	})
	return st
}

func isUp(st bfd.Status) bool   { return st.State == bfd.Up && st.RemoteState == bfd.Up }
func isDown(st bfd.Status) bool { return st.State == bfd.Down }

func awaitRouter(t testing.TB, r router, timeout time.Duration, want string) {
	t.Helper()
	nettest.Eventually(t, timeout, func() error {
		got, err := r.state()
		if err == nil && got != want {
			err = fmt.Errorf("router says %q, want %q", got, want)
		}
		return err
	})
}

// steady checks for a while that the session stays up without a failure.
func steady(t testing.TB, s *Speaker, r router, d time.Duration) {
	t.Helper()
	before := only(t, s)
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if st := only(t, s); st.State != bfd.Up || !st.Since.Equal(before.Since) || st.Failures != before.Failures {
			t.Fatalf("flapped: %+v", st)
		}
	}
	if got, err := r.state(); err != nil || got != "up" {
		t.Errorf("router says %q, %v", got, err)
	}
}

// simple is a veth pair to a router, and the router's side of a session over it.
func simple(t *testing.T) (nettest.NS, link) {
	ns := nettest.New(t, "router")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, ns, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	return ns, link{dev: "eth0", router: "192.0.2.2", node: "192.0.2.1", tx: 100, rx: 100, mult: 3}
}

func linkLocal(t *testing.T, ns nettest.NS) string {
	t.Helper()
	for _, field := range strings.Fields(ns.IP(t, "-6 -o addr show dev eth0 scope link")) {
		if addr, ok := strings.CutSuffix(field, "/64"); ok {
			return addr
		}
	}
	t.Fatal("no link-local address")
	return ""
}
