package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestNeighboursStayOnTheirLink: the router announces a network that the node is on too, in both families. The node goes on
// reaching its neighbour there directly, and status tells why the route is refused. An address inside that network which the
// router announces by itself is reached through the router.
func TestNeighboursStayOnTheirLink(t *testing.T) {
	const neighbour, neighbour6, moved = "203.0.113.2", "2001:db8:5::2", "203.0.113.77"
	l := NewLab(t)
	other := nettest.New(t, "other")
	nettest.Join(t, l.Node, "eth1", []string{"2001:db8:5::1/64"}, other, "eth0", []string{neighbour + "/24", neighbour6 + "/64"})
	for ns, lines := range map[nettest.NS][]string{
		// As systemd-networkd does with an address from DHCP. The kernel gives metric 256 to IPv6.
		l.Node: {
			"addr add 203.0.113.1/24 dev eth1 noprefixroute", "route add 203.0.113.0/24 dev eth1 src 203.0.113.1 proto dhcp metric 1024",
			"addr add 2001:db8:2::2/64 dev eth0 nodad",
		},
		l.Router: {"addr add 2001:db8:2::1/64 dev fabric nodad", "addr add " + moved + "/32 dev lo"},
	} {
		for _, line := range lines {
			ns.IP(t, line)
		}
	}
	nettest.StartBIRD(t, l.Router, strings.Replace(routerBIRD("ipv6 { import all; export where source = RTS_STATIC; };"), "protocol bfd", `
protocol static { ipv4; route 203.0.113.0/24 blackhole; route `+moved+`/32 blackhole; }
protocol static { ipv6; route 2001:db8:5::/64 blackhole; }
protocol bfd`, 1))
	l.Speak(t)
	l.Accept(t, `{prefix: 0.0.0.0/0, minLength: 8}, {prefix: "::/0", minLength: 16}`)
	l.Agent(t)
	nettest.Eventually(t, 20*time.Second, func() error {
		s, err := l.Status(t)
		if err != nil {
			return err
		}
		for _, network := range []string{"203.0.113.0/24", "2001:db8:5::/64"} {
			if !strings.Contains(fmt.Sprint(s.Routes.Refused), "{"+network+" is a network this node is connected to}") {
				return fmt.Errorf("refused: %v, want %s too", s.Routes.Refused, network)
			}
		}
		return nil
	})
	for _, address := range []string{neighbour, neighbour6, moved} {
		nettest.Eventually(t, 5*time.Second, func() error {
			_, err := l.Node.Try("ping", "-c1", "-W1", address)
			return err
		})
	}
}

// TestReflectorBehindARouter: the way to a reflector's loopback address is a host route that the router announces; the node
// has no other, but for a default route that leads elsewhere.
func TestReflectorBehindARouter(t *testing.T) {
	const reflector = "203.0.113.9"
	l := NewLab(t)
	nowhere := nettest.New(t, "nowhere")
	nettest.Join(t, l.Node, "eth1", []string{"198.51.100.1/24"}, nowhere, "eth0", []string{"198.51.100.2/24"})
	l.Node.IP(t, "route add default via 198.51.100.2")
	l.Host.IP(t, "addr add "+reflector+"/32 dev lo")
	l.Router.IP(t, "route add "+reflector+"/32 via "+hostAddr)
	nettest.StartBIRD(t, l.Router, strings.Replace(routerBIRD(""), "protocol bfd", `
protocol static { ipv4; route `+reflector+`/32 via `+hostAddr+`; }
protocol bfd`, 1))
	nettest.StartBIRD(t, l.Host, `
router id `+reflector+`;
protocol device {}
protocol static { ipv4; route 192.0.2.128/25 unreachable; }
protocol bgp node {
  local `+reflector+` as 64512; neighbor `+nodeAddr+` as 64513; multihop 3;
  connect delay time 1; error wait time 1, 2;
  ipv4 { import all; export filter { bgp_next_hop = `+routerAddr+`; accept; }; };
}
`)
	l.Speak(t)
	l.Accept(t, "{prefix: 0.0.0.0/0, minLength: 8}")
	l.Write(t, "reflector.yaml", `
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: reflector}
spec: {address: `+reflector+`, asn: 64512, multihop: {ttl: 3}, timers: {hold: 9s, connectRetry: 1s}}
`)
	l.Agent(t)
	up := func() error {
		s, err := l.Status(t)
		if err == nil && (len(s.Peers) != 2 || s.Routes.RefusedN > 0 ||
			slices.ContainsFunc(s.Peers, func(p agent.PeerStatus) bool { return p.State != bgp.Established })) {
			err = fmt.Errorf("peers %+v, refused %v", s.Peers, s.Routes.Refused)
		}
		return err
	}
	nettest.Eventually(t, 30*time.Second, up)
	nettest.Eventually(t, 5*time.Second, func() error { return routeAt(l.Node, "192.0.2.128/25", true) })
}
