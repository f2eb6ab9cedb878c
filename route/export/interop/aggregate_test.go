package interop_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/route/export"
)

// TestMendAggregates goes from an export with aggregates to one without, and back, while some subnets move to another node: no
// subnet is ever without a route.
func TestMendAggregates(t *testing.T) {
	for _, dialect := range modelled() {
		t.Run(dialect, func(t *testing.T) {
			for seed := range uint64(20) {
				random := rand.New(rand.NewPCG(seed, 5))
				subnets := func() (list []export.Route) {
					for i := range 16 {
						node := 21 + i/4
						if random.IntN(4) == 0 {
							node = 21 + random.IntN(4)
						}
						list = append(list, export.Route{
							Prefix: netip.MustParsePrefix(fmt.Sprintf("10.131.%d.0/24", i)), NextHop: netip.MustParseAddr(fmt.Sprintf("10.132.2.%d", node)),
							Name: fmt.Sprintf("node-%d", node),
						})
					}
					return list
				}
				before, after := subnets(), subnets()
				d := disorder{want: after}
				had, wanted := before, export.Aggregate(after)
				if seed%2 == 0 {
					had, wanted = export.Aggregate(before), after
				}
				running, err := export.Render(dialect, had)
				if err != nil {
					t.Fatal(err)
				}
				r := modelOf(dialect)
				for line := range strings.Lines(running) {
					r.enter(t, line)
				}
				read, err := export.AsRead(dialect, wanted)
				if err != nil {
					t.Fatal(err)
				}
				difference := export.Diff(read, parse(t, dialect, r.show(t)), ranges)
				fix, err := difference.Fix(dialect)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(fix) {
					r.enter(t, line)
					if dialect == "juniper-junos" || dialect == "vyos" { // all in one transaction
						continue
					}
					if carried := d.reaches(parse(t, dialect, r.show(t))); len(carried) != len(after) {
						t.Fatalf("%d of %d subnets have a route after %q of\n%s\nbefore\n%s", len(carried), len(after), line, fix, running)
					}
				}
				if left := export.Diff(read, parse(t, dialect, r.show(t)), ranges); !left.Empty() || left.Right != len(wanted) {
					t.Fatalf("there is still a difference: %+v\nafter\n%s\nof\n%s", left, fix, running)
				}
			}
		})
	}
}
