package udp

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// station is a socket on the BFD port in another namespace: a peer that says what the test wants.
type station struct {
	fd  int
	hop hop
}

func newStation(t *testing.T, ns nettest.NS, h hop) *station {
	t.Helper()
	var fd int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread stays in the other namespace and so has to end
		var where *os.File
		if where, err = os.Open("/run/netns/" + string(ns)); err != nil {
			return
		}
		defer where.Close()
		if err = unix.Setns(int(where.Fd()), unix.CLONE_NEWNET); err == nil {
			fd, err = h.socket()
		}
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := setOptions(fd, []option{{unix.SOL_IP, unix.IP_RECVTTL, 1}, {unix.SOL_IP, unix.IP_RECVTOS, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, h.sockaddr(netip.Addr{}, h.port(), 0)); err != nil {
		t.Fatal(err)
	}
	return &station{fd, h}
}

func source(sa syscall.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *syscall.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.Addr{}
}

func (st *station) send(t *testing.T, to string, ttl int, payload []byte) {
	t.Helper()
	if err := unix.SetsockoptInt(st.fd, unix.SOL_IP, unix.IP_TTL, ttl); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendto(st.fd, payload, 0, st.hop.sockaddr(netip.MustParseAddr(to), st.hop.port(), 0)); err != nil {
		t.Fatal(err)
	}
}

type heard struct {
	packet   bfd.Packet
	ttl      int
	from     netip.Addr
	fromPort int
}

// hear waits for the next packet.
func (st *station) hear(t *testing.T) heard {
	t.Helper()
	var buf, oob [256]byte
	var h heard
	nettest.Eventually(t, 3*time.Second, func() error {
		n, oobn, _, from, err := syscall.Recvmsg(st.fd, buf[:], oob[:], unix.MSG_DONTWAIT)
		if err != nil {
			return err
		}
		h.from, h.fromPort = source(from), from.(*syscall.SockaddrInet4).Port
		h.ttl = readMeta(oob[:oobn]).ttl
		h.packet, err = bfd.Parse(buf[:n])
		return err
	})
	return h
}

func down() bfd.Packet {
	return bfd.Packet{State: bfd.Down, DetectMult: 3, MyDiscriminator: 5, DesiredMinTx: time.Second, RequiredMinRx: time.Second}
}

func TestWhatGoesOut(t *testing.T) {
	ns, _ := simple(t)
	ns.IP(t, "addr add 192.0.2.3/24 dev eth0")
	nettest.Self.IP(t, "addr add 192.0.2.9/24 dev eth0")
	st := newStation(t, ns, hop{})
	s := startSpeaker(t)
	second := with("192.0.2.3")
	second.Local = netip.MustParseAddr("192.0.2.9")
	set(t, s, with("192.0.2.2"), second)
	ports, discriminators := map[netip.Addr]int{}, map[netip.Addr]uint32{}
	for range 6 {
		h := st.hear(t)
		if h.ttl != 255 {
			t.Errorf("TTL %d", h.ttl)
		}
		if !h.packet.ControlPlaneIndependent || h.packet.State != bfd.Down || h.packet.MyDiscriminator == 0 {
			t.Errorf("packet %+v", h.packet)
		}
		if h.fromPort < 49152 {
			t.Errorf("source port %d", h.fromPort)
		}
		if port, ok := ports[h.from]; ok && (port != h.fromPort || discriminators[h.from] != h.packet.MyDiscriminator) {
			t.Errorf("source port %d becomes %d, discriminator %d becomes %d", port, h.fromPort, discriminators[h.from], h.packet.MyDiscriminator)
		}
		ports[h.from], discriminators[h.from] = h.fromPort, h.packet.MyDiscriminator
	}
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	if len(ports) != 2 || ports[one] == ports[two] || discriminators[one] == discriminators[two] {
		t.Errorf("ports %v, discriminators %v: want two sources, all different", ports, discriminators)
	}
}

func TestWhatIsDiscarded(t *testing.T) {
	ns, _ := simple(t)
	ns.IP(t, "addr add 192.0.2.3/24 dev eth0")
	st := newStation(t, ns, hop{})
	s := startSpeaker(t)
	set(t, s, with("192.0.2.2"))
	auth := append(down().Append(nil), 1, 2)
	auth[1] |= 4
	auth[3] = 26
	foreign := down()
	foreign.YourDiscriminator = st.hear(t).packet.MyDiscriminator + 1
	for _, c := range []struct {
		name    string
		ttl     int
		payload []byte
		want    bfd.Reason
	}{
		{"one hop away", 254, down().Append(nil), bfd.LowTTL},
		{"authenticated", 255, auth, bfd.Authenticated},
		{"short", 255, []byte("hello"), bfd.Truncated},
		{"former discriminator", 255, foreign.Append(nil), bfd.UnknownDiscriminator},
	} {
		st.send(t, "192.0.2.1", c.ttl, c.payload)
		got := await(t, s, time.Second, "counting "+c.name, func(st bfd.Status) bool { return st.Dropped[c.want] == 1 })
		if got.State != bfd.Down || got.PacketsIn != 0 || got.RemoteDiscr != 0 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	st.send(t, "192.0.2.1", 255, down().Append(nil))
	await(t, s, time.Second, "in Init", func(st bfd.Status) bool { return st.State == bfd.Init && st.PacketsIn == 1 })

	// A right discriminator from a wrong address is nobody's.
	ns.IP(t, "route change 192.0.2.0/24 dev eth0 src 192.0.2.3")
	nettest.Eventually(t, 3*time.Second, func() error {
		st.send(t, "192.0.2.1", 255, down().Append(nil))
		if dropped := s.Status().Dropped; dropped[bfd.UnknownSession] == 0 {
			return fmt.Errorf("packet of a stranger is not counted: %v", dropped)
		}
		return nil
	})
}

func awaitProblem(t *testing.T, s *Speaker, want string) {
	t.Helper()
	await(t, s, 3*time.Second, "in trouble: "+want, func(st bfd.Status) bool {
		return strings.Contains(st.Problem, want) && (want != "" || st.Problem == "")
	})
}

func TestAddressThatComesLater(t *testing.T) {
	ns, l := simple(t)
	r := &bird{ns: ns}
	l.node = "192.0.2.9"
	r.start(t, l)
	s := startSpeaker(t)
	c := with("192.0.2.2")
	c.Local = netip.MustParseAddr("192.0.2.9")
	set(t, s, c)
	awaitProblem(t, s, "send to 192.0.2.2")
	nettest.Self.IP(t, "addr add 192.0.2.9/24 dev eth0")
	await(t, s, 10*time.Second, "up", isUp)
	awaitProblem(t, s, "")
}

func TestInterfaceThatComesAndGoes(t *testing.T) {
	c := with("192.0.2.2")
	c.Interface = "eth0"
	s := startSpeaker(t)
	set(t, s, c)
	awaitProblem(t, s, "interface eth0")
	for i := range 2 { // the second time the name has another index
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			ns, l := simple(t)
			r := &bird{ns: ns}
			r.start(t, l)
			await(t, s, 10*time.Second, "up", isUp)
			nettest.Self.IP(t, "link del eth0")
			await(t, s, 3*time.Second, "down", isDown)
			awaitProblem(t, s, "eth0")
		})
	}
}

func TestPortOfAnotherDaemon(t *testing.T) {
	ns, l := simple(t)
	r := &bird{ns: ns}
	r.start(t, l)
	other := &bird{ns: nettest.Self}
	other.start(t, link{dev: "eth0", router: "192.0.2.1", node: "192.0.2.7", tx: 100, rx: 100, mult: 3})
	s := startSpeaker(t)
	set(t, s, with("192.0.2.2"))
	awaitProblem(t, s, "does another BFD daemon run here?")
	other.kill()
	await(t, s, 10*time.Second, "up", isUp)
}

func TestPortsAreFreeWithoutSessions(t *testing.T) {
	simple(t)
	s := startSpeaker(t)
	set(t, s, with("192.0.2.2"), with("2001:db8::2"))
	listening(t, 3784, 2)
	set(t, s, with("192.0.2.2"))
	listening(t, 3784, 1)
	set(t, s)
	listening(t, 3784, 0)
}

func TestBadSetChangesNothing(t *testing.T) {
	s := New(testLog(t))
	good := with("192.0.2.2")
	set(t, s, good)
	before := only(t, s)
	for name, want := range map[string][]bfd.SessionConfig{
		"invalid": {good, {Key: bfd.Key{Peer: netip.MustParseAddr("192.0.2.3")}}},
		"twice":   {good, good},
	} {
		if err := s.Set(bfd.Config{Sessions: want}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if after := only(t, s); after.Discriminator != before.Discriminator {
			t.Errorf("%s: %+v becomes %+v", name, before, after)
		}
	}
}

func TestSetAfterTheEnd(t *testing.T) {
	s := New(testLog(t))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(bfd.Config{Sessions: []bfd.SessionConfig{with("192.0.2.2")}}); err == nil {
		t.Error("accepted")
	}
}
