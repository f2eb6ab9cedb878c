package nattest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

// capture listens for packets in and out of a device, and returns what lists those that it has seen until then.
func capture(t testing.TB, ns nettest.NS, dev, filter string) func() []string {
	t.Helper()
	dump := ns.Start(t, "tcpdump", "--immediate-mode", "-lni", dev, filter)
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(dump.Output(), "listening on") {
			return fmt.Errorf("tcpdump does not listen yet: %s", dump.Output())
		}
		return nil
	})
	return func() []string {
		var lines []string
		for line := range strings.Lines(dump.Output()) {
			if strings.Contains(line, " > ") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return lines
	}
}

// some waits for the first of captured packets, and returns all.
func some(t testing.TB, captured func() []string) []string {
	t.Helper()
	nettest.Eventually(t, 5*time.Second, func() error {
		if len(captured()) == 0 {
			return errors.New("no packet was captured")
		}
		return nil
	})
	return captured()
}

// masqueradeAll masquerades all that leaves the node, by whatever device.
func masqueradeAll(t testing.TB, ns nettest.NS, how string) {
	t.Helper()
	for _, family := range []string{"ip", "ip6"} {
		if how == "nft" {
			ns.Run(t, "nft", "table "+family+" foreign { chain post { type nat hook postrouting priority srcnat; masquerade; }; }")
			continue
		}
		ns.Run(t, family+strings.Replace(how, "ip", "", 1), "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
	}
}

func egressAddressWins(t *testing.T, start func() Backend) {
	for name := range foreignMasquerades {
		for _, order := range []string{"before", "after"} {
			t.Run(name+" "+order, func(t *testing.T) {
				l := newGatewayLab(t, start)
				foreign := func() {
					for _, n := range l.nodes {
						masqueradeAll(t, n.NS, name)
					}
				}
				if order == "before" {
					foreign()
				}
				l.serve(t, via(1, vni4, vni6))
				l.apply(t, 1, l.plan(1, via(0, vni4, vni6)))
				if order == "after" {
					foreign()
				}
				for _, n := range l.nodes[:2] {
					if lost, err := Inside(n.NS, func() (bool, error) { return beaten(t, n.backend), nil }); err != nil || lost {
						t.Logf("node %d says that it is beaten; %v", n.number, err)
						return
					}
				}
				for _, pod := range []nettest.NS{l.Pod, l.remote} {
					wantEgress(t, pod, Outside4, egress4)
					wantEgress(t, pod, Outside6, egress6)
				}
				inner := capture(t, l.nodes[1].NS, fmt.Sprint(tunnelPrefix, vni4), "tcp or udp")
				wantEgress(t, l.Pod, Outside4, egress4)
				for _, line := range some(t, inner) {
					if strings.Contains(line, " > "+Outside4+".") && !strings.Contains(line, Pod4+".") {
						t.Errorf("the tunnel carried %s, want it from %s", line, Pod4)
					}
				}
				// Handed over it keeps its source, too.
				l.own(t, 2)
				wantEgress(t, l.Pod, Outside4, egress4)
				wantEgress(t, l.Pod, Outside6, egress6)
			})
		}
	}
}

func onlyNodes(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	l.serve(t, via(1, vni4, vni6))
	s := l.stranger
	s.IP(t, fmt.Sprintf("link add vx type vxlan id %d dstport %d local %s nolearning", vni4, tunnelPort, stranger4))
	s.IP(t, "addr add 169.254.1.99/32 dev vx")
	s.IP(t, "addr add "+Pod4+"/32 dev lo")
	s.IP(t, "link set vx up")
	gateway := l.nodes[1]
	s.Run(t, "bridge", "fdb", "append", gateway.mac(), "dev", "vx", "dst", gateway.addr4())
	s.IP(t, "neigh add "+gateway.link4()+" lladdr "+gateway.mac()+" nud permanent dev vx")
	s.IP(t, "route add "+Outside4+" via "+gateway.link4()+" dev vx onlink")
	arrives := func() bool {
		t.Helper()
		arrived := capture(t, l.Outside, "eth0", "icmp")
		_, _ = s.Try("ping", "-c3", "-i0.2", "-W1", "-I", Pod4, Outside4)
		return len(arrived()) > 0
	}
	if arrives() {
		t.Error("a gateway took a packet from a stranger")
	}
	trusting := l.plan(1)
	trusting.Tunnel.Peers = append(trusting.Tunnel.Peers, Prefixes(stranger4+"/32")...)
	l.apply(t, 1, trusting)
	if !arrives() {
		t.Error("a gateway did not take a packet from a new node")
	}
	l.apply(t, 1, l.plan(1))
	if arrives() {
		t.Error("a gateway took a packet from a node that has gone")
	}
}

var segmentSize = regexp.MustCompile(`mss (\d+)`)

func segmentsFit(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	l.serve(t, via(1, vni4, vni6))
	l.apply(t, 1, l.plan(1, via(0, vni4, vni6)))
	sizeOf := func(captured func() []string) int {
		t.Helper()
		match := segmentSize.FindStringSubmatch(some(t, captured)[0])
		if match == nil {
			t.Fatalf("no segment size in %s", captured()[0])
		}
		size, _ := strconv.Atoi(match[1])
		return size
	}
	want := func(pod nettest.NS, to string, wantOut, wantIn int) {
		t.Helper()
		out, in := capture(t, l.Outside, "eth0", "tcp port "+Port+" and dst host "+to), capture(t, pod, "eth0", "tcp port "+Port+" and src host "+to)
		if _, err := Seen(pod, "tcp", "", to); err != nil {
			t.Fatal(err)
		}
		if gotOut, gotIn := sizeOf(out), sizeOf(in); gotOut != wantOut || gotIn != wantIn {
			t.Errorf("%s to %s: segments of %d out and %d in, want %d and %d", pod, to, gotOut, gotIn, wantOut, wantIn)
		}
	}
	want(l.Pod, Outside4, tunnelMTU-40, tunnelMTU-40)
	want(l.Pod, Outside6, tunnelMTU-60, tunnelMTU-60)
	want(l.Pod, Elsewhere4, 1460, 1460) // not by a tunnel
	want(l.Pod, Elsewhere6, 1440, 1440)
	want(l.remote, Outside4, 1460, 1460) // leaves here
	want(l.remote, Outside6, 1440, 1440)
	l.Pod.IP(t, "link set eth0 mtu 1300") // smaller than the tunnel: never raised
	nettest.Self.IP(t, "link set pod mtu 1300")
	want(l.Pod, Outside4, 1260, tunnelMTU-40)
	want(l.Pod, Outside6, 1240, tunnelMTU-60)
}

func handedOver(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	l.serve(t, via(1, vni4, vni6))
	for _, to := range []string{Outside4, Outside6} {
		conn, err := Dial(l.Pod, "tcp", "", to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		before, err := Ask(conn)
		if err != nil {
			t.Fatal(err)
		}
		l.own(t, 2) // the other gateway gets the replies now
		for range 3 {
			if after, err := Ask(conn); err != nil || after != before {
				t.Errorf("to %s, handed over: source %q, want %s; %v", to, after, before, err)
			}
		}
		l.own(t, 1)
	}
	for _, c := range []struct {
		vni     int
		to      string
		gateway int
		exits   bool // or they have gone already, and the routes have not
	}{{vni4, egress4, 1, true}, {vni4, egress4, 2, true}, {vni6, egress6, 1, true}, {vni4, egress4, 1, false}, {vni6, egress6, 1, false}} {
		for gateway := 1; gateway <= 2; gateway++ {
			p := l.plan(gateway)
			if !c.exits {
				p.Exits = nil
			}
			l.apply(t, gateway, p)
		}
		l.own(t, c.gateway)
		tunnel := capture(t, l.nodes[c.gateway].NS, fmt.Sprint(tunnelPrefix, c.vni), "dst host "+c.to)
		back := capture(t, l.Outside, "eth0", "src host "+c.to+" and src port "+Port)
		wantNoAnswer(t, l.Outside, c.to)
		hops := map[string]int{}
		for _, line := range some(t, tunnel) {
			_, packet, _ := strings.Cut(line, " ") // without the time
			hops[packet]++
		}
		for line, n := range hops {
			if n > 1 {
				t.Errorf("%+v: %d times in the tunnel: %s", c, n, line)
			}
		}
		for _, line := range back() {
			t.Errorf("%+v: back came %s", c, line)
		}
	}

	// A pod of a gateway that speaks to the egress address: the mark that it leaves by is not for the tunnel's outer packets.
	local := via(0, vni4, vni6)
	local.Destinations = Prefixes("0.0.0.0/0", "::/0")
	l.apply(t, 1, l.plan(1, local))
	l.apply(t, 2, l.plan(2))
	for _, to := range []string{egress4, egress6} {
		outer := capture(t, l.nodes[1].NS, "eth0", fmt.Sprintf("udp port %d and dst host %s", tunnelPort, l.nodes[2].addr4()))
		wantNoAnswer(t, l.remote, to)
		for _, line := range some(t, outer) {
			if !strings.Contains(line, "IP "+l.nodes[1].addr4()+".") {
				t.Errorf("%s to %s: the tunnel's packet is %s, want it from %s", l.remote, to, line, l.nodes[1].addr4())
			}
		}
	}
}

func marksStay(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	const others = 0xc00aabcd &^ 0x4000
	for _, n := range l.nodes {
		n.Run(t, "nft", fmt.Sprintf("table inet others {"+
			" chain pre { type filter hook prerouting priority mangle; meta mark set mark or %[1]d; ct mark set ct mark or %[1]d; };"+
			" chain post { type filter hook forward priority filter + 10; meta mark & %[2]d != %[1]d counter; ct mark & %[2]d != %[1]d counter; };"+
			" }", uint32(others), ^uint32(nat.MarkMask)))
	}
	l.serve(t, via(1, vniNode))
	l.apply(t, 1, l.plan(1, via(0, vniNode)))
	for range 2 {
		for _, pod := range []nettest.NS{l.Pod, l.remote} {
			wantEgress(t, pod, Outside4, l.nodes[1].addr4())
			wantEgress(t, pod, Outside6, l.nodes[1].addr6())
		}
	}
	for _, n := range l.nodes[:2] {
		rules := n.Run(t, "nft", "list", "table", "inet", "others")
		if strings.Count(rules, "packets 0 bytes 0") != 2 {
			t.Errorf("node %d: bits of others changed:\n%s", n.number, rules)
		}
	}
}

func nothingStays(t *testing.T, start func() Backend) {
	l := newGatewayLab(t, start)
	rules := func() string {
		n := l.nodes[1]
		var all []string
		for _, family := range []string{"iptables", "ip6tables"} {
			for _, table := range []string{"nat", "mangle", "filter", "raw"} { // they make their own chains when they are first looked at
				n.Run(t, family+"-nft", "-t", table, "-S")
				all = append(all, n.Run(t, family+"-legacy", "-t", table, "-S"))
			}
		}
		all = append(all, n.Run(t, "nft", "--stateless", "list", "ruleset"), n.Run(t, "ipset", "list", "-name"))
		lines := strings.Split(strings.Join(all, ""), "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	plain := l.plan(1, nat.Policy{Name: "pod", Source: nat.SourcePod, Destinations: Prefixes(Outside4+"/32", Outside6+"/128")})
	plain.Tunnel = nat.Tunnel{}
	plain.Exits = nil
	makeChains(t, l.nodes[1].NS)
	l.apply(t, 1, plain)
	before := rules()
	l.apply(t, 1, l.plan(1, via(0, vni4, vni6)))
	wantEgress(t, l.remote, Outside4, egress4)
	l.apply(t, 1, plain)
	if after := rules(); after != before {
		t.Errorf("gateways left behind, from\n%sto\n%s", before, after)
	}
	wantHost(t, l.remote, Outside4, remote4)
	if _, err := Inside(l.nodes[1].NS, func() (bool, error) { return true, l.nodes[1].backend.Remove(context.Background()) }); err != nil {
		t.Fatal(err)
	}
}
