package host

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route/probe"
)

const asPowerless = "WAYMARK_PROBE_POWERLESS"

func TestMain(m *testing.M) {
	if os.Getenv(asPowerless) == "1" {
		powerless()
		return
	}
	nettest.Main(m)
}

// powerless is a process without any capability.
func powerless() {
	l := &lab{nodes: map[string]nettest.NS{"n11": "", "n12": ""}}
	w, err := Default.open(l.network("192.0.2.254"), &targets(11)[0], netip.MustParseAddr("10.131.11.1"), "")
	if err != nil || len(w.sockets) != 1 {
		fmt.Println("it may send echo requests:", err)
	}
	findings, err := Default.Run(context.Background(), l.network("192.0.2.254"), targets(11, 12))
	fmt.Print(verdicts(findings), err)
}

// TestPowerless probes as the controller does, whose container has no capabilities.
func TestPowerless(t *testing.T) {
	l := newLab(t)
	l.node(11, true)
	l.node(12, true)
	l.route(11, "right", 11)
	l.route(12, "by another node, which forwards", 11)
	l.nodes["n11"].IP(t, "route add 10.131.12.0/24 via 10.132.2.12")
	l.nodes["n11"].IP(t, "-6 route add fd00:131:c::/64 via fd00:132::c")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got := nettest.Self.Run(t, "env", asPowerless+"=1", "setpriv", "--bounding-set=-all", "--inh-caps=-all", self)
	want := "map[10.131.11.0/24:right 10.131.12.0/24:wrong node: node n11 (10.132.2.11) is on the way to 10.131.12.1" +
		" fd00:131:b::/64:right fd00:131:c::/64:wrong node: node n11 (fd00:132::b) is on the way to fd00:131:c::1] <nil>"
	if strings.TrimSpace(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// lab is a gateway between this machine and nodes, which are joined by a bridge of the gateway.
type lab struct {
	*testing.T
	gateway nettest.NS
	nodes   map[string]nettest.NS
}

func newLab(t *testing.T) *lab {
	l := &lab{t, nettest.New(t, "gw"), map[string]nettest.NS{}}
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, l.gateway, "uplink", []string{"192.0.2.254/24", "2001:db8::fe/64"})
	t.Cleanup(func() { nettest.Self.IP(t, "link del eth0") }) // at once: the next test has one too
	for _, command := range []string{
		"link add lan type bridge", "link set lan up", "addr add 10.132.2.254/24 dev lan", "addr add fd00:132::fe/64 dev lan",
	} {
		l.gateway.IP(t, command)
	}
	nettest.Self.IP(t, "route add default via 192.0.2.254")
	nettest.Self.IP(t, "-6 route add default via 2001:db8::fe")
	return l
}

// node n has 10.132.2.n, the pod subnet 10.131.n.0/24 with a bridge, and the pod 10.131.n.7; and so for IPv6.
func (l *lab) node(n int, bridge bool) nettest.NS {
	name := fmt.Sprintf("n%d", n)
	ns, pod := nettest.New(l, name), nettest.New(l, "pod"+name)
	l.nodes[name] = ns
	nettest.Join(l, ns, "eth0", []string{fmt.Sprintf("10.132.2.%d/24", n), fmt.Sprintf("fd00:132::%x/64", n)}, l.gateway, name, nil)
	l.gateway.IP(l, "link set "+name+" master lan")
	ns.IP(l, "route add default via 10.132.2.254")
	ns.IP(l, "-6 route add default via fd00:132::fe")
	first := []string{fmt.Sprintf("10.131.%d.1/24", n), fmt.Sprintf("fd00:131:%x::1/64", n)}
	if bridge {
		ns.IP(l, "link add cni0 type bridge")
		ns.IP(l, "link set cni0 up")
		for _, a := range first {
			ns.IP(l, "addr add "+a+" dev cni0")
		}
		nettest.Join(l, ns, "veth1", nil, pod, "eth0", []string{fmt.Sprintf("10.131.%d.7/24", n), fmt.Sprintf("fd00:131:%x::7/64", n)})
		ns.IP(l, "link set veth1 master cni0")
		pod.IP(l, fmt.Sprintf("route add default via 10.131.%d.1", n))
		pod.IP(l, fmt.Sprintf("-6 route add default via fd00:131:%x::1", n))
		return ns
	}
	// As with routed pods: no address in the subnet, and what no pod has goes nowhere.
	nettest.Join(l, ns, "cali1", []string{"169.254.1.1/32", "fd00:169::1/64"}, pod, "eth0", []string{fmt.Sprintf("10.131.%d.7/32", n), fmt.Sprintf("fd00:131:%x::7/128", n)})
	ns.IP(l, fmt.Sprintf("route add 10.131.%d.7 dev cali1", n))
	ns.IP(l, fmt.Sprintf("route add blackhole 10.131.%d.0/24", n))
	ns.IP(l, fmt.Sprintf("-6 route add fd00:131:%x::7 dev cali1", n))
	ns.IP(l, fmt.Sprintf("-6 route add blackhole fd00:131:%x::/64", n))
	pod.IP(l, "route add 169.254.1.1 dev eth0")
	pod.IP(l, "route add default via 169.254.1.1")
	pod.IP(l, "-6 route add fd00:169::1 dev eth0")
	pod.IP(l, "-6 route add default via fd00:169::1")
	return ns
}

// route is a static route of the gateway to the pods of a node; rest: "via N" or a type.
func (l *lab) route(pods int, how string, via int) {
	v4, v6 := fmt.Sprintf("10.131.%d.0/24", pods), fmt.Sprintf("fd00:131:%x::/64", pods)
	if via == 0 {
		l.gateway.IP(l, "route add "+how+" "+v4)
		l.gateway.IP(l, "-6 route add "+how+" "+v6)
		return
	}
	l.gateway.IP(l, fmt.Sprintf("route add %s via 10.132.2.%d", v4, via))
	l.gateway.IP(l, fmt.Sprintf("-6 route add %s via fd00:132::%x", v6, via))
}

func (l *lab) network(addresses ...string) *probe.Network {
	n := &probe.Network{Gateway: "core1", Gateways: map[netip.Addr]string{}, Nodes: map[netip.Addr]string{}}
	for _, a := range addresses {
		n.Addresses = append(n.Addresses, netip.MustParseAddr(a))
		n.Gateways[netip.MustParseAddr(a)] = "core1"
	}
	for name := range l.nodes {
		var number int
		_, _ = fmt.Sscanf(name, "n%d", &number)
		n.Nodes[netip.MustParseAddr(fmt.Sprintf("10.132.2.%d", number))] = name
		n.Nodes[netip.MustParseAddr(fmt.Sprintf("fd00:132::%x", number))] = name
	}
	return n
}

func targets(nodes ...int) (list []probe.Target) {
	for _, n := range nodes {
		for _, prefix := range []string{fmt.Sprintf("10.131.%d.0/24", n), fmt.Sprintf("fd00:131:%x::/64", n)} {
			p := netip.MustParsePrefix(prefix)
			list = append(list, probe.Target{Prefix: p, Node: fmt.Sprintf("n%d", n), Addresses: probe.Addresses(p)})
		}
	}
	return list
}

func verdicts(findings []probe.Finding) map[string]string {
	said := map[string]string{}
	for _, f := range findings {
		said[f.Prefix.String()] = strings.TrimSuffix(fmt.Sprintf("%s: %s", f.Verdict, f.Reason), ": ")
	}
	return said
}

// TestVerdicts asks for subnets that a gateway has right, wrong, and in all ways between.
func TestVerdicts(t *testing.T) {
	l := newLab(t)
	for _, n := range []int{11, 12, 14, 15, 16, 17, 18} {
		l.node(n, true)
	}
	l.node(13, false)
	l.route(11, "right", 11)
	l.route(12, "by another node, which forwards", 11)
	l.nodes["n11"].IP(t, "route add 10.131.12.0/24 via 10.132.2.12")
	l.nodes["n11"].IP(t, "-6 route add fd00:131:c::/64 via fd00:132::c")
	l.route(13, "right, without a bridge", 13)
	l.route(14, "to a node that says nothing", 14)
	l.nodes["n14"].Run(t, "nft", "add table inet t; add chain inet t i { type filter hook prerouting priority 0; }; add rule inet t i ip daddr 10.131.14.0/24 drop; add rule inet t i ip6 daddr fd00:131:e::/64 drop")
	l.route(15, "to another node, which sends it back", 11)
	l.route(16, "prohibit", 0)
	l.route(17, "right, but a filter refuses UDP", 17)
	l.gateway.Run(t, "nft", "add table inet t; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f meta l4proto udp ip daddr 10.131.17.0/24 reject with icmp type admin-prohibited; add rule inet t f meta l4proto udp ip6 daddr fd00:131:11::/64 reject with icmpv6 type admin-prohibited")
	// 18 has no route at all.

	for _, ns := range append(slices.Collect(maps.Values(l.nodes)), l.gateway) { // else it is by luck whom they answer
		ns.Run(t, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
	}

	network := l.network("10.132.2.254", "fd00:132::fe")
	all := targets(11, 12, 13, 14, 15, 16, 17, 18)
	for i := range all {
		if all[i].Node == "n13" {
			all[i].Addresses = append(all[i].Addresses, all[i].Prefix.Addr().Next().Next().Next().Next().Next().Next().Next())
		}
	}
	want := map[string]string{
		"10.131.11.0/24": "right",
		"10.131.12.0/24": "wrong node: node n11 (10.132.2.11) is on the way to 10.131.12.1",
		"10.131.13.0/24": "right",
		"10.131.14.0/24": "silent: nobody answers after 192.0.2.254",
		"10.131.15.0/24": "loop: between 192.0.2.254 and node n11 (10.132.2.11)",
		"10.131.16.0/24": "filtered: refused by 192.0.2.254",
		"10.131.17.0/24": "right",
		"10.131.18.0/24": "unreachable: 192.0.2.254 knows no way on",
	}
	begin := time.Now()
	findings, err := Default.Run(t.Context(), network, all)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s in %v", probe.Summary(findings), time.Since(begin))
	said := verdicts(findings)
	for v4, text := range want {
		v6 := strings.NewReplacer("10.131.", "fd00:131:", ".0/24", "").Replace(v4)
		var number int
		_, _ = fmt.Sscanf(v6, "fd00:131:%d", &number)
		v6 = fmt.Sprintf("fd00:131:%x::/64", number)
		text6 := strings.NewReplacer("192.0.2.254", "2001:db8::fe", "10.132.2.11", "fd00:132::b", fmt.Sprintf("10.131.%d.1", number), fmt.Sprintf("fd00:131:%x::1", number)).Replace(text)
		if said[v4] != text {
			t.Errorf("%s: %s\nwant %s", v4, said[v4], text)
		}
		if number == 15 { // the gateway has two addresses there
			text6 = "loop: between node n11 (fd00:132::b) and gateway core1 (fd00:132::fe)"
		}
		if said[v6] != text6 {
			t.Errorf("%s: %s\nwant %s", v6, said[v6], text6)
		}
	}
}

// TestRateLimit asks a Linux router for so many subnets that it has no route to that it does not answer for all, beside those of
// nodes that it has.
func TestRateLimit(t *testing.T) {
	l := newLab(t)
	var all []probe.Target
	for n := 11; n < 15; n++ {
		l.node(n, true)
		l.route(n, "right", n)
	}
	all = targets(11, 12, 13, 14)
	for i := range 30 {
		p := netip.MustParsePrefix(fmt.Sprintf("10.131.%d.0/24", 100+i))
		all = append(all, probe.Target{Prefix: p, Node: "gone", Addresses: probe.Addresses(p)})
	}
	begin := time.Now()
	findings, err := Prober{Wait: 300 * time.Millisecond, Tries: 2, Parallel: 64}.Run(t.Context(), l.network("192.0.2.254"), all)
	t.Logf("%s in %v", probe.Summary(findings), time.Since(begin))
	count := map[probe.Verdict]int{}
	for _, f := range findings {
		count[f.Verdict]++
	}
	if err != nil || count[probe.Right] != 8 || count[probe.NoWay] < patience || count[probe.NoWay]+count[probe.Silent] != 30 {
		t.Errorf("%v: %s, want 8 right and at least %d of 30 unreachable", err, probe.Summary(findings), patience)
	}
}

// TestPastTheGateway is on a machine that has another way to the pods, as nodes have.
func TestPastTheGateway(t *testing.T) {
	l := newLab(t)
	l.node(11, true)
	l.route(11, "right", 11)
	tunnel := nettest.New(t, "tunnel")
	nettest.Join(t, nettest.Self, "vx", []string{"198.51.100.1/24"}, tunnel, "vx", []string{"198.51.100.2/24"})
	t.Cleanup(func() { nettest.Self.IP(t, "link del vx") })
	nettest.Self.IP(t, "route add 10.131.0.0/16 via 198.51.100.2")
	pods := targets(11)[:1]
	check := func(addresses []string, want string) {
		t.Helper()
		network := l.network(addresses...)
		network.Gateways[netip.MustParseAddr("198.51.100.2")] = "core2"
		findings, err := Default.Run(t.Context(), network, pods)
		if got := fmt.Sprint(verdicts(findings)); err != nil || got != want {
			t.Errorf("%v %s\nwant %s", err, got, want)
		}
		if want != "map[10.131.11.0/24:right]" {
			return
		}
		findings, err = Leave(network, pods)
		if want := "map[10.131.11.0/24:sent: this machine sends to gateway core1 (192.0.2.254)]"; err != nil || fmt.Sprint(verdicts(findings)) != want {
			t.Errorf("%v %v\nwant %s", err, verdicts(findings), want)
		}
	}
	check([]string{"192.0.2.254"}, "map[10.131.11.0/24:right]")
	check([]string{"10.132.2.254"}, "map[10.131.11.0/24:wrong gateway: this machine sends to gateway core2 (198.51.100.2)]")
	nettest.Self.IP(t, "route add 10.131.11.0/24 dev vx")
	check([]string{"10.132.2.254"}, "map[10.131.11.0/24:aside: this machine sends by its device vx, past the gateway: ask from another one]")
	nettest.Self.IP(t, "addr add 10.132.2.11/32 dev lo")
	defer nettest.Self.IP(t, "addr del 10.132.2.11/32 dev lo")
	check([]string{"192.0.2.254"}, "map[10.131.11.0/24:own: this machine is the node: ask from another one]")
}

// TestBounded has no time for subnets that nobody answers for.
func TestBounded(t *testing.T) {
	l := newLab(t)
	l.gateway.IP(t, "route add blackhole 10.131.0.0/16")
	var all []probe.Target
	for i := range 200 {
		p := netip.MustParsePrefix(fmt.Sprintf("10.131.%d.0/24", i))
		all = append(all, probe.Target{Prefix: p, Node: "n", Addresses: probe.Addresses(p)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begin := time.Now()
	findings, err := Default.Run(ctx, l.network("192.0.2.254"), all)
	if took := time.Since(begin); err != nil || took > 3*time.Second || probe.Summary(findings) != "200 untried" {
		t.Errorf("%v after %v: %s", err, took, probe.Summary(findings))
	}
}

// TestManySubnets has 5,000 right ones of one node, which answers for every address of its /10.
func TestManySubnets(t *testing.T) {
	l := newLab(t)
	node := l.node(11, true)
	node.IP(t, "route add local 10.128.0.0/10 dev lo")
	l.gateway.IP(t, "route add 10.128.0.0/10 via 10.132.2.11")
	var all []probe.Target
	for i := range 5000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(140 + i>>8), byte(i), 0}), 24)
		all = append(all, probe.Target{Prefix: p, Node: "n11", Addresses: probe.Addresses(p)})
	}
	begin := time.Now()
	findings, err := Default.Run(t.Context(), l.network("192.0.2.254"), all)
	took := time.Since(begin)
	t.Logf("%s in %v", probe.Summary(findings), took)
	if err != nil || probe.Summary(findings) != "5000 right" || took > 30*time.Second {
		t.Errorf("%v, %s after %v, want 5000 right within 30s", err, probe.Summary(findings), took)
	}
}
