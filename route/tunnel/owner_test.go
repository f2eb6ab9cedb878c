package tunnel

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// gateway is what a gateway of the LAN has for both egress addresses.
func gateway(local, partner string, owns bool) route.Tunnels {
	var with route.TunnelExit
	if partner != "" {
		with.Partner = addresses(partner)[0]
	}
	var exits []route.TunnelExit
	for i, a := range addresses(egress4, egress6) {
		exits = append(exits, route.TunnelExit{VNI: uint32(vni + i), Address: a, Partner: with.Partner, Owns: owns})
	}
	return exit(local, exits...)
}

// hardware is the MAC address of a namespace's uplink.
func hardware(t testing.TB, ns nettest.NS) string {
	t.Helper()
	return strings.TrimSpace(ns.Run(t, "cat", "/sys/class/net/eth0/address"))
}

// resolved waits until a namespace has the MAC address for both egress addresses in its neighbour tables.
func resolved(ns nettest.NS, mac string) func() error {
	return func() error {
		for _, a := range []string{egress4, egress6} {
			if out, err := ns.Try("ip", "neigh", "show", a, "dev", "eth0"); err != nil || !strings.Contains(out, mac) {
				return fmt.Errorf("%s is not at %s: %s%w", a, mac, out, err)
			}
		}
		return nil
	}
}

// ask has a namespace ask for the address. Nobody answers the packet itself.
func ask(ns nettest.NS, a string) { _, _ = ns.Try("ping", "-n", "-c1", "-W0.2", a) }

// The owner answers for the address, and nobody else; who takes over is seen by its neighbours without being asked.
func TestOwnership(t *testing.T) {
	for _, alone := range []bool{false, true} {
		t.Run(fmt.Sprintf("alone %v", alone), func(t *testing.T) {
			l := newLab(t, 1500)
			one, two := l.gateways[one4], l.gateways[two4]
			be := func(local, partner string, owns bool) {
				t.Helper()
				if alone {
					partner = ""
				}
				l.applyAt(t, local, gateway(local, partner, owns))
			}
			be(one4, two4, false)
			be(two4, one4, false)
			for _, a := range []string{egress4, egress6} {
				ask(l.peer, a)
			}
			if err := resolved(l.peer, "lladdr")(); err == nil {
				t.Error("somebody answers for an address that nobody owns")
			}
			l.peer.IP(t, "neigh flush all")

			be(one4, two4, true)
			for _, a := range []string{egress4, egress6} {
				ask(l.peer, a)
			}
			if err := resolved(l.peer, hardware(t, one))(); err != nil {
				t.Error(err)
			}

			for range 3 {
				for _, step := range []struct {
					gateway, partner string
					ns               nettest.NS
				}{{two4, one4, two}, {one4, two4, one}} {
					// The old owner is dead and takes nothing back.
					be(step.gateway, step.partner, true)
					nettest.Eventually(t, 100*time.Millisecond, resolved(l.peer, hardware(t, step.ns)))
					be(step.partner, step.gateway, false)
					l.peer.IP(t, "neigh flush all")
					for _, a := range []string{egress4, egress6} {
						ask(l.peer, a)
					}
					if err := resolved(l.peer, hardware(t, step.ns))(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// A new owner repeats that it is, and stops when it is not any more.
func TestAnnouncementsAreRepeatedAndEnd(t *testing.T) {
	l := newLab(t, 1500)
	l.router.Run(t, "nft", `table arp test { counter seen {};
		chain input { type filter hook input priority 0; arp operation request arp saddr ip 198.51.100.240 counter name seen; }; }`)
	seen := func() string {
		return packets.FindStringSubmatch(l.router.Run(t, "nft", "reset", "counter", "arp", "test", "seen"))[1]
	}
	l.apply(t, owner())
	nettest.Eventually(t, 3*second, func() error {
		if n := packets.FindStringSubmatch(l.router.Run(t, "nft", "list", "counter", "arp", "test", "seen"))[1]; n != "4" {
			return fmt.Errorf("%s announcements", n)
		}
		return nil
	})
	l.apply(t, route.Tunnels{})
	seen()
	l.apply(t, owner())
	lost := owner()
	for i := range lost.Exits {
		lost.Exits[i].Owns = false
	}
	l.apply(t, lost)
	seen()
	time.Sleep(2500 * time.Millisecond) // as long as it would have gone on
	if n := seen(); n != "0" {
		t.Errorf("%s announcements after the address was lost", n)
	}
}

// A packet to the egress address that comes to a gateway that does not know its connection is handed over to the partner.
func TestHandOver(t *testing.T) {
	for name, gateways := range map[string][2]string{"outer IPv4": {one4, two4}, "outer IPv6": {one6, two6}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1500)
			l.applyAt(t, gateways[0], gateway(gateways[0], gateways[1], true))
			l.applyAt(t, gateways[1], gateway(gateways[1], gateways[0], false))
			partner := l.gateways[gateways[1]]
			partner.Run(t, "nft", fmt.Sprintf(`table inet test { counter seen {};
				chain prerouting { type filter hook prerouting priority mangle;
				iifname "waymark*" ip saddr %s ip daddr %s counter name seen drop;
				iifname "waymark*" ip6 saddr %s ip6 daddr %s counter name seen drop; }; }`, peer4, egress4, peer6, egress6))
			for _, a := range []string{egress4, egress6} {
				ask(l.peer, a)
				if have := counted(t, partner); have != 1 {
					t.Errorf("the partner has seen %d packets to %s, want 1", have, a)
				}
			}
		})
	}
}

// Sysctls that a crashed process has changed are put back by the next one.
func TestSysctlsSurviveACrash(t *testing.T) {
	l := newLab(t, 1500)
	const delay, ndp = "/proc/sys/net/ipv4/neigh/eth0/proxy_delay", "/proc/sys/net/ipv6/conf/eth0/proxy_ndp"
	if err := (sysctls{dir: sysctlNet}).write(settings{delay: "40"}); err != nil {
		t.Fatal(err)
	}
	l.apply(t, owner())
	later := New(l.state, sysctlNet)
	defer later.Close()
	for _, desired := range []route.Tunnels{owner(), {}} {
		if _, err := later.Apply(t.Context(), desired); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{delay: "40", ndp: "0"} {
		if have, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(have)) != want {
			t.Errorf("%s is %s, %v, want %s", file, have, err, want)
		}
	}
}
