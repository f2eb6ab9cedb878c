package tunnel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// The test binary is also another node, which applies once.
const asNode = "WAYMARK_TEST_TUNNELS" // route.Tunnels as JSON

func TestMain(m *testing.M) {
	if text := os.Getenv(asNode); text != "" {
		if err := applyAs(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	nettest.Main(m)
}

func applyAs(text string) error {
	var t route.Tunnels
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	k := New(os.Getenv(asNode+"_STATE"), sysctlNet)
	defer k.Close()
	_, err := k.Apply(context.Background(), t)
	return err
}

// lab has the node under test with a pod behind a router, and on a LAN of the router two gateways and a neighbour:
//
//	pod 10.244.1.5 - node 198.51.100.1 - router - LAN 192.0.2.0/24: g1 .11, g2 .12, peer .99
//
// IPv6 has the same: 2001:db8:244::5, 2001:db8:100::1 and 2001:db8:2::11, ::12, ::99. The peer is also what the pod talks to.
type lab struct {
	router, pod, peer nettest.NS
	gateways          map[string]nettest.NS // by both addresses
	kernel            *Kernel
	state             string // file
}

const (
	pod4, pod6       = "10.244.1.5", "2001:db8:244::5"
	node4, node6     = "198.51.100.1", "2001:db8:100::1"
	one4, one6       = "192.0.2.11", "2001:db8:2::11"
	two4, two6       = "192.0.2.12", "2001:db8:2::12"
	peer4, peer6     = "192.0.2.99", "2001:db8:2::99"
	egress4, egress6 = "192.0.2.240", "2001:db8:2::240"

	mask, shift = 0x3ff00000, 20
	vni         = 7001
	second      = time.Second
)

func newLab(t testing.TB, mtu int) *lab {
	t.Helper()
	l := &lab{
		router: nettest.New(t, "router"), pod: nettest.New(t, "pod"), peer: nettest.New(t, "peer"),
		gateways: map[string]nettest.NS{}, state: filepath.Join(t.TempDir(), "tunnel.json"),
	}
	nettest.Join(t, nettest.Self, "eth0", []string{node4 + "/24", node6 + "/64"}, l.router, "eth0", []string{"198.51.100.254/24", "2001:db8:100::fe/64"})
	nettest.Join(t, nettest.Self, "pod0", nil, l.pod, "eth0", []string{pod4 + "/32", pod6 + "/128"})
	l.router.IP(t, "link add lan type bridge")
	l.router.IP(t, "link set lan up")
	l.router.IP(t, "addr add 192.0.2.254/24 dev lan")
	l.router.IP(t, "addr add 2001:db8:2::fe/64 dev lan nodad")
	l.attach(t, "g1", one4, one6)
	l.attach(t, "g2", two4, two6)
	l.attach(t, "peer", peer4, peer6)
	for _, ns := range []nettest.NS{nettest.Self, l.router, l.gateways[one4], l.gateways[two4], l.peer} {
		for _, dev := range strings.Fields(ns.Run(t, "sh", "-c", "cd /sys/class/net; ls -d eth0 g1 g2 peer lan 2>/dev/null || true")) {
			ns.IP(t, fmt.Sprintf("link set %s mtu %d", dev, mtu))
		}
	}
	nettest.Self.IP(t, "link set pod0 mtu "+strconv.Itoa(mtu))
	l.pod.IP(t, "link set eth0 mtu "+strconv.Itoa(mtu))

	// The pod is reached by a route and answers for its gateway's address.
	l.pod.IP(t, "route add 169.254.1.1 dev eth0")
	l.pod.IP(t, "route add default via 169.254.1.1")
	l.pod.IP(t, "route add default via fe80::1 dev eth0")
	nettest.Self.IP(t, "addr add 169.254.1.1/32 dev pod0")
	nettest.Self.IP(t, "addr add fe80::1/64 dev pod0 nodad")
	nettest.Self.IP(t, "route add "+pod4+" dev pod0")
	nettest.Self.IP(t, "route add "+pod6+" dev pod0")
	for _, family := range [][3]string{{"198.51.100.254", node4, pod4}, {"2001:db8:100::fe", node6, pod6}} {
		nettest.Self.IP(t, "route add default via "+family[0])
		l.router.IP(t, "route add "+family[2]+" via "+family[1])
	}
	l.kernel = New(l.state, sysctlNet)
	t.Cleanup(func() {
		if _, err := l.kernel.Apply(context.Background(), route.Tunnels{}); err != nil {
			t.Error(err)
		}
		l.kernel.Close()
		for _, family := range []string{"-4", "-6"} {
			_, _ = nettest.Self.Try("ip", family, "route", "del", "default")
		}
		_, _ = nettest.Self.Try("nft", "flush", "ruleset")
	})
	return l
}

// attach puts a namespace on the LAN.
func (l *lab) attach(t testing.TB, name, ipv4, ipv6 string) {
	t.Helper()
	ns := l.peer
	if name != "peer" {
		ns = nettest.New(t, name)
		l.gateways[ipv4], l.gateways[ipv6] = ns, ns
	}
	nettest.Join(t, ns, "eth0", []string{ipv4 + "/24", ipv6 + "/64"}, l.router, name, nil)
	l.router.IP(t, "link set "+name+" master lan")
	ns.IP(t, "route add default via 192.0.2.254")
	ns.IP(t, "route add default via 2001:db8:2::fe")
}

func addresses(text ...string) []netip.Addr {
	var list []netip.Addr
	for _, a := range text {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

// source is what the pod's node has: a path for each gateway, with marks from 1.
func source(local string, gateways ...string) route.Tunnels {
	t := route.Tunnels{Local: addresses(local), Mask: mask, Shift: shift, Gateways: addresses(gateways...)}
	for i, g := range addresses(gateways...) {
		t.Paths = append(t.Paths, route.TunnelPath{Mark: uint16(i + 1), VNI: vni, Gateway: g})
	}
	return t
}

// exit is what a gateway has.
func exit(local string, exits ...route.TunnelExit) route.Tunnels {
	return route.Tunnels{Local: addresses(local), Mask: mask, Shift: shift, Gateways: addresses(one4, two4, one6, two6), Exits: exits}
}

func (l *lab) apply(t testing.TB, desired route.Tunnels) route.TunnelResult {
	t.Helper()
	result, err := l.kernel.Apply(t.Context(), desired)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// applyAt applies at a gateway, in a process of its own.
func (l *lab) applyAt(t testing.TB, gateway string, desired route.Tunnels) {
	t.Helper()
	l.applyIn(t, l.gateways[gateway], desired)
}

func (l *lab) applyIn(t testing.TB, ns nettest.NS, desired route.Tunnels) {
	t.Helper()
	text, err := json.Marshal(desired)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ns.Run(t, "env", asNode+"="+string(text), asNode+"_STATE="+l.state+"."+string(ns), self)
}

// mark gives what the pod sends to the peer a path.
func (l *lab) mark(t testing.TB, mark int) {
	t.Helper()
	_, _ = nettest.Self.Try("nft", "delete", "table", "inet", "test")
	nettest.Run(t, "nft", fmt.Sprintf(`table inet test { chain prerouting { type filter hook prerouting priority mangle;
		iifname pod0 ip daddr %s meta mark set %#x
		iifname pod0 ip6 daddr %s meta mark set %#x; }; }`, peer4, mark<<shift, peer6, mark<<shift))
}

// count has a gateway count what comes out of the tunnel with the pod's source.
func count(t testing.TB, ns nettest.NS) {
	t.Helper()
	ns.Run(t, "nft", fmt.Sprintf(`table inet test { counter seen {};
		chain prerouting { type filter hook prerouting priority mangle;
		iifname waymark%d ip saddr %s ip daddr %s counter name seen
		iifname waymark%d ip6 saddr %s ip6 daddr %s counter name seen; }; }`, vni, pod4, peer4, vni, pod6, peer6))
}

var packets = regexp.MustCompile(`packets (\d+)`)

// counted is what count has seen since the last time.
func counted(t testing.TB, ns nettest.NS) int {
	t.Helper()
	m := packets.FindStringSubmatch(ns.Run(t, "nft", "reset", "counter", "inet", "test", "seen"))
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ping(ns nettest.NS, to string, args ...string) error {
	_, err := ns.Try("ping", append([]string{"-n", "-c1", "-W1", to}, args...)...)
	return err
}
