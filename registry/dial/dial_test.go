package dial

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/registry"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// TestWhyNot: behind a router that answers in every way there is.
func TestWhyNot(t *testing.T) {
	router := nettest.New(t, "router")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, router, "eth0", []string{"192.0.2.254/24", "2001:db8::fe/64"})
	nettest.Run(t, "ip", "route", "add", "default", "via", "192.0.2.254")
	nettest.Run(t, "ip", "-6", "route", "add", "default", "via", "2001:db8::fe")
	for _, line := range []string{
		"addr add 10.0.1.1/32 dev lo", "route add prohibit 10.0.2.0/24", "route add unreachable 10.0.3.0/24", "route add blackhole 10.0.4.0/24",
		"addr add fd00:1::1/128 dev lo", "route add prohibit fd00:2::/64", "route add unreachable fd00:3::/64", "route add blackhole fd00:4::/64",
	} {
		router.IP(t, line)
	}
	router.Run(t, "nft", `table inet filter { chain input { type filter hook input priority 0; tcp dport 7 reject; tcp dport 8 reject with icmpx admin-prohibited; tcp dport 9 drop; }; }`)
	nettest.Run(t, "ip", "route", "add", "prohibit", "10.0.5.0/24")
	nettest.Run(t, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
	router.Run(t, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000", "net.ipv4.icmp_msgs_burst=1000")
	listener, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, tt := range []struct {
		host string
		port uint16
		want string // without a listener
		more string // with one
	}{
		{"10.0.1.1", 1, "Refused", "Refused"},
		{"10.0.1.1", 7, "Refused", "Prohibited by 10.0.1.1"},
		{"10.0.1.1", 8, "NoRoute", "Prohibited by 10.0.1.1"},
		{"10.0.1.1", 9, "NoAnswer", "NoAnswer"},
		{"10.0.2.1", 1, "NoRoute", "Prohibited by 192.0.2.254"},
		{"10.0.3.1", 1, "NoAnswer", "NoRoute by 192.0.2.254"}, // the kernel hopes that it passes,
		{"10.0.4.1", 1, "NoAnswer", "NoAnswer"},
		{"10.0.5.1", 1, "Prohibited", "Prohibited"},
		{"192.0.2.77", 1, "NoAnswer", "NoAnswer"}, // the kernel asks for the neighbour for longer than we wait
		{"fd00:1::1", 1, "Refused", "Refused"},
		{"fd00:1::1", 8, "NoAnswer", "Prohibited by fd00:1::1"},
		{"fd00:2::1", 1, "NoAnswer", "Prohibited by 2001:db8::fe"},
		{"fd00:3::1", 1, "NoAnswer", "NoRoute by 2001:db8::fe"},
		{"nowhere.invalid", 1, "Unresolved", "Unresolved"},
	} {
		for _, with := range []struct {
			listener *Listener
			want     string
		}{{nil, tt.want}, {listener, tt.more}} {
			d := Dialer{Connect: (&net.Dialer{}).DialContext, Listener: with.listener}
			a := registry.Probe(t.Context(), d, registry.Target{Host: tt.host, Port: tt.port}, 500*time.Millisecond)
			got := string(a.Reach)
			if a.From.IsValid() {
				got += " by " + a.From.String()
			}
			if got != with.want {
				t.Errorf("%s port %d: got %s (%s), want %s", tt.host, tt.port, got, a.Detail, with.want)
			}
		}
	}
}

// TestTrace: a route that ends at the second router, and a filter in it.
func TestTrace(t *testing.T) {
	first, second := nettest.New(t, "first"), nettest.New(t, "second")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, first, "eth0", []string{"192.0.2.254/24", "2001:db8::fe/64"})
	nettest.Join(t, first, "eth1", []string{"198.51.100.1/24", "2001:db8:1::1/64"}, second, "eth0", []string{"198.51.100.2/24", "2001:db8:1::2/64"})
	nettest.Run(t, "ip", "route", "add", "default", "via", "192.0.2.254")
	nettest.Run(t, "ip", "-6", "route", "add", "default", "via", "2001:db8::fe")
	for _, line := range []string{"route add 10.0.0.0/8 via 198.51.100.2", "-6 route add fd00::/8 via 2001:db8:1::2"} {
		first.IP(t, line)
	}
	for _, line := range []string{
		"route add 192.0.2.0/24 via 198.51.100.1", "-6 route add 2001:db8::/64 via 2001:db8:1::1",
		"route add blackhole 10.1.0.0/24", "link add pods type veth peer name pod", "link set pods up", "link set pod up",
		"route add 10.2.0.0/24 dev pods", "-6 route add fd00:2::/64 dev pods",
	} {
		second.IP(t, line)
	}
	second.Run(t, "nft", `table inet filter { chain forward { type filter hook forward priority 0; policy drop; }; }`)
	listener, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	survey := registry.Survey{Dialer: Dialer{Connect: (&net.Dialer{}).DialContext, Listener: listener}, Tracer: Tracer{listener}, Dials: 4, Timeout: 500 * time.Millisecond}
	var targets []registry.Target
	want := map[string]string{"10.1.0.1": "192.0.2.254", "10.2.0.1": "198.51.100.2", "fd00:2::1": "2001:db8:1::2"}
	for host := range want {
		targets = append(targets, registry.Target{Host: host, Port: 1})
	}
	for target, a := range survey.Run(t.Context(), targets) {
		if got := a.Last.String(); a.Reach != registry.NoAnswer || got != want[target.Host] {
			t.Errorf("%s: %s, comes to %s, want %s", target.Host, a.Reach, got, want[target.Host])
		}
	}
}

func TestConnected(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := Dialer{Connect: (&net.Dialer{}).DialContext}.Dial(t.Context(), "127.0.0.1", netip.MustParseAddrPort(l.Addr().String()).Port())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if left := nettest.Self.Run(t, "ss", "-Htn", "state", "time-wait"); strings.Contains(left, "127.0.0.1") {
		t.Errorf("left behind: %s", left)
	}
}

// TestNotForUs: what is no error about TCP says nothing.
func TestNotForUs(t *testing.T) {
	quote := func(kind, code, version, protocol byte) []byte {
		p := make([]byte, 8+20+8)
		p[0], p[1], p[8], p[8+9] = kind, code, version<<4|5, protocol
		return p
	}
	for name, p := range map[string][]byte{
		"echo": quote(8, 0, 4, tcp), "UDP": quote(3, 3, 4, 17), "fragmentation needed": quote(3, 4, 4, tcp), "another version": quote(3, 3, 6, tcp),
		"short": quote(3, 3, 4, tcp)[:20], "long header": func() []byte { p := quote(3, 3, 4, tcp); p[8] = 0x4f; return p }(), "nothing": nil,
	} {
		if about, m, ok := read4(p); ok {
			t.Errorf("%s: %v %v", name, about, m)
		}
	}
	if _, _, ok := read4(quote(3, 3, 4, tcp)); !ok {
		t.Error("a good one is not taken")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(make([]byte, 60))
	f.Fuzz(func(t *testing.T, p []byte) {
		if about, m, ok := read4(p); ok && (!about.Addr().Is4() || m.reach == "") {
			t.Error(about, m)
		}
		if about, m, ok := read6(p); ok && (!about.Addr().Is6() || m.reach == "") {
			t.Error(about, m)
		}
	})
}
