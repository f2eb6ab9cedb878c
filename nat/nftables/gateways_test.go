package nftables_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

// gateways is a plan of a node that has pods that use gateways, and is one.
func gateways(marks ...uint16) nat.Plan {
	bank := nat.Policy{
		Name: "bank", Source: nat.SourceGateway, Fallback: nat.SourceDrop, Destinations: prefixes("203.0.113.0/24", "2001:db8:113::/48"),
		Selects: true, Pods: []netip.Addr{netip.MustParseAddr("10.244.1.9"), netip.MustParseAddr("fd00:1::9")},
	}
	for _, mark := range marks {
		bank.Via = append(bank.Via, nat.Path{Mark: mark, IPv4: true})
	}
	p := plan(bank, registries.Policies[0])
	p.Exits = []nat.Exit{
		{Mark: 3, Device: "waymark77", Address: netip.MustParseAddr("192.0.2.9"), First: 1024, Last: 32767},
		{Mark: 2, Device: "waymark78", Address: netip.MustParseAddr("2001:db8::9"), First: 32768, Last: 65535},
		{Mark: 4, Device: "waymark79"},
	}
	p.Tunnel = nat.Tunnel{Port: 8479, Peers: prefixes("192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/128"), MTU: 1450, Prefix: "waymark"}
	return p
}

func TestGoldenGateways(t *testing.T) {
	flushed(t)
	apply(t, nftables.New(), gateways(5, 1))
	wantGolden(t, "testdata/gateways.nft")
}

// flood sends UDP from a namespace without pause, each packet as a connection of its own if anew, until it is stopped.
func flood(t *testing.T, ns nettest.NS, to string, anew bool) (stop func()) {
	t.Helper()
	var sending sync.WaitGroup
	end := make(chan struct{})
	stop = sync.OnceFunc(func() {
		close(end)
		sending.Wait()
	})
	t.Cleanup(stop)
	sending.Go(func() {
		_, err := nattest.Inside(ns, func() (struct{}, error) {
			conn, err := net.Dial("udp", to)
			for err == nil {
				select {
				case <-end:
					return struct{}{}, conn.Close()
				default:
				}
				_, _ = conn.Write([]byte("x")) // refused: nobody listens
				if anew {
					_ = conn.Close()
					conn, err = net.Dial("udp", to)
				}
			}
			return struct{}{}, err
		})
		if err != nil {
			t.Error(err)
		}
	})
	return stop
}

// marked has a backend change between two plans 200 times while UDP arrives from a namespace at a device, and counts packets whose
// mark just after our own chain is not the one wanted, and all of them.
func marked(t *testing.T, b *nftables.Backend, one, two nat.Plan, from nettest.NS, device, to string, anew bool, want uint16) (wrong, all int) {
	t.Helper()
	nettest.Run(t, "nft", fmt.Sprintf("add table inet witness; add chain inet witness in { type filter hook prerouting priority dstnat + 11; }; "+
		"add rule inet witness in iifname %[1]s udp dport 7 meta mark & 0x3ff00000 != 0x%08[2]x counter; add rule inet witness in iifname %[1]s udp dport 7 counter",
		device, uint32(want)<<nat.MarkShift))
	stop := flood(t, from, to+":7", anew)
	for range 200 {
		apply(t, b, two)
		apply(t, b, one)
	}
	stop()
	counters := regexp.MustCompile(`packets (\d+)`).FindAllStringSubmatch(nettest.Run(t, "nft", "list", "table", "inet", "witness"), -1)
	if len(counters) != 2 {
		t.Fatalf("the witness has %v", counters)
	}
	wrong, _ = strconv.Atoi(counters[0][1])
	all, _ = strconv.Atoi(counters[1][1])
	return wrong, all
}

// TestNoPacketMissesTheOldRulesOrTheNew sends out of a tunnel without pause while other egress addresses come and go. A packet
// in the midst of rules that are replaced finds nothing in a set that is part of one of them: seven in 600 changes.
func TestNoPacketMissesTheOldRulesOrTheNew(t *testing.T) {
	flushed(t)
	node := nettest.New(t, "node")
	nettest.Join(t, nettest.Self, "waymark77", []string{"198.18.0.1/24"}, node, "eth0", []string{"198.18.0.2/24"})
	more := gateways(5)
	less := more
	less.Exits = more.Exits[:2]
	b := nftables.New()
	apply(t, b, more)
	if wrong, all := marked(t, b, more, less, node, "waymark77", "198.18.0.1", false, 3); wrong > 0 || all < 100_000 {
		t.Errorf("%d of %d packets were not named by their tunnel", wrong, all)
	}
}

// TestNoConnectionTakesThePathOfAnother begins connections without pause while their policy and others change places. None
// takes a path that is not its policy's, neither by the rules of the one plan with the elements of the other.
func TestNoConnectionTakesThePathOfAnother(t *testing.T) {
	flushed(t)
	pod := nettest.New(t, "pod")
	nettest.Join(t, nettest.Self, "cni0", []string{"10.244.1.1/24"}, pod, "eth0", []string{"10.244.1.9/24"})
	pod.IP(t, "route add default via 10.244.1.1")
	nettest.Run(t, "sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=1")
	policy := func(name string, priority int, mark uint16, destination string) nat.Policy {
		return nat.Policy{
			Name: name, Priority: priority, Source: nat.SourceGateway, Fallback: nat.SourceDrop,
			Destinations: prefixes(destination), Via: []nat.Path{{Mark: mark, IPv4: true}},
		}
	}
	bank, shop := policy("bank", 10, 5, "203.0.113.0/24"), policy("shop", 20, 6, "198.51.100.0/24")
	one, two := plan(bank, shop), plan(bank, shop)
	two.Policies = slices.Clone(two.Policies)
	two.Policies[1].Priority = 1
	one.Tunnel, two.Tunnel = gateways().Tunnel, gateways().Tunnel
	b := nftables.New()
	apply(t, b, one)
	// What is not decided is dropped later on, and may be tried again.
	nettest.Run(t, "nft", "add table inet undecided; add chain inet undecided in { type filter hook prerouting priority dstnat + 11; }; "+
		"add rule inet undecided in udp dport 7 meta mark & 0x3ff00000 == 0 drop")
	if wrong, all := marked(t, b, one, two, pod, "cni0", "203.0.113.9", true, 5); wrong > 0 || all < 20_000 {
		t.Errorf("%d of %d connections took the path of another policy", wrong, all)
	}
}

// TestAFailoverChangesNoElement: its time does not depend on the number of pods and destinations.
func TestAFailoverChangesNoElement(t *testing.T) {
	flushed(t)
	b := nftables.New()
	apply(t, b, gateways(5))
	monitor := nettest.Self.Start(t, "nft", "monitor")
	nettest.Eventually(t, 5*time.Second, func() error {
		nettest.Run(t, "nft", "add table inet other; delete table inet other")
		if !strings.Contains(monitor.Output(), "other") {
			return fmt.Errorf("nft monitor does not listen yet")
		}
		return nil
	})
	apply(t, b, gateways(6))
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(monitor.Output(), "delete chain inet waymark path5") {
			return fmt.Errorf("nft monitor does not show the change yet: %s", monitor.Output())
		}
		return nil
	})
	for line := range strings.Lines(monitor.Output()) {
		if strings.Contains(line, "element") && !strings.Contains(line, "__") {
			t.Errorf("changed: %s", line)
		}
	}
}

// TestGatewaysComeAndGo holds plans with and without gateways against a table made from scratch.
func TestGatewaysComeAndGo(t *testing.T) {
	flushed(t)
	b := nftables.New()
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 60 {
		p := randomPlan(r)
		if r.IntN(3) > 0 {
			p = randomGateways(r, p)
		}
		if result := apply(t, b, p); result.Repaired {
			t.Fatalf("plan %d: repaired, but nobody else was there", i)
		}
		incremental := ruleset(t)
		if result := apply(t, b, p); result != (nat.Result{}) {
			t.Fatalf("plan %d: the same again: %+v, want nothing done", i, result)
		}
		nettest.Run(t, "nft", "delete table inet waymark")
		apply(t, nftables.New(), p)
		if scratch := ruleset(t); objects(scratch) != objects(incremental) {
			t.Fatalf("plan %d, %v: incremental\n%sfrom scratch\n%s", i, p, incremental, scratch)
		}
		if i%10 == 0 {
			b = nftables.New() // a crash: the next process takes over what is there
		}
		apply(t, b, p)
	}
}

func randomGateways(r *rand.Rand, p nat.Plan) nat.Plan {
	p.Tunnel = nat.Tunnel{Port: uint16(8000 + r.IntN(2)), MTU: 1400 + r.IntN(2), Prefix: "waymark", Peers: p.Pods}
	for i := range p.Policies {
		if r.IntN(2) == 0 {
			continue
		}
		p.Policies[i].Source = nat.SourceGateway
		p.Policies[i].Fallback = []nat.Source{nat.SourceDrop, nat.SourceNode, nat.SourcePod}[r.IntN(3)]
		for mark := range r.IntN(4) {
			p.Policies[i].Via = append(p.Policies[i].Via, nat.Path{Mark: uint16(1 + mark), IPv4: r.IntN(2) == 0, IPv6: true})
		}
	}
	for i := range r.IntN(3) {
		exit := nat.Exit{Mark: uint16(2 + i), Device: fmt.Sprint("waymark", i), First: 1024, Last: uint16(32767 + r.IntN(2)*32768)}
		if r.IntN(2) == 0 {
			exit.Address = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		}
		p.Exits = append(p.Exits, exit)
	}
	return p
}

func TestForeignEditsOfGatewaysAreRepaired(t *testing.T) {
	for _, edit := range []string{
		"flush chain inet waymark prerouting",
		"flush chain inet waymark forward; delete chain inet waymark forward",
		"flush chain inet waymark input",
		"add element inet waymark peers4 { 172.16.0.1 }",
		"delete element inet waymark peers6 { 2001:db8::1 }",
		"flush set inet waymark exits4",
		"delete element inet waymark class_bank_via4 { 203.0.113.0/24 }",
		"add rule inet waymark path5 accept",
		"delete table inet waymark; add table inet waymark; add chain inet waymark forward { type filter hook input priority 5 ; }",
	} {
		t.Run(edit, func(t *testing.T) {
			flushed(t)
			b := nftables.New()
			apply(t, b, gateways(5, 1))
			want := ruleset(t)
			noticed := nattest.Watch(t, b, gateways(5, 1))
			nettest.Run(t, "nft", edit)
			select {
			case <-noticed:
			case <-time.After(time.Second):
				t.Error("not noticed within a second")
			}
			if result := apply(t, b, gateways(5, 1)); !result.Repaired || !result.Changed {
				t.Errorf("apply: %+v, want repaired and changed", result)
			}
			if got := ruleset(t); objects(got) != objects(want) {
				t.Errorf("repaired to\n%swant\n%s", got, want)
			}
		})
	}
}
