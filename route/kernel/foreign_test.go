package kernel

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// notOurs is every route of others, to be compared before and after.
func notOurs(t testing.TB) string {
	t.Helper()
	var lines []string
	for _, family := range []string{"-4", "-6"} {
		for _, line := range strings.Split(nettest.Self.IP(t, "-o "+family+" route show table all"), "\n") {
			if !strings.Contains(line, "proto 179") {
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, "\n")
}

func reasonFor(t testing.TB, result route.Result, prefix string) string {
	t.Helper()
	i := slices.IndexFunc(result.Refused, func(r route.Refusal) bool { return r.Prefix.String() == prefix })
	if i < 0 {
		t.Fatalf("no refusal for %s in %v", prefix, result.Refused)
	}
	return result.Refused[i].Reason
}

func TestForeignRoutesAreLeftAlone(t *testing.T) {
	lab(t)
	for _, line := range []string{
		"route add 10.1.0.0/16 via " + r2 + " proto static metric 200", // the same key as ours
		"route add 10.2.0.0/16 via " + r2 + " proto static metric 100",
		"route add blackhole 10.3.0.0/16 proto bird metric 200",
		"-6 route add 2001:db8:a::/48 via " + r2v6 + " proto static metric 200",
		"-6 route add 2001:db8:b::/48 via " + r2v6 + " proto static metric 100",
		"-6 route add unreachable 2001:db8:c::/48 proto bird metric 200",
		"-6 route add 2001:db8:d::/48 proto static metric 200 nexthop via " + r1v6 + " nexthop via " + r2v6,
	} {
		nettest.Self.IP(t, line)
	}
	foreign := notOurs(t)
	table := newTable(t)
	desired := func(hop4, hop6 string) route.Desired {
		return routes{
			"10.1.0.0/16": hop4, "10.2.0.0/16": hop4, "10.3.0.0/16": hop4, "10.4.0.0/16": hop4,
			"2001:db8:a::/48": hop6, "2001:db8:b::/48": hop6, "2001:db8:c::/48": hop6, "2001:db8:d::/48": hop6,
		}.desired()
	}
	for _, hops := range [][2]string{{r1, r1v6}, {r1 + "," + r2, r1v6 + "," + r2v6}, {r2, r2v6}} {
		result := apply(t, table, desired(hops[0], hops[1]))
		expect(t, routes{"10.2.0.0/16": hops[0], "10.4.0.0/16": hops[0], "2001:db8:b::/48": hops[1]})
		for prefix, protocol := range map[string]string{
			"10.1.0.0/16": "static", "10.3.0.0/16": "bird",
			"2001:db8:a::/48": "static", "2001:db8:c::/48": "bird", "2001:db8:d::/48": "static",
		} {
			want := "the kernel has a route of another program (protocol " + protocol + ") for this prefix and metric"
			if have := reasonFor(t, result, prefix); have != want {
				t.Errorf("%s is refused because %q, want %q", prefix, have, want)
			}
		}
		if result.RefusedN != 5 {
			t.Errorf("%d refusals, want 5: %v", result.RefusedN, result.Refused)
		}
	}
	apply(t, table, routes{}.desired())
	expect(t, routes{})
	if after := notOurs(t); after != foreign {
		t.Errorf("routes of others before:\n%s\nafter:\n%s", foreign, after)
	}
}

// A route that another program puts next to ours, with the same prefix and metric, survives every change of ours.
func TestForeignRouteBesideOurs(t *testing.T) {
	for _, order := range []string{"append", "prepend"} {
		t.Run(order, func(t *testing.T) {
			lab(t)
			table := newTable(t)
			apply(t, table, routes{"10.1.0.0/16": r1, "2001:db8:a::/48": r1v6}.desired())
			nettest.Self.IP(t, "route "+order+" 10.1.0.0/16 via "+r1b+" proto static metric 200")
			nettest.Self.IP(t, "-6 route append 2001:db8:a::/48 via "+r1bv6+" proto static metric 200")
			apply(t, table, routes{"10.1.0.0/16": r2, "2001:db8:a::/48": r2v6}.desired())
			apply(t, table, routes{"10.1.0.0/16": r1 + "," + r2, "2001:db8:a::/48": r1v6 + "," + r2v6}.desired())
			apply(t, table, routes{}.desired())
			have := nettest.Self.IP(t, "-4 route show 10.1.0.0/16") + nettest.Self.IP(t, "-6 route show 2001:db8:a::/48")
			if strings.Contains(have, "proto 179") || !strings.Contains(have, r1b) || !strings.Contains(have, r1bv6) ||
				strings.Contains(have, r2) || strings.Contains(have, r2v6) {
				t.Errorf("left are:\n%s\nwant the two static routes alone", have)
			}
		})
	}
}

// Another program's route comes after the kernel has been read and before ours is written.
func TestForeignRouteAppearsDuringApply(t *testing.T) {
	lab(t)
	table := newTable(t)
	want := routes{"10.1.0.0/16": r1, "10.2.0.0/16": r1, "2001:db8:a::/48": r1v6, "2001:db8:b::/48": r1v6}
	d := want.desired()
	others := ""
	d.Routes = func(yield func(netip.Prefix, []netip.Addr) bool) {
		if others == "" {
			nettest.Self.IP(t, "route add 10.1.0.0/16 via "+r2+" proto static metric 200")
			nettest.Self.IP(t, "-6 route add 2001:db8:a::/48 via "+r2v6+" proto static metric 200")
			others = notOurs(t)
		}
		want.all()(yield)
	}
	result := apply(t, table, d)
	for _, prefix := range []string{"10.1.0.0/16", "2001:db8:a::/48"} {
		if have := reasonFor(t, result, prefix); !strings.Contains(have, "another program (protocol static)") {
			t.Errorf("%s is refused because %q", prefix, have)
		}
	}
	expect(t, routes{"10.2.0.0/16": r1, "2001:db8:b::/48": r1v6})
	if after := notOurs(t); after != others {
		t.Errorf("routes of others before:\n%s\nafter:\n%s", others, after)
	}
}

// The other program's route goes, and the next pass takes the place.
func TestPlaceOfAForeignRouteIsTakenWhenItGoes(t *testing.T) {
	lab(t)
	table := newTable(t)
	notified := watch(t, table)
	nettest.Self.IP(t, "route add 10.1.0.0/16 via "+r2+" proto static metric 200")
	want := routes{"10.1.0.0/16": r1}
	keepApplied(t, table, want.desired(), notified)
	expect(t, routes{})
	nettest.Self.IP(t, "route del 10.1.0.0/16 proto static metric 200")
	nettest.Eventually(t, second, func() error { return differs(t, want) })
}

func TestMetricAndTableMove(t *testing.T) {
	lab(t)
	table := newTable(t)
	want := routes{"10.1.0.0/16": r1 + "," + r2, "2001:db8:a::/48": r1v6 + "," + r2v6}
	apply(t, table, want.desired())
	for _, place := range []struct{ table, metric int }{{254, 100}, {254, 0}, {254, 300}, {1000, 300}, {1000, 200}, {254, 200}} {
		d := want.desired()
		d.Table, d.Metric = place.table, place.metric
		result := apply(t, table, d)
		expect(t, want)
		expectResult(t, result, route.Result{Installed: 2, Added: 2, Removed: 2})
		expectResult(t, apply(t, table, d), route.Result{Installed: 2})
	}
}
