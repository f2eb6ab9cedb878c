package nattest

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

func addressesAreSpread(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	p := via(1, vni4, vni6, vniSecond4, vniSecond6)
	p.Selects = true
	var pods4, pods6 []string
	for i := range 16 {
		pods4, pods6 = append(pods4, fmt.Sprintf("10.244.1.%d", 10+i)), append(pods6, fmt.Sprintf("fd00:1::%d", 10+i))
	}
	for _, pod := range append(pods4, pods6...) {
		flags := "/32"
		if strings.Contains(pod, ":") {
			flags = "/128 nodad"
		}
		l.Pod.IP(t, "addr add "+pod+flags+" dev eth0")
		p.Pods = append(p.Pods, netip.MustParseAddr(pod))
	}
	l.serve(t, p)
	for _, c := range []struct {
		pods       []string
		to         string
		candidates []string
	}{{pods4, Outside4, []string{egress4, second4}}, {pods6, Outside6, []string{egress6, second6}}} {
		had := map[string]int{}
		for _, pod := range c.pods {
			last := ""
			for i := range 4 {
				got, err := Seen(l.Pod, "udp", pod, c.to)
				if err != nil {
					t.Fatalf("%s to %s: %v", pod, c.to, err)
				}
				address := netip.MustParseAddrPort(got).Addr().String()
				if i > 0 && address != last {
					t.Errorf("%s to %s: source %s, and then %s", pod, c.to, last, address)
				}
				last = address
				if i == 1 { // another path elsewhere moves no pod
					l.apply(t, 0, l.plan(0, p, nat.Policy{
						Name: "other", Source: nat.SourceGateway, Fallback: nat.SourceDrop, Destinations: Prefixes(Elsewhere4 + "/32"),
						Via: []nat.Path{{Mark: mark(vni4, 2), IPv4: true}},
					}))
				}
			}
			had[last]++
			l.apply(t, 0, l.plan(0, p))
		}
		if len(had) != 2 || had[c.candidates[0]]+had[c.candidates[1]] != len(c.pods) {
			t.Errorf("to %s: %v, want both of %v", c.to, had, c.candidates)
		}
	}
	wantHost(t, l.Pod, Outside4, Pod4) // is not selected
}

func connectionsStay(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	l.serve(t, via(1, vniNode))
	type connection struct {
		net.Conn
		name, source string
	}
	var old []connection
	for _, network := range []string{"tcp", "udp"} {
		for _, to := range []string{Outside4, Outside6} {
			conn, err := Dial(l.Pod, network, "", to)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			source, err := Ask(conn)
			if err != nil {
				t.Fatal(err)
			}
			old = append(old, connection{conn, network + " to " + to, source})
		}
	}
	stay := func(when string) {
		t.Helper()
		for _, c := range old {
			for range 2 {
				if got, err := Ask(c.Conn); err != nil || got != c.source {
					t.Errorf("%s, %s: source %q, want still %s; %v", when, c.name, got, c.source, err)
				}
			}
		}
	}
	stay("before")
	l.apply(t, 0, l.plan(0, via(2, vniNode)))
	stay("after a failover")
	wantEgress(t, l.Pod, Outside4, l.nodes[2].addr4())
	wantEgress(t, l.Pod, Outside6, l.nodes[2].addr6())
	l.apply(t, 0, l.plan(0, nat.Policy{Name: "pod", Source: nat.SourcePod}))
	stay("after the policy has gone")
	wantHost(t, l.Pod, Outside4, Pod4)

	// What was there before a policy stays, too.
	conn, err := Dial(l.Pod, "tcp", "", Outside4)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before, err := Ask(conn)
	if err != nil {
		t.Fatal(err)
	}
	l.apply(t, 0, l.plan(0, via(1, vniNode)))
	if after, err := Ask(conn); err != nil || after != before {
		t.Errorf("connected before the policy: source %q, want still %s; %v", after, before, err)
	}
}

func fallback(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	for _, test := range []struct {
		fallback     nat.Source
		want4, want6 string
	}{
		{nat.SourceNode, l.nodes[0].addr4(), l.nodes[0].addr6()},
		{nat.SourcePod, Pod4, Pod6},
	} {
		none := via(1)
		none.Fallback = test.fallback
		l.serve(t, none)
		wantHost(t, l.Pod, Outside4, test.want4)
		wantHost(t, l.Pod, Outside6, test.want6)
		half := via(1, vni4)
		half.Fallback = test.fallback
		l.serve(t, half)
		wantEgress(t, l.Pod, Outside4, egress4)
		wantHost(t, l.Pod, Outside6, test.want6)
	}
	l.serve(t, via(1, vni6))
	wantNothing(t, l, Outside4)
	wantEgress(t, l.Pod, Outside6, egress6)
	wantHost(t, l.Pod, Elsewhere4, Pod4)
	withoutTunnels := l.plan(0, via(1))
	withoutTunnels.Tunnel = nat.Tunnel{}
	l.apply(t, 0, withoutTunnels)
	wantNothing(t, l, Outside4)
	wantNothing(t, l, Outside6)
	wantHost(t, l.Pod, Elsewhere4, Pod4)
}

func noTunnel(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	l.serve(t, via(1, vni4, vni6))
	wantEgress(t, l.Pod, Outside4, egress4)
	for _, c := range []struct {
		family, to string
		vni        int
	}{{"-4", Outside4, vni4}, {"-6", Outside6, vni6}} {
		old, err := Dial(l.Pod, "udp", "", c.to)
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		if _, err := Ask(old); err != nil {
			t.Fatal(err)
		}
		nettest.Self.IP(t, fmt.Sprintf("%s rule del fwmark %d/%d", c.family, int(mark(c.vni, 1))<<nat.MarkShift, nat.MarkMask))
		wantNothing(t, l, c.to)
		if got, err := Ask(old); err == nil {
			t.Errorf("to %s: what had a tunnel leaves without it: %s", c.to, got)
		}
	}
	wantHost(t, l.Pod, Elsewhere4, Pod4)
	// The gateways themselves are reached directly, and are left to the next policy.
	all := via(1, vni4, vni6)
	all.Destinations = Prefixes("0.0.0.0/0", "::/0")
	l.serve(t, all)
	if _, err := l.Pod.Try("ping", "-c1", "-W3", l.nodes[1].addr4()); err != nil {
		t.Errorf("a gateway's own address: %v", err)
	}
}

// noWayOut: what a tunnel brings leaves with the egress address or not at all.
func noWayOut(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	l.serve(t, via(1, vni4, vni6))
	for _, c := range []struct{ to, pod string }{{Outside4, Pod4}, {Outside6, Pod6}} {
		conn, err := Dial(l.Pod, "tcp", "", c.to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Ask(conn); err != nil {
			t.Fatal(err)
		}
		arrived := capture(t, l.Outside, "eth0", "tcp and src host "+c.pod)
		reset := capture(t, l.nodes[1].NS, "eth0", fmt.Sprintf("udp port %d and src host %s", tunnelPort, l.nodes[0].addr4()))
		l.nodes[1].Run(t, "conntrack", "-F")
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		some(t, reset)
		for _, line := range arrived() {
			t.Errorf("of a connection that the gateway does not know arrived %s", line)
		}
	}
	p := l.plan(1)
	p.Exits = nil
	l.apply(t, 1, p)
	wantNothing(t, l, Outside4)
	wantNothing(t, l, Outside6)
}

// wantNothing checks that nothing of the pod's arrives outside, with whatever source.
func wantNothing(t testing.TB, l *gatewayLab, to string) {
	t.Helper()
	arrived := capture(t, l.Outside, "eth0", "dst host "+to)
	wantNoAnswer(t, l.Pod, to)
	for _, line := range arrived() {
		t.Errorf("to %s: arrived %s", to, line)
	}
}

// wantNoAnswer checks that neither TCP nor UDP is answered.
func wantNoAnswer(t testing.TB, from nettest.NS, to string) {
	t.Helper()
	var attempts sync.WaitGroup
	for _, network := range []string{"tcp", "udp"} {
		attempts.Go(func() {
			if got, err := Seen(from, network, "", to); err == nil {
				t.Errorf("%s answers over %s that the source is %s", to, network, got)
			}
		})
	}
	attempts.Wait()
}

func fromOutside(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	for _, addr := range []string{Pod4, Pod6} {
		tell(t, l.Pod, addr, netip.AddrPort.String)
	}
	for _, addr := range []string{remote4, remote6} {
		tell(t, l.remote, addr, netip.AddrPort.String)
	}
	var old []net.Conn
	for _, to := range []string{Pod4, Pod6} {
		conn, err := Dial(l.Outside, "tcp", "", to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		old = append(old, conn)
	}
	all := via(1, vni4, vni6)
	all.Destinations = Prefixes("0.0.0.0/0", "::/0")
	l.serve(t, all)
	local := via(0, vni4, vni6)
	local.Destinations = all.Destinations
	l.apply(t, 1, l.plan(1, local))
	for _, conn := range old {
		if _, err := Ask(conn); err != nil {
			t.Errorf("connected from outside before: %v", err)
		}
	}
	for _, to := range []string{Pod4, remote4} {
		wantHost(t, l.Outside, to, "10.1.8.2")
	}
	for _, to := range []string{Pod6, remote6} {
		wantHost(t, l.Outside, to, "fd10:1:8::2")
	}
	wantHost(t, nettest.Self, Pod4, "10.244.1.1")
}

func services(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	l.serve(t, via(1, vni4, vni6))
	const service4, service6, elsewhere4, elsewhere6 = "10.96.0.1", "fd96::1", "10.96.0.2", "fd96::2"
	nettest.Run(t, "nft", fmt.Sprintf("table ip services { chain pre { type nat hook prerouting priority dstnat; ip daddr %s dnat to %s; ip daddr %s dnat to %s; }; }",
		service4, Outside4, elsewhere4, Elsewhere4))
	nettest.Run(t, "nft", fmt.Sprintf("table ip6 services { chain pre { type nat hook prerouting priority dstnat; ip6 daddr %s dnat to %s; ip6 daddr %s dnat to %s; }; }",
		service6, Outside6, elsewhere6, Elsewhere6))
	wantHost(t, l.Pod, elsewhere4, Pod4)
	wantHost(t, l.Pod, elsewhere6, Pod6)
	if variant := l.nodes[0].backend.Name(); variant != "nftables" {
		// iptables has no place between DNAT and routing: rather than leave with another address, it does not leave.
		for _, to := range []string{service4, service6} {
			if got, err := Seen(l.Pod, "udp", "", to); err == nil {
				t.Errorf("to %s: source %s, want no packet", to, got)
			}
		}
		for _, family := range []string{"iptables", "ip6tables"} {
			command := strings.Replace(variant, "iptables", family, 1)
			nettest.Run(t, command, "-t", "nat", "-I", "PREROUTING", "-j", "MARK", "--or-mark", "0x4000")
			nettest.Run(t, command, "-t", "nat", "-A", "POSTROUTING", "-m", "mark", "--mark", "0x4000/0x4000", "-j", "MASQUERADE")
		}
		wantHost(t, l.Pod, Outside4, l.nodes[0].addr4())
		wantHost(t, l.Pod, Outside6, l.nodes[0].addr6())
		return
	}
	wantEgress(t, l.Pod, service4, egress4)
	wantEgress(t, l.Pod, service6, egress6)

	// What kube-proxy will masquerade is its own affair.
	for _, family := range []string{"ip", "ip6"} {
		nettest.Run(t, "nft", "table "+family+" kube-proxy {"+
			" chain pre { type filter hook prerouting priority dstnat + 1; meta mark set mark or 0x4000; };"+
			" chain post { type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade; }; }")
	}
	wantHost(t, l.Pod, Outside4, l.nodes[0].addr4())
	wantHost(t, l.Pod, Outside6, l.nodes[0].addr6())
}

// failovers opens new connections all the time while the path changes and other egress addresses come and go at the gateway, and
// while new processes take over.
func failovers(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	for _, n := range l.nodes {
		masqueradeAll(t, n.NS, beatable(n.backend))
	}
	l.serve(t, via(1, vni4, vni6))
	done := make(chan struct{})
	var flows atomic.Int64
	var workers sync.WaitGroup
	for _, c := range []struct{ to, want string }{{Outside4, egress4}, {Outside6, egress6}} {
		workers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := egress(l.Pod, "udp", c.to, c.want); err != nil {
					t.Errorf("flow %d to %s: %v", flows.Load(), c.to, err)
					return
				}
				flows.Add(1)
			}
		})
	}
	fewer := l.plan(1)
	fewer.Exits = slices.DeleteFunc(fewer.Exits, func(e nat.Exit) bool { return e.Mark != vni4 && e.Mark != vni6 })
	other := nat.Policy{Name: "other", Source: nat.SourceNode, Destinations: Prefixes(Elsewhere4 + "/32")}
	for i := range 30 {
		l.apply(t, 0, l.plan(0, via(1+i%2, vni4, vni6), other))
		if i%10 == 9 {
			l.restart(t, i/10%2, start)
		}
		l.apply(t, 1, fewer)
		l.apply(t, 0, l.plan(0, via(1+i%2, vni4, vni6)))
		l.apply(t, 1, l.plan(1, other))
	}
	close(done)
	workers.Wait()
	t.Logf("%d flows during 120 changes", flows.Load())
	if flows.Load() < 100 {
		t.Errorf("%d flows are too few to have met the changes", flows.Load())
	}
}

// selectedAndGateways: a policy about some pods comes before or after one about all, and either may have a path.
func selectedAndGateways(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	some := func(p nat.Policy, priority int) nat.Policy {
		p.Name, p.Priority, p.Selects = "some", priority, true
		p.Pods = []netip.Addr{netip.MustParseAddr(Pod4), netip.MustParseAddr(Pod6)}
		return p
	}
	node := nat.Policy{Name: "node", Priority: 5, Source: nat.SourceNode, Destinations: Prefixes(Outside4+"/32", Outside6+"/128")}
	gateway := via(1, vni4, vni6)
	gateway.Priority = 5
	node4, node6 := l.nodes[0].addr4(), netip.MustParseAddr(l.nodes[0].addr6()).String()
	for _, test := range []struct {
		name           string
		policies       []nat.Policy
		pod, neighbour bool // whether it has the egress address
	}{
		{"all by a gateway, some first not", []nat.Policy{gateway, some(node, 1)}, false, true},
		{"all by a gateway, some then not", []nat.Policy{gateway, some(node, 9)}, true, true},
		{"some first by a gateway, all not", []nat.Policy{node, some(gateway, 1)}, true, false},
		{"some then by a gateway, all not", []nat.Policy{node, some(gateway, 9)}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l.serve(t, test.policies...)
			for _, c := range []struct {
				from   nettest.NS
				egress bool
			}{{l.Pod, test.pod}, {l.Neighbour, test.neighbour}} {
				if c.egress {
					wantEgress(t, c.from, Outside4, egress4)
					wantEgress(t, c.from, Outside6, egress6)
				} else {
					wantHost(t, c.from, Outside4, node4)
					wantHost(t, c.from, Outside6, node6)
				}
			}
		})
	}
}
