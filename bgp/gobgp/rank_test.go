package gobgp

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// The node's three speakers each have a link of their own to the router, so that it takes them for three nodes.
var (
	nodeAddresses   = []string{"192.0.2.1", "198.51.100.1", "203.0.113.1"}
	routerAddresses = []string{"192.0.2.2", "198.51.100.2", "203.0.113.2"}
	egress4         = netip.MustParsePrefix("10.9.9.9/32")
	egress6         = netip.MustParsePrefix("2001:db8:9::9/128")
)

func rankLab(t *testing.T) nettest.NS {
	t.Helper()
	ns := nettest.New(t, "router")
	for i := range nodeAddresses {
		dev := fmt.Sprintf("eth%d", i)
		nettest.Join(t, nettest.Self, dev, []string{nodeAddresses[i] + "/24", fmt.Sprintf("2001:db8:%d::1/64", i+1)},
			ns, dev, []string{routerAddresses[i] + "/24", fmt.Sprintf("2001:db8:%d::2/64", i+1)})
	}
	return ns
}

// rankedSpeaker is the speaker of node i.
func rankedSpeaker(t *testing.T, i int, asn uint32, announce ...bgp.Announcement) (*Speaker, bgp.Config) {
	t.Helper()
	c := speakerConfig()
	c.RouterID = netip.MustParseAddr(nodeAddresses[i])
	c.ListenPort = 0 // another one may have it
	c.GracefulRestart.Enabled = false
	c.Peers[0].Address = netip.MustParseAddr(routerAddresses[i])
	c.Peers[0].ASN = asn
	c.Peers[0].AllowOwnAS = 1
	c.Announce = announce
	return speak(t, c), c
}

func egress(rank uint8) []bgp.Announcement {
	return []bgp.Announcement{{Prefix: egress4, Rank: rank}, {Prefix: egress6, Rank: rank}}
}

// best tells the next hop, or the node, of a router's best route to the egress addresses.
type best func(prefix netip.Prefix) (next string, err error)

func rankFRR(t *testing.T, ns nettest.NS, asn uint32) best {
	var b strings.Builder
	fmt.Fprintf(&b, "router bgp %d\n bgp router-id 192.0.2.254\n no bgp ebgp-requires-policy\n", asn)
	for _, n := range nodeAddresses {
		fmt.Fprintf(&b, " neighbor %s remote-as 64513\n neighbor %[1]s timers connect 1\n neighbor %[1]s advertisement-interval 0\n", n)
	}
	for _, family := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&b, " address-family %s unicast\n", family)
		for _, n := range nodeAddresses {
			fmt.Fprintf(&b, "  neighbor %s activate\n", n)
		}
		b.WriteString(" exit-address-family\n")
	}
	r := nettest.StartFRR(t, ns, false, b.String()+"exit\n")
	return func(prefix netip.Prefix) (string, error) {
		var entry struct {
			Paths []struct {
				Bestpath struct{ Overall bool }
				Peer     struct{ PeerID string }
			}
		}
		if err := r.JSON(fmt.Sprintf("show bgp %s unicast %s json", familyOf(prefix.String()), prefix), &entry); err != nil {
			return "", err
		}
		for _, p := range entry.Paths {
			if p.Bestpath.Overall {
				return p.Peer.PeerID, nil
			}
		}
		return "", nil
	}
}

var birdBest = regexp.MustCompile(`\[node(\d) `)

func rankBIRD(t *testing.T, ns nettest.NS, asn uint32) best {
	var b strings.Builder
	b.WriteString("router id 192.0.2.254;\nprotocol device {}\n")
	for i, n := range nodeAddresses {
		fmt.Fprintf(&b, `protocol bgp node%d { local %s as %d; neighbor %s as 64513; connect delay time 1; connect retry time 1;
			ipv4 { import all; export all; }; ipv6 { import all; export all; }; }
`, i, routerAddresses[i], asn, n)
	}
	r := nettest.StartBIRD(t, ns, b.String())
	return func(prefix netip.Prefix) (string, error) {
		out, err := r.Birdc("show route primary for " + prefix.String())
		if m := birdBest.FindStringSubmatch(out); m != nil {
			return nodeAddresses[m[1][0]-'0'], nil
		}
		if strings.Contains(out, "Network not found") {
			err = nil
		}
		return "", err
	}
}

func is(route best, want string) func() error {
	return func() error {
		for _, prefix := range []netip.Prefix{egress4, egress6} {
			if next, err := route(prefix); err != nil || next != want {
				return fmt.Errorf("best route to %s is %q (%w), want %s", prefix, next, err, want)
			}
		}
		return nil
	}
}

// never collects the moments at which the router had no route at all.
func never(t *testing.T, route best) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var polling sync.WaitGroup
	polls, lost := 0, 0
	polling.Go(func() {
		for ; ctx.Err() == nil; polls++ {
			for _, prefix := range []netip.Prefix{egress4, egress6} {
				if next, err := route(prefix); err != nil || next == "" {
					lost++
				}
			}
		}
	})
	return func() {
		t.Helper()
		cancel()
		polling.Wait()
		if polls == 0 || lost > 0 {
			t.Errorf("the router had no route %d times in %d polls", lost, polls)
		}
	}
}

// The router prefers the node with rank 0, and follows when two nodes swap their ranks, without a moment without a route and
// without a new session.
func TestRank(t *testing.T) {
	for name, router := range map[string]func(*testing.T, nettest.NS, uint32) best{"FRR": rankFRR, "BIRD": rankBIRD} {
		for kind, asn := range map[string]uint32{"eBGP": 64512, "iBGP": 64513} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				route := router(t, rankLab(t), asn)
				first, firstConfig := rankedSpeaker(t, 0, asn, egress(0)...)
				second, secondConfig := rankedSpeaker(t, 1, asn, egress(1)...)
				nettest.Eventually(t, patience, is(route, nodeAddresses[0]))
				for _, s := range []*Speaker{first, second} {
					nettest.Eventually(t, patience, peerState(s, func(p bgp.PeerState) bool { return p.State == bgp.Established }))
				}
				since := []time.Time{first.Peers()[0].Since, second.Peers()[0].Since}
				for i := range 4 {
					stop := never(t, route)
					ranks := []uint8{1, 0}
					if i%2 == 1 {
						slices.Reverse(ranks)
					}
					firstConfig.Announce, secondConfig.Announce = egress(ranks[0]), egress(ranks[1])
					apply(t, first, firstConfig)
					apply(t, second, secondConfig)
					nettest.Eventually(t, patience, is(route, nodeAddresses[slices.Index(ranks, 0)]))
					stop()
				}
				for i, s := range []*Speaker{first, second} {
					if p := s.Peers()[0]; p.Flaps > 0 || p.Since != since[i] {
						t.Errorf("the session of node %d was reset: %+v", i, p)
					}
				}
			})
		}
	}
}

// What the router is told, in numbers.
func TestRankAttributes(t *testing.T) {
	med, preference, one := uint32(7), uint32(200), uint32(1)
	for _, tt := range []struct {
		name       string
		asn        uint32
		attributes bgp.Attributes
		rank       uint8
		want       route
	}{
		{"eBGP first", 64512, bgp.Attributes{MED: &med, Prepend: 1}, 0, route{ASPath: "64513 64513", MED: 7}},
		{"eBGP", 64512, bgp.Attributes{}, 2, route{ASPath: "64513 64513 64513", MED: 20}},
		{"eBGP on top", 64512, bgp.Attributes{MED: &med, Prepend: 1}, 2, route{ASPath: "64513 64513 64513 64513", MED: 27}},
		{"iBGP first", 64513, bgp.Attributes{}, 0, route{ASPath: "Local", LocalPref: 100}},
		{"iBGP", 64513, bgp.Attributes{}, 2, route{ASPath: "Local", LocalPref: 98, MED: 20}},
		{"iBGP on top", 64513, bgp.Attributes{MED: &med, LocalPreference: &preference}, 2, route{ASPath: "Local", LocalPref: 198, MED: 27}},
		{"iBGP not zero", 64513, bgp.Attributes{LocalPreference: &one}, 2, route{ASPath: "Local", LocalPref: 1, MED: 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := direct()
			config.ASN, config.NeighborAS = tt.asn, 64513
			r := startFRR(t, segment(t), config)
			c := speakerConfig()
			c.Peers[0].ASN, c.Peers[0].Attributes = tt.asn, tt.attributes
			c.Announce = append(c.Announce, egress(tt.rank)...)
			speak(t, c)
			for prefix, next := range map[netip.Prefix]string{egress4: "192.0.2.1", egress6: "2001:db8::1"} {
				want := tt.want
				want.NextHop = next
				nettest.Eventually(t, patience, wantRoute(r, prefix.String(), want))
			}
			// The others are as they were.
			plain := tt.attributes
			other, err := r.route("10.1.0.0/24")
			if err != nil || other == nil || plain.MED == nil && other.MED != 0 || strings.Count(other.ASPath, "64513") > 1+int(plain.Prepend) {
				t.Errorf("10.1.0.0/24 at the router: %+v, %v", other, err)
			}
		})
	}
}

// Another node with the same AS learns the owner's path. The path of a gateway with a worse rank bears the AS too often for
// AllowOwnAS 1; when it is the only one left, the node must not keep the one of the dead owner.
func TestRankAtOtherNodes(t *testing.T) {
	for name, router := range map[string]func(*testing.T, nettest.NS, uint32) best{"FRR": rankFRR, "BIRD": rankBIRD} {
		t.Run(name, func(t *testing.T) {
			route := router(t, rankLab(t), 64512)
			owner, _ := rankedSpeaker(t, 0, 64512, bgp.Announcement{Prefix: egress4})
			rankedSpeaker(t, 1, 64512, bgp.Announcement{Prefix: egress4, Rank: 1})
			other, _ := rankedSpeaker(t, 2, 64512)
			nettest.Eventually(t, patience, learns(other, "10.9.9.9/32 via "+nextHopOf[name]))
			if err := owner.Stop(context.Background(), false); err != nil {
				t.Fatal(err)
			}
			nettest.Eventually(t, patience, func() error {
				next, err := route(egress4)
				if err != nil || next != nodeAddresses[1] {
					return fmt.Errorf("best route is %q (%w)", next, err)
				}
				return nil
			})
			nettest.Eventually(t, patience, learns(other))
		})
	}
}

// nextHopOf is the next hop of a route that a router passes on: itself, since it and the nodes are no neighbours of each other.
var nextHopOf = map[string]string{"FRR": "203.0.113.2", "BIRD": "203.0.113.2"}
