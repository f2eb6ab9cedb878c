package tunnel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// watch runs Watch until the test ends, and returns a channel that has something after notifications.
func watch(t testing.TB, k *Kernel) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	notified := make(chan struct{}, 1)
	var running sync.WaitGroup
	running.Go(func() {
		err := k.Watch(ctx, func() {
			select {
			case notified <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	<-notified
	return notified
}

// Whatever somebody else takes away or alters is told and repaired within a second.
func TestDriftIsRepaired(t *testing.T) {
	for name, drift := range map[string][]string{
		"device deleted":          {"link del waymark7001"},
		"device down":             {"link set waymark7001 down"},
		"device down and up":      {"link set waymark7001 down", "link set waymark7001 up"},
		"MTU":                     {"link set waymark7001 mtu 1300"},
		"MAC address":             {"link set waymark7001 address 02:00:00:00:00:01"},
		"other tunnel":            {"link del waymark7001", "link add waymark7001 type vxlan id 7001 dstport 4789 dev eth0", "link set waymark7001 up"},
		"address":                 {"addr del 169.254.179.1/32 dev waymark7001"},
		"rule":                    {"rule del fwmark 0x100000/0x3ff00000"},
		"rules":                   {"rule flush", "rule add lookup main priority 32766", "rule add lookup default priority 32767"},
		"IPv6 rules":              {"-6 rule flush", "-6 rule add lookup main priority 32766"},
		"rule to go to":           {"rule del priority 180"},
		"path's route":            {"route del default table 1790001 metric 1"},
		"path's IPv6 route":       {"-6 route del default table 1790002 metric 1"},
		"path's blackhole":        {"route del blackhole default table 1790001"},
		"path leads elsewhere":    {"route replace default via 198.51.100.254 table 1790001 metric 1 proto 180"},
		"exit's route":            {"route del 198.51.100.240"},
		"exit's IPv6 route":       {"-6 route del 2001:db8:100::240"},
		"all routes":              {"route flush proto 180 table all", "-6 route flush proto 180 table all"},
		"neighbour":               {"neigh del 192.0.2.11 dev waymark7001"},
		"neighbour with another":  {"neigh replace 192.0.2.11 dev waymark7001 lladdr 02:00:00:00:00:01"},
		"IPv6 neighbours":         {"-6 neigh flush dev waymark7001 nud all"},
		"node's address is moved": {"addr del 198.51.100.1/24 dev eth0", "addr add 198.51.100.1/24 dev eth0", "route add default via 198.51.100.254"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1500)
			l.apply(t, owner())
			notified := watch(t, l.kernel)
			before := everything(t, nettest.Self)
			for _, line := range drift {
				nettest.Self.IP(t, line)
			}
			l.repairs(t, notified, before)
		})
	}
	for name, command := range map[string][]string{
		"forwarding entry":              {"bridge", "fdb", "del", "02:57:c0:00:02:0b", "dev", "waymark7001"},
		"forwarding entry with another": {"bridge", "fdb", "replace", "02:57:c0:00:02:0b", "dev", "waymark7001", "dst", "192.0.2.77"},
		"proxy":                         {"ip", "neigh", "del", "proxy", "198.51.100.240", "dev", "eth0"},
		"IPv6 proxy":                    {"ip", "neigh", "del", "proxy", "2001:db8:100::240", "dev", "eth0"},
		"proxy_ndp":                     {"sysctl", "-qw", "net.ipv6.conf.eth0.proxy_ndp=0"},
		"rp_filter":                     {"sysctl", "-qw", "net.ipv4.conf.waymark7001.rp_filter=1"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1500)
			l.apply(t, owner())
			notified := watch(t, l.kernel)
			before := everything(t, nettest.Self)
			nettest.Run(t, command[0], command[1:]...)
			l.repairs(t, notified, before)
		})
	}
}

// repairs applies after each notification until the namespace is what it was.
func (l *lab) repairs(t *testing.T, notified <-chan struct{}, before string) {
	t.Helper()
	deadline := time.After(second)
	for {
		select {
		case <-deadline:
			t.Fatal(difference(before, everything(t, nettest.Self)))
		case <-notified:
		}
		result, err := l.kernel.Apply(t.Context(), owner())
		if err != nil {
			continue // the node's address may be missing
		}
		if differs(before, everything(t, nettest.Self)) == nil {
			if !result.Repaired {
				t.Error("Apply does not say that it has repaired something")
			}
			return
		}
	}
}

// differs compares without the numbers that a device or an address has when it is made again.
func differs(before, after string) error {
	if sorted(before) != sorted(after) {
		return errors.New(difference(before, after))
	}
	return nil
}

// What Apply itself writes is no news, nor is what concerns others.
func TestOwnChangesDoNotNotify(t *testing.T) {
	l := newLab(t, 1500)
	notified := watch(t, l.kernel)
	l.apply(t, owner())
	for i := range 50 {
		nettest.Self.IP(t, fmt.Sprintf("route add 10.%d.0.0/16 via 198.51.100.254 proto 179", i))
	}
	nettest.Self.IP(t, "rule add fwmark 0x7 lookup 77 priority 77")
	t.Cleanup(func() { nettest.Self.IP(t, "rule del priority 77") })
	nettest.Self.IP(t, "neigh add 198.51.100.9 lladdr 02:00:00:00:00:09 dev eth0")
	l.apply(t, source(node4, one4))
	select {
	case <-notified:
		t.Error("Watch has told of our own changes, or of others'")
	case <-time.After(2 * gatherBusy):
	}
}

// The MTU of tunnels follows that of the underlay.
func TestUnderlayChanges(t *testing.T) {
	l := newLab(t, 1500)
	l.apply(t, owner())
	notified := watch(t, l.kernel)
	nettest.Self.IP(t, "link set eth0 mtu 1400")
	select {
	case <-notified:
	case <-time.After(second):
		t.Fatal("Watch has not told of it")
	}
	l.apply(t, owner())
	if mtu, err := os.ReadFile("/sys/class/net/waymark7001/mtu"); err != nil || string(mtu) != "1350\n" {
		t.Errorf("MTU %s, %v", mtu, err)
	}
}

// A node whose address is missing keeps its tunnels, and says what is missing.
func TestWithoutTheNodesAddress(t *testing.T) {
	l := newLab(t, 1500)
	l.apply(t, source(node4, one4))
	nettest.Self.IP(t, "addr del "+node4+"/24 dev eth0")
	if under, err := l.kernel.Underlay(addresses(node4)); err != nil || under != (route.Underlay{}) {
		t.Errorf("underlay %+v, %v", under, err)
	}
	if _, err := l.kernel.Apply(t.Context(), source(node4, one4, two4)); err == nil {
		t.Error("tunnels without an address")
	}
	if _, err := os.Stat("/sys/class/net/waymark7001"); err != nil {
		t.Error(err)
	}
	if result := l.apply(t, route.Tunnels{Local: addresses(node4)}); !result.Changed {
		t.Error("what is no longer wanted stays")
	}
}
