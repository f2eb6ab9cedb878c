package kernel

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// inherit has an earlier process leave routes behind.
func inherit(t *testing.T, left routes) {
	t.Helper()
	crashed := newTable(t)
	apply(t, crashed, left.desired())
	crashed.Close()
}

// While peers have not told all yet, what an earlier process has left stays until it has been wanted. What has been wanted
// and is withdrawn goes at once, whoever had added it.
func TestSettling(t *testing.T) {
	for _, watched := range []bool{false, true} {
		t.Run(fmt.Sprintf("watched=%v", watched), func(t *testing.T) {
			lab(t)
			inherit(t, routes{"10.1.0.0/16": r1, "10.2.0.0/16": r1 + "," + r2, "2001:db8:a::/48": r1v6 + "," + r2v6})
			table := newTable(t)
			if watched {
				watch(t, table)
			}
			// One is wanted as it is, one is new.
			result := apply(t, table, routes{"10.2.0.0/16": r1 + "," + r2, "10.3.0.0/16": r1}.settling())
			expectResult(t, result, route.Result{Installed: 4, Added: 1})
			// One moves, one is new, one is withdrawn.
			result = apply(t, table, routes{"10.2.0.0/16": r2, "2001:db8:b::/48": r1v6}.settling())
			expectResult(t, result, route.Result{Installed: 4, Added: 1, Changed: 1, Removed: 1})
			// All are withdrawn, also what was inherited and then wanted.
			result = apply(t, table, routes{}.settling())
			expect(t, routes{"10.1.0.0/16": r1, "2001:db8:a::/48": r1v6 + "," + r2v6})
			expectResult(t, result, route.Result{Installed: 2, Removed: 2})

			result = apply(t, table, routes{"10.1.0.0/16": r1}.desired())
			expect(t, routes{"10.1.0.0/16": r1})
			expectResult(t, result, route.Result{Installed: 1, Removed: 1})
		})
	}
}

// The metric changes while peers have not told all yet: a route that is wanted moves, one that was wanted goes, and one that
// was never wanted stays where it is.
func TestMetricChangesWhileSettling(t *testing.T) {
	lab(t)
	inherit(t, routes{"10.1.0.0/16": r1, "10.2.0.0/16": r1, "10.3.0.0/16": r1})
	table := newTable(t)
	apply(t, table, routes{"10.2.0.0/16": r1, "10.3.0.0/16": r1}.settling())
	moved := routes{"10.2.0.0/16": r1}.settling()
	moved.Metric = metric + 1
	result := apply(t, table, moved)
	expect(t, routes{"10.1.0.0/16": r1, "10.2.0.0/16": r1})
	expectResult(t, result, route.Result{Installed: 2, Added: 1, Removed: 2})
	if have := nettest.Self.IP(t, "route show 10.2.0.0/16 metric 201"); have == "" {
		t.Error("the route has not moved to its new metric")
	}
}

// Ever new next hops that cannot be reached come and go: what is remembered of them stays bounded.
func TestNextHopsAreForgotten(t *testing.T) {
	lab(t)
	table := newTable(t)
	watch(t, table)
	next := netip.MustParseAddr(unreachableHop)
	for range 5 {
		d := routes{}.desired()
		d.Routes = func(yield func(netip.Prefix, []netip.Addr) bool) {
			for i := range maxPlans / 2 {
				next = next.Next()
				if !yield(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24), []netip.Addr{next}) {
					return
				}
			}
		}
		if result := apply(t, table, d); result.RefusedN != maxPlans/2 {
			t.Fatalf("%d routes refused, want %d", result.RefusedN, maxPlans/2)
		}
	}
	if n := len(table.plans.known); n > maxPlans {
		t.Errorf("%d sets of next hops are remembered, want at most %d", n, maxPlans)
	}
}
