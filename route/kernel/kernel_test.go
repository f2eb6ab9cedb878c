package kernel

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const metric = 200

// The node under test has a link to each of two routers.
const (
	r1, r1b, r2    = "192.0.2.2", "192.0.2.3", "198.51.100.2"
	r1v6, r1bv6    = "2001:db8:1::2", "2001:db8:1::3"
	r2v6           = "2001:db8:2::2"
	own4, own6     = "10.244.1.0/24", "2001:db8:244:1::/64"
	far4, far6     = "203.0.113.9", "2001:db8:3::9" // reached through a static route
	unreachableHop = "100.64.0.1"
)

// lab is the node with its two routers.
func lab(t testing.TB) (one, two nettest.NS) {
	t.Helper()
	one, two = nettest.New(t, "one"), nettest.New(t, "two")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24", "2001:db8:1::1/64"},
		one, "eth0", []string{r1 + "/24", r1b + "/24", r1v6 + "/64", r1bv6 + "/64"})
	nettest.Join(t, nettest.Self, "eth1", []string{"198.51.100.1/24", "2001:db8:2::1/64"},
		two, "eth0", []string{r2 + "/24", r2v6 + "/64"})
	t.Cleanup(func() {
		for _, family := range []string{"-4", "-6"} {
			_, _ = nettest.Self.Try("ip", family, "route", "flush", "table", "all", "proto", "179")
			_, _ = nettest.Self.Try("ip", family, "route", "flush", "proto", "bird")
		}
	})
	return one, two
}

func newTable(t testing.TB) *Table {
	table := New()
	t.Cleanup(table.Close)
	return table
}

// routes is a desired table, written as "next hop, next hop" by prefix.
type routes map[string]string

func (r routes) all() iter.Seq2[netip.Prefix, []netip.Addr] {
	return func(yield func(netip.Prefix, []netip.Addr) bool) {
		for prefix, nextHops := range r {
			var addrs []netip.Addr
			for _, nextHop := range strings.Fields(strings.ReplaceAll(nextHops, ",", " ")) {
				addrs = append(addrs, netip.MustParseAddr(nextHop))
			}
			slices.SortFunc(addrs, netip.Addr.Compare)
			if !yield(netip.MustParsePrefix(prefix), addrs) {
				return
			}
		}
	}
}

func (r routes) desired() route.Desired {
	return route.Desired{
		Table: route.MainTable, Metric: metric, Routes: r.all(),
		Rules: route.NewRules([]netip.Prefix{netip.MustParsePrefix(own4), netip.MustParsePrefix(own6)}, route.Host{}, nil),
	}
}

func (r routes) settling() route.Desired {
	d := r.desired()
	d.Settling = true
	return d
}

func apply(t testing.TB, table *Table, d route.Desired) route.Result {
	t.Helper()
	result, err := table.Apply(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// inKernel is what the kernel has of our protocol, in the words of ip. A second route for a prefix is marked.
func inKernel(t testing.TB) routes {
	t.Helper()
	have := routes{}
	for _, family := range []string{"-4", "-6"} {
		prefix := ""
		for _, line := range strings.Split(nettest.Self.IP(t, family+" route show table all proto 179"), "\n") {
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if words[0] != "nexthop" {
				prefix = words[0]
				if prefix == "default" {
					prefix = map[string]string{"-4": "0.0.0.0/0", "-6": "::/0"}[family]
				} else if !strings.Contains(prefix, "/") {
					prefix += map[string]string{"-4": "/32", "-6": "/128"}[family]
				}
				if _, twice := have[prefix]; twice {
					prefix += " again"
				}
				have[prefix] = ""
			}
			if at := slices.Index(words, "via"); at >= 0 {
				have[prefix] = strings.TrimPrefix(have[prefix]+","+words[at+1], ",")
			}
		}
	}
	for prefix, hops := range have {
		have[prefix] = sorted(hops)
	}
	return have
}

// sorted puts next hops into their order.
func sorted(hops string) string {
	list := strings.Split(hops, ",")
	slices.SortFunc(list, func(a, b string) int {
		x, _ := netip.ParseAddr(a)
		y, _ := netip.ParseAddr(b)
		return x.Compare(y)
	})
	return strings.Join(list, ",")
}

func expect(t testing.TB, want routes) {
	t.Helper()
	if err := differs(t, want); err != nil {
		t.Fatal(err)
	}
}

func differs(t testing.TB, want routes) error {
	t.Helper()
	if have := inKernel(t); !maps.Equal(have, want) {
		return fmt.Errorf("in the kernel:\n%v\nwant:\n%v", have, want)
	}
	return nil
}

func expectResult(t testing.TB, have, want route.Result) {
	t.Helper()
	have.Refused, want.Refused = nil, nil
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("result %+v, want %+v", have, want)
	}
}

func TestAddChangeRemove(t *testing.T) {
	lab(t)
	table := newTable(t)
	first := routes{
		"10.1.0.0/16":       r1,
		"10.2.0.0/16":       r1 + "," + r2,
		"10.3.0.0/16":       r1 + "," + r1b + "," + r2,
		"10.4.0.0/16":       r1,
		"0.0.0.0/0":         r1,
		"2001:db8:a::/48":   r1v6,
		"2001:db8:b::/48":   r1v6 + "," + r2v6,
		"2001:db8:c::/48":   r1v6 + "," + r1bv6 + "," + r2v6,
		"2001:db8:d::/48":   r1v6,
		"::/0":              r1v6,
		"2001:db8:e::1/128": r2v6,
	}
	result := apply(t, table, first.desired())
	expect(t, first)
	expectResult(t, result, route.Result{Installed: 11, Added: 11})

	expectResult(t, apply(t, table, first.desired()), route.Result{Installed: 11})

	second := routes{
		"10.1.0.0/16":     r2,
		"10.2.0.0/16":     r2,
		"10.3.0.0/16":     r1 + "," + r1b,
		"10.5.0.0/16":     r1 + "," + r2,
		"0.0.0.0/0":       r1 + "," + r2,
		"2001:db8:a::/48": r2v6,
		"2001:db8:b::/48": r2v6,
		"2001:db8:c::/48": r1v6 + "," + r1bv6,
		"2001:db8:f::/48": r1v6 + "," + r2v6,
		"::/0":            r1v6 + "," + r2v6,
	}
	result = apply(t, table, second.desired())
	expect(t, second)
	expectResult(t, result, route.Result{Installed: 10, Added: 2, Changed: 8, Removed: 3})

	result = apply(t, table, routes{}.desired())
	expect(t, routes{})
	expectResult(t, result, route.Result{Removed: 10})
}

func TestRemoveAll(t *testing.T) {
	lab(t)
	table := newTable(t)
	apply(t, table, routes{"10.1.0.0/16": r1 + "," + r2, "2001:db8:a::/48": r1v6 + "," + r2v6}.desired())
	nettest.Run(t, "ip", "route", "add", "10.2.0.0/16", "via", r1, "proto", "179", "table", "77", "metric", "5")
	if err := table.RemoveAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, routes{})
}
