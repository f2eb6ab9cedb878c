package tunnel

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// everything is a namespace's state as far as anybody could have changed it, without what changes by itself.
func everything(t testing.TB, ns nettest.NS) string {
	t.Helper()
	return volatile.ReplaceAllString(ns.Run(t, "sh", "-c", `
		ip -d link; ip addr
		ip rule; ip -6 rule
		ip route show table all; ip -6 route show table all
		ip neigh show proxy; ip -6 neigh show proxy; ip neigh show nud permanent; ip -6 neigh show nud permanent
		bridge fdb
		for dev in eth0 default all; do
			grep -Hs . /proc/sys/net/ipv4/conf/$dev/* /proc/sys/net/ipv6/conf/$dev/* | grep -v stable_secret
			grep -Hs . /proc/sys/net/ipv4/neigh/$dev/* /proc/sys/net/ipv6/neigh/$dev/*
		done
		nft list ruleset`), "")
}

var volatile = regexp.MustCompile(`(?m) qlen \d+| expires \d+sec|valid_lft \d+sec`)

// owner is a node with all there is: paths, exits with and without a partner, addresses that it owns.
func owner() route.Tunnels {
	t := source(node4, one4, two4)
	t.Gateways = append(t.Gateways, addresses(node4)...)
	own4, own6 := addresses("198.51.100.240")[0], addresses("2001:db8:100::240")[0]
	t.Exits = []route.TunnelExit{
		{VNI: 8001},
		{VNI: 8002, Address: own4, Partner: addresses(two4)[0], Owns: true},
		{VNI: 8003, Address: own6, Owns: true},
		{VNI: 8004, Address: addresses("203.0.113.1")[0], Owns: true}, // on no network of the node
	}
	return t
}

// Without tunnels the namespace is what it was before, whoever has made them.
func TestNothingIsLeftBehind(t *testing.T) {
	for name, sweep := range map[string]func(l *lab) *Kernel{
		"by who made it":     func(l *lab) *Kernel { return l.kernel },
		"by a later process": func(l *lab) *Kernel { return New(l.state, sysctlNet) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1500)
			// Others have what looks like ours.
			for _, line := range []string{
				"link add waymarked type vxlan id 9 dstport 8479 nolearning",
				"rule add fwmark 0x5 lookup 1790005 priority 179",
				"route add default via 198.51.100.254 table 1790005",
				"route add 203.0.113.0/24 via 198.51.100.254 proto 179",
				"neigh add proxy 198.51.100.77 dev eth0",
			} {
				nettest.Self.IP(t, line)
			}
			t.Cleanup(func() {
				nettest.Self.IP(t, "link del waymarked")
				nettest.Self.IP(t, "rule del priority 179")
				nettest.Self.IP(t, "route flush table 1790005")
			})
			nettest.Run(t, "sysctl", "-qw", "net.ipv4.neigh.eth0.proxy_delay=17")
			before := everything(t, nettest.Self)
			l.apply(t, owner())
			if result := l.apply(t, owner()); result.Changed {
				t.Error("applying the same again changes something")
			}
			between := everything(t, nettest.Self)
			for _, want := range []string{
				"waymark7001:", "waymark8004:", "default via 192.0.2.11 dev waymark7001 table 1790001 proto 180 metric 1 onlink",
				"198.51.100.240 via 192.0.2.12 dev waymark8002 proto 180 onlink", "203.0.113.1 dev waymark8004 proto 180 scope link",
				"198.51.100.240 dev eth0 proxy proto 180", "2001:db8:100::240 dev eth0 proxy proto 180", "proxy_delay:0", "eth0/proxy_ndp:1",
			} {
				if !strings.Contains(between, want) {
					t.Errorf("%q is not in the state", want)
				}
			}
			k := sweep(l)
			defer k.Close()
			if _, err := k.Apply(t.Context(), route.Tunnels{}); err != nil {
				t.Fatal(err)
			}
			if after := everything(t, nettest.Self); after != before {
				t.Error(difference(before, after))
			}
			if _, err := os.Stat(l.state); !os.IsNotExist(err) {
				t.Errorf("the file of old sysctls: %v", err)
			}
		})
	}
}

func difference(before, after string) string {
	had, has := strings.Split(before, "\n"), strings.Split(after, "\n")
	var b strings.Builder
	for _, side := range []struct {
		sign      string
		all, less []string
	}{{"-", had, has}, {"+", has, had}} {
		known := map[string]bool{}
		for _, line := range side.less {
			known[line] = true
		}
		for _, line := range side.all {
			if !known[line] {
				fmt.Fprintf(&b, "%s%s\n", side.sign, line)
			}
		}
	}
	return "the namespace has changed:\n" + b.String()
}

var numbers = regexp.MustCompile(`(?m)^\d+: |@if\d+`)

// sorted is a state without the order and the numbers of what has been made.
func sorted(state string) string {
	lines := strings.Split(numbers.ReplaceAllString(state, ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
