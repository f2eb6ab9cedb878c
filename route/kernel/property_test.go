package kernel

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// Random desired states, other programs' routes in the way, drift, crashes and settling: after each apply the kernel has
// exactly what a model says, and others' routes are as they were.
func TestRandomStatesConverge(t *testing.T) {
	lab(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	hops := map[bool][]string{true: {r1, r1b, r2}, false: {r1v6, r1bv6, r2v6}}
	var prefixes []string
	for i := range 8 {
		prefixes = append(prefixes, fmt.Sprintf("10.%d.0.0/16", i), fmt.Sprintf("2001:db8:a%d::/48", i))
	}
	is4 := func(prefix string) bool { return strings.Contains(prefix, ".") }
	family := func(prefix string) string {
		if is4(prefix) {
			return "-4"
		}
		return "-6"
	}

	table, want := newTable(t), routes{}
	foreign, inherited := map[string]bool{}, routes{}
	for step := range 150 {
		desired := routes{}
		for _, prefix := range prefixes {
			switch candidate := hops[is4(prefix)][random.IntN(3)]; random.IntN(8) {
			case 0:
				if !foreign[prefix] {
					_, err := nettest.Self.Try("ip", family(prefix), "route", "add", prefix, "via", candidate, "proto", "static", "metric", "200")
					foreign[prefix] = err == nil // ours is in the way
				}
			case 1:
				if foreign[prefix] {
					nettest.Run(t, "ip", family(prefix), "route", "del", prefix, "proto", "static", "metric", "200")
					delete(foreign, prefix)
				}
			case 2:
				_, _ = nettest.Self.Try("ip", family(prefix), "route", "del", prefix, "proto", "179")
				delete(want, prefix)
				delete(inherited, prefix)
			case 3:
				if want[prefix] != "" {
					nettest.Run(t, "ip", family(prefix), "route", "replace", prefix, "via", candidate, "proto", "179", "metric", "200")
					want[prefix] = candidate
				}
			}
			if random.IntN(4) > 0 {
				chosen := slices.Clone(hops[is4(prefix)])
				random.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
				desired[prefix] = sorted(strings.Join(chosen[:1+random.IntN(3)], ","))
			}
		}
		if random.IntN(5) == 0 {
			table, inherited = newTable(t), maps.Clone(want)
		}
		d := desired.desired()
		d.Settling = random.IntN(3) == 0
		maps.DeleteFunc(want, func(prefix, _ string) bool { return !d.Settling || inherited[prefix] == "" })
		maps.Copy(want, desired)
		maps.DeleteFunc(want, func(prefix, _ string) bool { return foreign[prefix] })
		maps.DeleteFunc(inherited, func(prefix, _ string) bool { return want[prefix] == "" || desired[prefix] != "" })
		others := notOurs(t)
		result := apply(t, table, d)
		if err := differs(t, want); err != nil {
			t.Fatalf("step %d: %v\nresult %+v", step, err, result)
		}
		if after := notOurs(t); after != others {
			t.Fatalf("step %d: routes of others before:\n%s\nafter:\n%s", step, others, after)
		}
		if result.Installed != len(want) {
			t.Fatalf("step %d: result says %d installed, the kernel has %d", step, result.Installed, len(want))
		}
	}
}
