package nattest

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

// The addresses of the lab for egress gateways. The test process is the node of the pods again.
const (
	remote4, remote6 = "10.244.2.2", "fd00:2::2" // a pod on the first gateway
	egress4, egress6 = "192.0.2.100", "2001:db8:e::100"
	second4, second6 = "192.0.2.101", "2001:db8:e::101"
	stranger4        = "10.1.9.2"
	tunnelPort       = 8479
	tunnelPrefix     = "waymark"
	tunnelMTU        = 1400
	firstPort        = 20000 // of those that gateways give out, each half of them
	lastPort         = 59999
)

// The VNIs of the egress addresses. Each names the exit's mark, too; the path's mark is the sum of VNI and gateway.
const (
	vni4, vni6             = 0x10, 0x20
	vniSecond4, vniSecond6 = 0x30, 0x40
	vniNode                = 0x150 // bits in many places; no address: the gateway's own
)

var egressOf = map[int]string{vni4: egress4, vni6: egress6, vniSecond4: second4, vniSecond6: second6, vniNode: ""}

// member is a node of the lab: the node of the pods is number 0, the gateways are 1 and 2.
type member struct {
	nettest.NS
	number  int
	backend Backend
}

func (m member) addr4() string { return fmt.Sprintf("10.1.%d.2", m.number) }
func (m member) addr6() string { return fmt.Sprintf("fd10:1:%d::2", m.number+1) }

// link4, link6 and mac are on tunnel devices.
func (m member) link4() string { return fmt.Sprintf("169.254.1.%d", m.number+1) }
func (m member) link6() string { return fmt.Sprintf("fe80::%d", m.number+1) }
func (m member) mac() string   { return fmt.Sprintf("02:00:00:00:00:%02d", m.number+1) }

// gatewayLab has nodes in subnets of their own around a router, with a host outside, a pod on the first gateway and a stranger that
// is no node. Tunnels lead from the node of the pods to both gateways, and between these.
type gatewayLab struct {
	Lab
	remote, router, stranger nettest.NS
	nodes                    [3]member
}

func newGatewayLab(t testing.TB, start func() Backend) *gatewayLab {
	t.Helper()
	l := &gatewayLab{
		Lab:    Lab{Pod: nettest.New(t, "pod"), Neighbour: nettest.New(t, "neighbour"), Outside: nettest.New(t, "outside")},
		remote: nettest.New(t, "remote"), router: nettest.New(t, "router"), stranger: nettest.New(t, "stranger"),
		nodes: [3]member{{NS: nettest.Self}, {NS: nettest.New(t, "gateway1"), number: 1}, {NS: nettest.New(t, "gateway2"), number: 2}},
	}
	t.Cleanup(func() { Flush(t) })
	join := func(near nettest.NS, dev, near4, near6 string, far nettest.NS, far4, far6 string) {
		nettest.Join(t, near, dev, []string{near4, near6}, far, "eth0", []string{far4, far6})
		far.IP(t, "route add default via "+bare(near4))
		far.IP(t, "route add default via "+bare(near6))
	}
	for i := range l.nodes {
		n := &l.nodes[i]
		join(l.router, fmt.Sprint("node", i), fmt.Sprintf("10.1.%d.1/24", i), fmt.Sprintf("fd10:1:%d::1/64", i+1), n.NS, n.addr4()+"/24", n.addr6()+"/64")
		l.router.IP(t, fmt.Sprintf("route add 10.244.%d.0/24 via %s", i+1, n.addr4()))
		l.router.IP(t, fmt.Sprintf("route add fd00:%d::/64 via %s", i+1, n.addr6()))
		l.restart(t, i, start)
	}
	join(l.router, "outside", "10.1.8.1/24", "fd10:1:8::1/64", l.Outside, "10.1.8.2/24", "fd10:1:8::2/64")
	join(l.router, "stranger", "10.1.9.1/24", "fd10:1:9::1/64", l.stranger, stranger4+"/24", "fd10:1:9::2/64")
	join(nettest.Self, "pod", "10.244.1.1/25", "fd00:1::1/80", l.Pod, Pod4+"/25", Pod6+"/80")
	join(nettest.Self, "neighbour", "10.244.1.129/25", "fd00:1::1:0:0:1/80", l.Neighbour, Neighbour4+"/25", Neighbour6+"/80")
	join(l.nodes[1].NS, "pod", "10.244.2.1/24", "fd00:2::1/64", l.remote, remote4+"/24", remote6+"/64")
	for _, addr := range []string{Outside4, Outside6, Elsewhere4, Elsewhere6} {
		via, flags := " via 10.1.8.2", ""
		if strings.Contains(addr, ":") {
			via, flags = " via fd10:1:8::2", " nodad"
		}
		l.Outside.IP(t, "addr add "+addr+" dev lo"+flags)
		l.router.IP(t, "route add "+addr+via)
		tell(t, l.Outside, addr, netip.AddrPort.String)
	}
	for vni := range egressOf {
		l.addTunnels(t, vni)
	}
	l.own(t, 1)
	// A new link drops packets until the kernel's link watch has seen its carrier, which takes seconds on a busy machine.
	for _, ns := range []nettest.NS{l.Pod, l.Neighbour, l.remote, l.nodes[2].NS} {
		for _, addr := range []string{Outside4, Outside6} {
			nettest.Eventually(t, 30*time.Second, func() error {
				_, err := Seen(ns, "udp", "", addr)
				return err
			})
		}
	}
	nettest.Run(t, "conntrack", "-F")
	return l
}

// restart gives a node a backend as a process that has just started would have it.
func (l *gatewayLab) restart(t testing.TB, number int, start func() Backend) {
	t.Helper()
	backend, err := Inside(l.nodes[number].NS, func() (Backend, error) { return start(), nil })
	if err != nil {
		t.Fatal(err)
	}
	l.nodes[number].backend = backend
}

// addTunnels makes the devices of one egress address on all nodes, and the paths on the node of the pods.
func (l *gatewayLab) addTunnels(t testing.TB, vni int) {
	t.Helper()
	dev := fmt.Sprint(tunnelPrefix, vni)
	for _, n := range l.nodes {
		n.IP(t, fmt.Sprintf("link add %s address %s mtu %d type vxlan id %d dstport %d local %s nolearning", dev, n.mac(), tunnelMTU, vni, tunnelPort, n.addr4()))
		n.IP(t, "addr add "+n.link4()+"/32 dev "+dev)
		n.IP(t, "addr add "+n.link6()+"/128 dev "+dev)
		n.IP(t, "link set "+dev+" up")
		n.Run(t, "sysctl", "-qw", "net.ipv4.conf."+dev+".rp_filter=2")
		for _, other := range l.nodes {
			if other.number == n.number {
				continue
			}
			n.Run(t, "bridge", "fdb", "append", other.mac(), "dev", dev, "dst", other.addr4())
			n.IP(t, "neigh add "+other.link4()+" lladdr "+other.mac()+" nud permanent dev "+dev)
			n.IP(t, "neigh add "+other.link6()+" lladdr "+other.mac()+" nud permanent dev "+dev)
		}
	}
	self := l.nodes[0]
	t.Cleanup(func() { self.IP(t, "link del "+dev) })
	for _, gateway := range l.nodes[1:] {
		mark := int(mark(vni, gateway.number))
		for _, family := range []string{"-4", "-6"} {
			self.IP(t, fmt.Sprintf("%s rule add fwmark %d/%d lookup %d", family, mark<<nat.MarkShift, nat.MarkMask, 1790000+mark))
			t.Cleanup(func() {
				_, _ = self.Try("ip", family, "rule", "del", "lookup", fmt.Sprint(1790000+mark)) // a test may have done so
				self.IP(t, fmt.Sprintf("%s route flush table %d", family, 1790000+mark))
			})
		}
		self.IP(t, fmt.Sprintf("route add default via %s dev %s onlink table %d", gateway.link4(), dev, 1790000+mark))
		self.IP(t, fmt.Sprintf("route add default via %s dev %s onlink table %d", gateway.link6(), dev, 1790000+mark))
		for _, other := range l.nodes[1:] {
			self.IP(t, fmt.Sprintf("route add throw %s table %d", other.addr4(), 1790000+mark))
		}
	}
	// What a gateway does not know it hands over to the other one.
	if address := egressOf[vni]; address != "" {
		for _, n := range l.nodes[1:] {
			partner := l.nodes[3-n.number]
			via := partner.link4()
			if strings.Contains(address, ":") {
				via = partner.link6()
			}
			n.IP(t, fmt.Sprintf("route add %s via %s dev %s onlink", address, via, dev))
		}
	}
}

// own makes the router send what is for the egress addresses to a gateway.
func (l *gatewayLab) own(t testing.TB, gateway int) {
	t.Helper()
	n := l.nodes[gateway]
	for _, address := range egressOf {
		switch {
		case address == "":
		case strings.Contains(address, ":"):
			l.router.IP(t, "route replace "+address+" via "+n.addr6())
		default:
			l.router.IP(t, "route replace "+address+" via "+n.addr4())
		}
	}
}

// mark is of the path through a gateway, or with 0 of the exit.
func mark(vni, gateway int) uint16 { return uint16(vni + gateway) }

// via is a policy that sends all pods' traffic through a gateway with the addresses of the VNIs; 0: pods of the gateway itself.
func via(gateway int, vnis ...int) nat.Policy {
	p := nat.Policy{Name: "via", Source: nat.SourceGateway, Fallback: nat.SourceDrop, Destinations: Prefixes(Outside4+"/32", Outside6+"/128")}
	for _, vni := range vnis {
		path := nat.Path{Mark: mark(vni, gateway), IPv4: true, IPv6: true}
		if address := egressOf[vni]; address != "" {
			path.IPv6 = strings.Contains(address, ":")
			path.IPv4 = !path.IPv6
		}
		p.Via = append(p.Via, path)
	}
	return p
}

// plan is the plan of a node: on the gateways with all exits.
func (l *gatewayLab) plan(number int, policies ...nat.Policy) nat.Plan {
	p := nat.Plan{
		Pods:     Prefixes(fmt.Sprintf("10.244.%d.0/24", number+1), fmt.Sprintf("fd00:%d::/64", number+1)),
		Policies: policies,
		Tunnel:   nat.Tunnel{Port: tunnelPort, Prefix: tunnelPrefix, MTU: tunnelMTU},
	}
	for _, n := range l.nodes {
		p.Tunnel.Peers = append(p.Tunnel.Peers, Prefixes(n.addr4()+"/32", n.addr6()+"/128")...)
	}
	for _, n := range l.nodes[1:] {
		p.Tunnel.Gateways = append(p.Tunnel.Gateways, netip.MustParseAddr(n.addr4()), netip.MustParseAddr(n.addr6()))
	}
	if number == 0 {
		return p
	}
	for vni, address := range egressOf {
		exit := nat.Exit{Mark: mark(vni, 0), Device: fmt.Sprint(tunnelPrefix, vni), First: firstPort, Last: (firstPort + lastPort) / 2}
		if number == 2 {
			exit.First, exit.Last = exit.Last+1, lastPort
		}
		if address != "" {
			exit.Address = netip.MustParseAddr(address)
		}
		p.Exits = append(p.Exits, exit)
	}
	return p
}

// apply applies a plan on its node.
func (l *gatewayLab) apply(t testing.TB, number int, p nat.Plan) {
	t.Helper()
	n := l.nodes[number]
	if _, err := Inside(n.NS, func() (nat.Result, error) { return n.backend.Apply(context.Background(), p) }); err != nil {
		t.Fatalf("node %d: %v", number, err)
	}
}

// serve makes both gateways ready and gives the node of the pods its policies.
func (l *gatewayLab) serve(t testing.TB, policies ...nat.Policy) {
	t.Helper()
	l.apply(t, 1, l.plan(1))
	l.apply(t, 2, l.plan(2))
	l.apply(t, 0, l.plan(0, policies...))
}
