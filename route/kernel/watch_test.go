package kernel

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

const second = time.Second

// watch runs Watch until the test ends, and returns a channel that has something after notifications.
func watch(t testing.TB, table *Table) <-chan struct{} {
	t.Helper()
	notified := make(chan struct{}, 1)
	background(t, func(ctx context.Context) error {
		return table.Watch(ctx, func() {
			select {
			case notified <- struct{}{}:
			default:
			}
		})
	})
	<-notified
	return notified
}

// background runs f until the test ends.
func background(t testing.TB, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// keepApplied applies once, and then after each notification. It returns what is sent the result of each later apply.
func keepApplied(t testing.TB, table *Table, d route.Desired, notified <-chan struct{}) <-chan route.Result {
	t.Helper()
	apply(t, table, d)
	results := make(chan route.Result, 1000)
	background(t, func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-notified:
			}
			result, err := table.Apply(ctx, d)
			if err != nil {
				return err
			}
			results <- result
		}
	})
	return results
}

func TestDriftIsRepaired(t *testing.T) {
	want := routes{
		"10.1.0.0/16": r1, "10.2.0.0/16": r1 + "," + r2,
		"2001:db8:a::/48": r1v6, "2001:db8:b::/48": r1v6 + "," + r2v6,
	}
	for name, drift := range map[string]struct {
		commands []string
		repaired int
	}{
		"deleted":          {[]string{"route del 10.1.0.0/16"}, 1},
		"deleted IPv6":     {[]string{"-6 route del 2001:db8:b::/48"}, 1},
		"one hop deleted":  {[]string{"-6 route del 2001:db8:b::/48 via " + r1v6}, 1},
		"flushed":          {[]string{"route flush proto 179", "-6 route flush proto 179"}, 4},
		"changed":          {[]string{"route replace 10.2.0.0/16 via " + r2 + " proto 179 metric 200"}, 1},
		"changed IPv6":     {[]string{"-6 route replace 2001:db8:a::/48 via " + r2v6 + " proto 179 metric 200"}, 1},
		"made a blackhole": {[]string{"route replace blackhole 10.1.0.0/16 proto 179 metric 200"}, 1},
		"hop added":        {[]string{"-6 route append 2001:db8:a::/48 via " + r2v6 + " proto 179 metric 200"}, 1},
		"second route":     {[]string{"route prepend 10.1.0.0/16 via " + r2 + " proto 179 metric 200"}, 0},
		"address replaced": {[]string{"addr del 192.0.2.1/24 dev eth0", "addr add 192.0.2.1/24 dev eth0"}, -1},
		"link bounced":     {[]string{"link set eth0 down", "link set eth0 up"}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			lab(t)
			// A link that went down has lost its IPv6 address.
			nettest.Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.keep_addr_on_down=1")
			table := newTable(t)
			results := keepApplied(t, table, want.desired(), watch(t, table))
			expect(t, want)
			for _, command := range drift.commands {
				nettest.Self.IP(t, command)
			}
			nettest.Eventually(t, second, func() error { return differs(t, want) })
			repaired := 0
			nettest.Eventually(t, second, func() error {
				for len(results) > 0 {
					repaired += (<-results).Repaired
				}
				if drift.repaired >= 0 && repaired != drift.repaired {
					return fmt.Errorf("%d routes repaired, want %d", repaired, drift.repaired)
				}
				return nil
			})
		})
	}
}

// The link to one router stays down: its routes go, shared ones keep the other router; all come back with the link.
func TestLinkDownAndUp(t *testing.T) {
	ipv4 := routes{"10.1.0.0/16": r1, "10.2.0.0/16": r1 + "," + r2, "10.3.0.0/16": r2}
	ipv4Down := routes{"10.2.0.0/16": r2, "10.3.0.0/16": r2}
	for name, c := range map[string]struct {
		disableIPv6 int // without IPv6 the kernel tells of the link alone, and of no route
		want, down  routes
	}{
		"IPv4 alone": {1, ipv4, ipv4Down},
		"both": {
			0,
			union(ipv4, routes{"2001:db8:a::/48": r1v6, "2001:db8:b::/48": r1v6 + "," + r2v6}),
			union(ipv4Down, routes{"2001:db8:b::/48": r2v6}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			lab(t)
			nettest.Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.keep_addr_on_down=1",
				fmt.Sprintf("net.ipv6.conf.eth0.disable_ipv6=%d", c.disableIPv6))
			table := newTable(t)
			keepApplied(t, table, c.want.desired(), watch(t, table))
			for range 3 {
				nettest.Self.IP(t, "link set eth0 down")
				nettest.Eventually(t, second, func() error { return differs(t, c.down) })
				nettest.Self.IP(t, "link set eth0 up")
				nettest.Eventually(t, second, func() error { return differs(t, c.want) })
			}
		})
	}
}

func union(a, b routes) routes {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

// What Apply itself writes is no news.
func TestOwnChangesDoNotNotify(t *testing.T) {
	lab(t)
	table := newTable(t)
	notified := watch(t, table)
	// A new link makes events for a while.
	for calm := false; !calm; {
		select {
		case <-notified:
		case <-time.After(second):
			calm = true
		}
	}
	apply(t, table, many(2000, r1).desired())
	apply(t, table, many(2000, r1, r2).desired())
	apply(t, table, many(10, r1).desired())
	select {
	case <-notified:
		t.Error("Watch has told of our own changes")
	case <-time.After(2 * gatherBusy):
	}
	nettest.Self.IP(t, "route add 10.99.0.0/16 via "+r1)
	select {
	case <-notified:
	case <-time.After(second):
		t.Error("Watch has not told of a foreign route")
	}
}

// More events than the socket holds, since nobody reads: some are lost, and the whole table is read again.
func TestFloodOfEvents(t *testing.T) {
	lab(t)
	table := newTable(t)
	want := many(30000, r1)
	apply(t, table, want.desired())
	notified := make(chan struct{})
	background(t, func(ctx context.Context) error {
		return table.Watch(ctx, func() {
			select {
			case notified <- struct{}{}:
			case <-ctx.Done():
			}
		})
	})
	// Watch waits in its first notify until the routes are gone, and then tells again.
	nettest.Run(t, "ip", "route", "flush", "proto", "179")
	for range 2 {
		select {
		case <-notified:
		case <-time.After(second):
			t.Fatal("Watch has not told of the flood")
		}
	}
	result := apply(t, table, want.desired())
	lines := strings.Count(nettest.Self.IP(t, "-4 route show proto 179"), "\n")
	if lines != len(want) || result.Repaired != len(want) {
		t.Errorf("%d routes in the kernel after %d repairs, want %d", lines, result.Repaired, len(want))
	}
}

// many is n IPv4 routes, which take turns with the sets of next hops.
func many(n int, nextHops ...string) routes {
	r := make(routes, n)
	for i := range n {
		r[fmt.Sprintf("10.%d.%d.%d/28", i>>12, i>>4&255, i&15<<4)] = nextHops[i%len(nextHops)]
	}
	return r
}
