package conntrack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const mask = 0x3ff00000

// The gateway is the test's own namespace; it leaves with egress addresses toward an outside host.
const (
	egress4, egress6   = "198.51.100.240", "2001:db8:e::240"
	outside4, outside6 = "192.0.2.2", "2001:db8::2"
)

// gateway makes a network in which connections get the marks that a test's rules say, and the egress addresses as source.
func gateway(t testing.TB, marks string) nettest.NS {
	t.Helper()
	outside := nettest.New(t, "outside")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, outside, "eth0", []string{outside4 + "/24", outside6 + "/64"})
	outside.IP(t, "route add "+egress4+"/32 via 192.0.2.1")
	outside.IP(t, "route add "+egress6+"/128 via 2001:db8::1")
	nettest.Run(t, "nft", `table inet test {
		chain out {
			type filter hook output priority mangle
			`+marks+`
		}
		chain post {
			type nat hook postrouting priority srcnat
			udp dport != 9 ip daddr `+outside4+` snat ip to `+egress4+`
			udp dport != 9 ip6 daddr `+outside6+` snat ip6 to `+egress6+`
			tcp dport != 9 ip daddr `+outside4+` snat ip to `+egress4+`
			tcp dport != 9 ip6 daddr `+outside6+` snat ip6 to `+egress6+`
		}
	}`)
	t.Cleanup(func() {
		nettest.Run(t, "nft", "delete table inet test")
		nettest.Run(t, "conntrack", "-F")
	})
	nettest.Run(t, "conntrack", "-F")
	return outside
}

// serve accepts TCP connections in a namespace and holds them.
func serve(t *testing.T, ns nettest.NS, address string) {
	t.Helper()
	var l net.Listener
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
			l, err = net.Listen("tcp", address)
		}
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
}

// connect opens n connections.
func connect(t testing.TB, network, address string, n int) {
	t.Helper()
	for range n {
		var c net.Conn
		var err error
		// The neighbour may not be known yet.
		nettest.Eventually(t, 3*time.Second, func() error {
			c, err = net.DialTimeout(network, address, time.Second)
			return err
		})
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
}

// marks are those of all entries, as conntrack(8) tells them.
func marks(t testing.TB) map[string]int {
	t.Helper()
	found := map[string]int{}
	for line := range strings.Lines(nettest.Run(t, "conntrack", "-L", "-f", "ipv4") + nettest.Run(t, "conntrack", "-L", "-f", "ipv6")) {
		if _, mark, ok := strings.Cut(line, "mark="); ok {
			found[strings.Fields(mark)[0]]++
		}
	}
	return found
}

func TestForget(t *testing.T) {
	outside := gateway(t, `
		th dport 1001 ct mark set 0x00100000
		th dport 1002 ct mark set 0x00200000
		th dport 1003 ct mark set 0x0010c00f
		th dport 1004 ct mark set 0x40100000
		th dport 1005 ct mark set 0x00300000
	`)
	for port := range 5 {
		serve(t, outside, fmt.Sprintf("%s:%d", outside4, 1001+port))
		connect(t, "tcp", fmt.Sprintf("%s:%d", outside4, 1001+port), 1)
		connect(t, "udp", fmt.Sprintf("%s:%d", outside4, 1001+port), 2)
		connect(t, "udp", fmt.Sprintf("[%s]:%d", outside6, 1001+port), 3)
	}
	connect(t, "udp", outside4+":1006", 4) // without a mark
	want := map[string]int{"1048576": 6, "2097152": 6, "1097743": 6, "1074790400": 6, "3145728": 6}
	check := func(when string) {
		t.Helper()
		got := marks(t)
		delete(got, "0") // neighbours and others
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	check("before")
	// Other bits than those of the mask do not count.
	n, err := Forget(t.Context(), 0x00100000, mask)
	if n != 18 || err != nil {
		t.Errorf("forgotten: %d, %v; want 18", n, err)
	}
	delete(want, "1048576")
	delete(want, "1097743")
	delete(want, "1074790400")
	check("after")
	if got := marks(t)["0"]; got < 4 {
		t.Errorf("%d connections without a mark, want those that were there", got)
	}
	if n, err := Forget(t.Context(), 0x3ff00000, mask); n != 0 || err != nil {
		t.Errorf("a mark that nobody has: %d, %v", n, err)
	}
	for _, mark := range []uint32{0, 0x4000} {
		if _, err := Forget(t.Context(), mark, mask); err == nil {
			t.Errorf("mark %#x: forgotten", mark)
		}
	}
	check("in the end")
}

func TestForgetSources(t *testing.T) {
	outside := gateway(t, "th dport 1001 ct mark set 0x00100000")
	serve(t, outside, outside4+":1001")
	for _, address := range []string{"192.0.2.3/24", "192.0.2.4/24", "2001:db8::3/64"} {
		nettest.Run(t, "ip", "addr", "add", address, "dev", "eth0")
	}
	open := func(network, from, to string) {
		t.Helper()
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))}
		if network == "udp" {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))
		}
		var c net.Conn
		nettest.Eventually(t, 3*time.Second, func() (err error) {
			c, err = dialer.Dial(network, to)
			return err
		})
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{"192.0.2.3:0", "192.0.2.4:0"} {
		open("tcp", from, outside4+":1001")
		open("udp", from, outside4+":1001")
		open("udp", from, outside4+":1002")
	}
	open("udp", "[2001:db8::3]:0", "["+outside6+"]:1001")
	left := func(from string) int {
		return strings.Count(nettest.Run(t, "conntrack", "-L", "-f", "ipv4")+nettest.Run(t, "conntrack", "-L", "-f", "ipv6"), " src="+from+" ")
	}
	if left("192.0.2.3") != 3 || left("2001:db8::3") != 1 {
		t.Fatalf("there are %d and %d connections, want 3 and 1", left("192.0.2.3"), left("2001:db8::3"))
	}
	gone := []netip.Addr{netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("2001:db8::3"), netip.MustParseAddr("192.0.2.5")}
	for _, want := range []int{4, 0} {
		if n, err := ForgetSources(t.Context(), gone); n != want || err != nil {
			t.Errorf("forgotten: %d, %v; want %d", n, err, want)
		}
	}
	if left("192.0.2.3") != 0 || left("2001:db8::3") != 0 || left("192.0.2.4") != 3 {
		t.Errorf("left: %d, %d and %d, want 0, 0 and 3", left("192.0.2.3"), left("2001:db8::3"), left("192.0.2.4"))
	}
}

// What is forgotten is decided anew: a later packet of a UDP flow gets the source of now.
func TestForgottenConnectionIsDecidedAnew(t *testing.T) {
	gateway(t, "udp dport 1001 ct mark set 0x00100000")
	c, err := net.ListenPacket("udp4", ":0") // not connected: it does not mind that nobody listens there
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	source := func() string {
		t.Helper()
		if _, err := c.WriteTo([]byte("hello"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(outside4+":1001"))); err != nil {
			t.Fatal(err)
		}
		_, reply, _ := strings.Cut(nettest.Run(t, "conntrack", "-L", "-p", "udp", "--dport", "1001"), "src="+outside4+" dst=")
		return strings.Fields(reply + " ?")[0]
	}
	if got := source(); got != egress4 {
		t.Fatalf("leaves with %s", got)
	}
	nettest.Run(t, "nft", "flush chain inet test post")
	if got := source(); got != egress4 {
		t.Fatalf("leaves with %s although nobody has forgotten it", got)
	}
	if _, err := Forget(t.Context(), 0x00100000, mask); err != nil {
		t.Fatal(err)
	}
	if got := source(); got != "192.0.2.1" {
		t.Errorf("leaves with %s, want the node's", got)
	}
}

func TestUsage(t *testing.T) {
	outside := gateway(t, "")
	serve(t, outside, outside4+":80")
	serve(t, outside, "["+outside6+"]:80")
	connect(t, "tcp", outside4+":80", 5)
	connect(t, "udp", outside4+":80", 2)
	connect(t, "udp", outside4+":53", 7)
	connect(t, "udp", outside4+":9", 20) // leaves with the node's address
	connect(t, "tcp", "["+outside6+"]:80", 3)
	unused := netip.MustParseAddr("198.51.100.241")
	got, err := Usage(t.Context(), []netip.Addr{netip.MustParseAddr(egress6), netip.MustParseAddr(egress4), unused})
	if err != nil {
		t.Fatal(err)
	}
	use := func(protocol uint8, destination string, n int) nat.DestinationUse {
		return nat.DestinationUse{Protocol: protocol, Destination: netip.MustParseAddrPort(destination), Connections: n}
	}
	want := []nat.PortUse{
		{Address: netip.MustParseAddr(egress6), Connections: 3, Busiest: []nat.DestinationUse{use(6, "["+outside6+"]:80", 3)}},
		{Address: netip.MustParseAddr(egress4), Connections: 14, Busiest: []nat.DestinationUse{
			use(17, outside4+":53", 7), use(6, outside4+":80", 5), use(17, outside4+":80", 2),
		}},
		{Address: unused},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// fill makes n entries of connections that leave with the egress address, every tenth of them with a mark. They go to as
// many destinations, but for one in four.
func fill(t testing.TB, n int) {
	t.Helper()
	nettest.Run(t, "sysctl", "-q", "-w", "net.netfilter.nf_conntrack_max=300000")
	var list strings.Builder
	for i := range n {
		mark, destination := 0x200000, fmt.Sprintf("203.0.%d.%d", i>>8&0x3f, i&0xff)
		if i%10 == 0 {
			mark = 0x100000
		}
		if i%4 == 0 {
			destination = outside4
		}
		fmt.Fprintf(&list, "-I -p udp -s 10.244.%d.%d -d %s --sport %d --dport 53 -n %s:%d -t 600 -u SEEN_REPLY -m %d\n",
			i>>16, i>>8&0xff, destination, 1024+i%256, egress4, 1024+i/4, mark)
	}
	path := filepath.Join(t.TempDir(), "entries")
	if err := os.WriteFile(path, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	nettest.Run(t, "conntrack", "-F")
	nettest.Run(t, "conntrack", "-R", path)
	t.Cleanup(func() { nettest.Run(t, "conntrack", "-F") })
}

func TestAmongMany(t *testing.T) {
	const n = 100_000
	fill(t, n)
	use, err := Usage(t.Context(), []netip.Addr{netip.MustParseAddr(egress4)})
	if err != nil || len(use[0].Busiest) == 0 {
		t.Fatal(use, err)
	}
	top := use[0].Busiest[0]
	if got := use[0].Connections; got != n {
		t.Errorf("%d connections leave with the address, want %d", got, n)
	}
	if to := top.Destination.String(); to != outside4+":53" || top.Connections > n/4 || top.Connections < n/4-n/candidates {
		t.Errorf("most go to %s: %d, want %d or a few less", to, top.Connections, n/4)
	}
	if got, err := Forget(t.Context(), 0x100000, mask); got != n/10 || err != nil {
		t.Errorf("forgotten: %d, %v; want %d", got, err, n/10)
	}
	if got := strings.TrimSpace(nettest.Run(t, "conntrack", "-C")); got != fmt.Sprint(n-n/10) {
		t.Errorf("%s connections are left, want %d", got, n-n/10)
	}
}

func TestManyDestinations(t *testing.T) {
	counts := tally{}
	var total int
	heavy := key{address: netip.MustParseAddr(egress4), protocol: 6}
	for i := range 300000 {
		k := heavy
		if i%8 != 0 {
			k.destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 53)
		}
		counts.add(k)
		if total++; len(counts) > candidates {
			t.Fatalf("%d destinations are counted at a time", len(counts))
		}
	}
	top := counts.busiest(heavy.address)
	if len(top) != busiest || top[0].Destination != heavy.destination {
		t.Fatalf("busiest: %+v", top)
	}
	if got, want := top[0].Connections, total/8; got > want || got < want-total/(candidates+1) {
		t.Errorf("%d connections, want %d or up to %d less", got, want, total/(candidates+1))
	}
}

func TestEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, errForget := Forget(ctx, 0x100000, mask)
	_, errSources := ForgetSources(ctx, nil)
	_, errUsage := Usage(ctx, nil)
	if errForget == nil || errSources == nil || errUsage == nil {
		t.Errorf("after the end: %v, %v, %v", errForget, errSources, errUsage)
	}
}

func BenchmarkForget(b *testing.B) {
	var took []time.Duration
	for range b.N {
		b.StopTimer()
		fill(b, 100_000)
		b.StartTimer()
		begin := time.Now()
		if n, err := Forget(b.Context(), 0x100000, mask); n == 0 || err != nil {
			b.Fatal(n, err)
		}
		took = append(took, time.Since(begin))
	}
	b.ReportMetric(float64(slices.Max(took).Milliseconds()), "ms-most")
}

func BenchmarkForgetSources(b *testing.B) {
	fill(b, 100_000)
	for b.Loop() {
		if n, err := ForgetSources(b.Context(), []netip.Addr{netip.MustParseAddr("10.99.0.1")}); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkUsage(b *testing.B) {
	fill(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		got, err := Usage(b.Context(), []netip.Addr{netip.MustParseAddr(egress4)})
		if err != nil || got[0].Connections == 0 {
			b.Fatal(got, err)
		}
	}
}
