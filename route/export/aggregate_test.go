package export

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestAggregate(t *testing.T) {
	for name, tt := range map[string]struct{ routes, want string }{
		"halves":                  {"10.0.0.0/24 a, 10.0.1.0/24 a", "10.0.0.0/23 a"},
		"no halves":               {"10.0.1.0/24 a, 10.0.2.0/24 a", "10.0.1.0/24 a, 10.0.2.0/24 a"},
		"of two nodes":            {"10.0.0.0/24 a, 10.0.1.0/24 b", "10.0.0.0/24 a, 10.0.1.0/24 b"},
		"four":                    {"10.0.0.0/24 a, 10.0.1.0/24 a, 10.0.2.0/24 a, 10.0.3.0/24 a", "10.0.0.0/22 a"},
		"inside":                  {"10.0.0.0/22 a, 10.0.1.0/24 a", "10.0.0.0/22 a"},
		"inside, another between": {"10.0.0.0/22 a, 10.0.0.0/23 b, 10.0.1.0/24 a", "10.0.0.0/22 a, 10.0.0.0/23 b, 10.0.1.0/24 a"},
		"the whole is another's":  {"10.0.0.0/23 b, 10.0.0.0/24 a, 10.0.1.0/24 a", "10.0.0.0/23 b, 10.0.0.0/24 a, 10.0.1.0/24 a"},
		"on two nodes":            {"10.0.0.0/24 a, 10.0.0.0/24 b, 10.0.1.0/24 a", "10.0.0.0/24 a, 10.0.0.0/24 b, 10.0.1.0/24 a"},
		"IPv6":                    {"fd00::/64 f, fd00:0:0:1::/64 f", "fd00::/63 f"},
		"all":                     {"0.0.0.0/1 a, 128.0.0.0/1 a", "0.0.0.0/0 a"},
	} {
		t.Run(name, func(t *testing.T) {
			hops := map[string]string{"a": "192.0.2.1", "b": "192.0.2.2", "f": "2001:db8::1"}
			var routes []Route
			for _, s := range strings.Split(tt.routes, ", ") {
				prefix, hop, _ := strings.Cut(s, " ")
				routes = append(routes, Route{Prefix: netip.MustParsePrefix(prefix), NextHop: netip.MustParseAddr(hops[hop]), Name: hop})
			}
			var got []string
			for _, r := range Aggregate(routes) {
				got = append(got, r.Prefix.String()+" "+r.Name)
			}
			slices.Sort(got)
			want := strings.Split(tt.want, ", ")
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestAggregateForwardsTheSame asks of every address of a small range where it goes, before and after.
func TestAggregateForwardsTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	lookup := func(routes []Route, a netip.Addr) []netip.Addr {
		best := -1
		var hops []netip.Addr
		for _, r := range routes {
			if r.Prefix.Contains(a) && r.Prefix.Bits() >= best {
				if r.Prefix.Bits() > best {
					best, hops = r.Prefix.Bits(), nil
				}
				hops = append(hops, r.NextHop)
			}
		}
		slices.SortFunc(hops, netip.Addr.Compare)
		return hops
	}
	fewer := 0
	for range 400 {
		var routes []Route
		for range 1 + random.IntN(14) {
			p, err := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(32))}).Prefix(26 + random.IntN(7))
			if err != nil {
				t.Fatal(err)
			}
			routes = append(routes, Route{Prefix: p, NextHop: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + random.IntN(2))})})
		}
		slices.SortFunc(routes, Route.Compare)
		routes = slices.Compact(routes)
		after := Aggregate(routes)
		if len(after) < len(routes) {
			fewer++
		}
		for i := range 64 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			if x, y := lookup(routes, a), lookup(after, a); !slices.Equal(x, y) {
				t.Fatalf("%v goes to %v, after to %v:\n%v\n%v", a, x, y, routes, after)
			}
		}
	}
	if fewer < 100 {
		t.Errorf("only %d of 400 tables became smaller", fewer)
	}
}
