package export

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// randomRoutes are routes with options that a dialect has, no prefix twice.
func randomRoutes(random *rand.Rand, d *dialect) []Route {
	vrfs := []string{"", "", "prod", "Cust-1_a.b"}
	switch d.name {
	case "linux":
		vrfs = []string{"", "", "100", "prod"}
	case "openbsd":
		vrfs = []string{"", "", "1", "255"}
	}
	gateway := ""
	if d.data {
		gateway = "core1"
	}
	var routes []Route
	for i := range random.IntN(40) {
		name := fmt.Sprintf("node %d; \"rack'%s#x\nno ip route", i, strings.Repeat("\\é", random.IntN(300)))
		r := Route{Gateway: gateway, VRF: vrfs[random.IntN(len(vrfs))], Name: name[:random.IntN(len(name))]}
		bits := random.IntN(9) // of a default route, and those that differ by their first bytes
		if bits > 0 || i > 0 {
			bits = 8 + random.IntN(25)
		}
		if b := [4]byte{byte(i), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())}; random.IntN(2) == 0 {
			r.Prefix = netip.PrefixFrom(netip.AddrFrom4(b), bits).Masked()
			r.NextHop = netip.AddrFrom4([4]byte{10, b[3], b[2], b[1]})
		} else {
			if bits > 0 {
				bits = 4*bits - 16
			}
			r.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, byte(i), b[1], b[2], b[3], 11: b[0], 15: 1}), bits).Masked()
			r.NextHop = netip.AddrFrom16([16]byte{0xfd, 0, 9: b[1], 15: b[2]})
		}
		if random.IntN(2) == 0 {
			r.Preference = 1 + random.Int64N(d.most)
		}
		if d.tag && random.IntN(2) == 0 {
			r.Tag = random.Uint32()
		}
		if d.bfd && random.IntN(2) == 0 {
			r.BFD = true
			if d.source {
				r.Source = r.NextHop.Next()
			}
		} else if d.track > 0 && random.IntN(2) == 0 {
			r.Track = uint16(1 + random.IntN(d.track))
		}
		routes = append(routes, r)
	}
	return routes
}

// TestReadsBack: what Render writes is read as AsRead says, for every dialect, with every option that it has.
func TestReadsBack(t *testing.T) {
	for i := range dialects {
		d := &dialects[i]
		t.Run(d.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(5, uint64(i)))
			for range 200 {
				routes := randomRoutes(random, d)
				text, err := Render(d.name, routes)
				if err != nil {
					t.Fatal(err)
				}
				want, err := AsRead(d.name, routes)
				if err != nil {
					t.Fatal(err)
				}
				found, unread, err := Parse(d.name, text)
				if err != nil || len(unread) > 0 {
					t.Fatalf("%v %v\nof\n%s", err, unread, text)
				}
				var got []Route
				for _, s := range found {
					if line := strings.Split(text, "\n")[s.Line-1]; s.Via != "" || strings.TrimSpace(line) != s.Text {
						t.Fatalf("via %q, line %d: %q, not %q", s.Via, s.Line, s.Text, line)
					}
					got = append(got, s.Route)
				}
				slices.SortFunc(got, Route.Compare)
				slices.SortFunc(want, Route.Compare)
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Errorf("got\n%+v, want\n%+v", got[i], want[i])
					}
				}
				if len(got) != len(want) || t.Failed() {
					t.Fatalf("%d routes, want %d, of\n%s", len(got), len(want), text)
				}
			}
		})
	}
}
