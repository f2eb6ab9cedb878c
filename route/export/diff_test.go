package export

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// static is a line of a router that is not told apart here: PREFIX NEXTHOP, or PREFIX and a word.
func static(prefix, hop string) Static {
	s := Static{Route: Route{Prefix: netip.MustParsePrefix(prefix)}, Text: prefix + " " + hop}
	if a, err := netip.ParseAddr(hop); err == nil {
		s.NextHop = a
	} else {
		s.Via = hop
	}
	return s
}

// words says all that a difference says, a line each.
func (d Difference) words() []string {
	var all []string
	for _, r := range d.Add {
		all = append(all, fmt.Sprintf("add %s %s", r.Prefix, r.NextHop))
	}
	changes := func(kind string, list []Change) {
		for _, c := range list {
			line := fmt.Sprintf("%s %s for %s: %s", kind, c.Have.Text, c.Want.Prefix, c.Why)
			for flag, set := range map[string]bool{" [beside]": c.Beside, " [leave]": c.Leave} {
				if set {
					line += flag
				}
			}
			if c.Outside {
				line += " [outside]"
			}
			all = append(all, line)
		}
	}
	changes("near", d.NearMiss)
	changes("wrong", d.Wrong)
	changes("overlap", d.Overlap)
	for _, s := range d.Remove {
		all = append(all, "remove "+s.Text)
	}
	return append(all, fmt.Sprintf("right %d foreign %d", d.Right, d.Foreign))
}

func TestDiff(t *testing.T) {
	// node-a has 9, node-b 10 and fd00:131:0:a::, node-c 12 and 13.
	want := plain(t)
	right := []Static{static("10.131.9.0/24", "10.132.2.21"), static("10.131.10.0/24", "10.132.2.22"), static("10.131.12.0/24", "10.132.2.23"),
		static("10.131.13.0/24", "10.132.2.23"), static("fd00:131:0:9::/64", "fd00:132:2::21"), static("fd00:131:0:a::/64", "fd00:132:2::22")}
	// without is the router without one route; with has others besides.
	without := func(prefix string) []Static {
		return slices.DeleteFunc(slices.Clone(right), func(s Static) bool { return s.Prefix.String() == prefix })
	}
	with := func(all []Static, more ...Static) []Static { return append(slices.Clone(all), more...) }
	const ten, a = "10.131.10.0/24", "fd00:131:0:a::/64"
	for name, tt := range map[string]struct {
		have   []Static
		within string
		want   []string
	}{
		"in step":           {right, "10.131.0.0/16", []string{"right 6 foreign 0"}},
		"nothing there":     {nil, "10.131.0.0/16", []string{"add 10.131.9.0/24 10.132.2.21", "add 10.131.10.0/24 10.132.2.22", "add 10.131.12.0/24 10.132.2.23", "add 10.131.13.0/24 10.132.2.23", "add fd00:131:0:9::/64 fd00:132:2::21", "add fd00:131:0:a::/64 fd00:132:2::22", "right 0 foreign 0"}},
		"one is missing":    {without(ten), "10.131.0.0/16", []string{"add 10.131.10.0/24 10.132.2.22", "right 5 foreign 0"}},
		"one too many":      {with(right, static("10.131.77.0/24", "10.132.2.77")), "10.131.0.0/16", []string{"remove 10.131.77.0/24 10.132.2.77", "right 6 foreign 0"}},
		"out of the ranges": {with(right, static("10.131.77.0/24", "10.132.2.77"), static("0.0.0.0/0", "10.132.2.1"), static("10.0.0.0/8", "10.132.2.1")), "10.131.0.0/18", []string{"right 6 foreign 3"}},
		"no ranges":         {with(right, static("10.131.14.0/24", "10.132.2.77")), "", []string{"right 6 foreign 1"}},
		"another VRF":       {with(right, Static{Route: Route{VRF: "red", Prefix: netip.MustParsePrefix("10.131.77.0/24")}}), "10.131.0.0/16", []string{"right 6 foreign 1"}},

		"a slip, and one of a node that is gone": {
			with(without(ten), static("10.131.101.0/24", "10.132.2.22"), static("10.131.11.0/24", "10.132.2.24")), "10.131.0.0/16",
			[]string{"near 10.131.101.0/24 10.132.2.22 for 10.131.10.0/24: 101 in place of 10: one digit too many", "remove 10.131.11.0/24 10.132.2.24", "right 5 foreign 0"},
		},

		// Of the story: 10.131.101.0/24 was written, 10.131.10.0/24 was meant.
		"the story":                      {with(without(ten), static("10.131.101.0/24", "10.132.2.22")), "10.131.0.0/16", []string{"near 10.131.101.0/24 10.132.2.22 for 10.131.10.0/24: 101 in place of 10: one digit too many", "right 5 foreign 0"}},
		"the story, outside the ranges":  {with(without(ten), static("10.131.101.0/24", "10.132.2.22")), "10.131.0.0/18", []string{"near 10.131.101.0/24 10.132.2.22 for 10.131.10.0/24: 101 in place of 10: one digit too many [outside]", "right 5 foreign 0"}},
		"outside, through another node":  {with(without(ten), static("10.131.101.0/24", "10.132.2.21")), "10.131.0.0/18", []string{"near 10.131.101.0/24 10.132.2.21 for 10.131.10.0/24: 101 in place of 10: one digit too many; 10.132.2.21 is the address of node-a [leave] [outside]", "right 5 foreign 0"}},
		"outside, and larger":            {with(without("10.131.12.0/24"), static("10.131.12.0/22", "10.132.2.23")), "10.131.0.0/21", []string{"near 10.131.12.0/22 10.132.2.23 for 10.131.12.0/24: /22 in place of /24 [leave] [outside]", "right 5 foreign 0"}},
		"outside, through somebody else": {with(without(ten), static("10.131.101.0/24", "10.9.9.9")), "10.131.0.0/18", []string{"add 10.131.10.0/24 10.132.2.22", "right 5 foreign 1"}},
		"outside, and none is missing":   {with(right, static("10.131.101.0/24", "10.132.2.22")), "10.131.0.0/18", []string{"right 6 foreign 1"}},
		"a digit is missing":             {with(without(ten), static("10.131.1.0/24", "10.132.2.22")), "10.131.0.0/16", []string{"near 10.131.1.0/24 10.132.2.22 for 10.131.10.0/24: 1 in place of 10: a digit is missing", "right 5 foreign 0"}},
		"a digit is another":             {with(without(ten), static("10.131.19.0/24", "10.132.2.22")), "10.131.0.0/16", []string{"near 10.131.19.0/24 10.132.2.22 for 10.131.10.0/24: 19 in place of 10: one digit is another", "right 5 foreign 0"}},
		"a digit is doubled":             {with(without(ten), static("10.131.100.0/24", "10.132.2.22")), "10.131.0.0/16", []string{"near 10.131.100.0/24 10.132.2.22 for 10.131.10.0/24: 100 in place of 10: the 0 is doubled", "right 5 foreign 0"}},
		"digits have changed places":     {with(without(ten), static("10.113.10.0/24", "10.132.2.22")), "10.131.0.0/16", []string{"near 10.113.10.0/24 10.132.2.22 for 10.131.10.0/24: 113 in place of 131: two digits have changed places [outside]", "right 5 foreign 0"}},
		"the dot is elsewhere":           {with(without(ten), static("10.13.110.0/24", "10.132.2.22")), "10.131.0.0/16", []string{"near 10.13.110.0/24 10.132.2.22 for 10.131.10.0/24: 10.13.110.0 in place of 10.131.10.0: a dot is at another place [outside]", "right 5 foreign 0"}},
		"octets have changed places":     {with(without(ten), static("10.10.131.0/24", "10.132.2.22")), "10.131.0.0/16", []string{"near 10.10.131.0/24 10.132.2.22 for 10.131.10.0/24: 10.10.131.0 in place of 10.131.10.0: the octets are in another order [outside]", "right 5 foreign 0"}},
		"wrong mask":                     {with(without(ten), static("10.131.10.0/23", "10.132.2.22")), "10.131.0.0/16", []string{"near 10.131.10.0/23 10.132.2.22 for 10.131.10.0/24: /23 in place of /24", "right 5 foreign 0"}},
		"a host in place of the subnet":  {with(without(ten), static("10.131.10.1/32", "10.132.2.22")), "", []string{"near 10.131.10.1/32 10.132.2.22 for 10.131.10.0/24: /32 in place of /24", "right 5 foreign 0"}},
		"wrong mask and next hop":        {with(without(ten), static("10.131.10.0/25", "10.132.2.32")), "10.131.0.0/16", []string{"near 10.131.10.0/25 10.132.2.32 for 10.131.10.0/24: /25 in place of /24; next hop: 32 in place of 22: one digit is another", "right 5 foreign 0"}},
		"near, but somebody else's":      {with(without(ten), static("10.131.101.0/24", "10.9.9.9")), "10.131.0.0/16", []string{"add 10.131.10.0/24 10.132.2.22", "remove 10.131.101.0/24 10.9.9.9", "right 5 foreign 0"}},
		"IPv6, a digit too many":         {with(without(a), static("fd00:131:0:aa::/64", "fd00:132:2::22")), "fd00:131::/48", []string{"near fd00:131:0:aa::/64 fd00:132:2::22 for fd00:131:0:a::/64: aa in place of a: the a is doubled", "right 5 foreign 0"}},
		"IPv6, a group is missing":       {with(without(a), static("fd00:131:a::/64", "fd00:132:2::22")), "fd00:131::/32", []string{"near fd00:131:a::/64 fd00:132:2::22 for fd00:131:0:a::/64: fd00:131:a:: in place of fd00:131:0:a::: the groups are in another order", "right 5 foreign 0"}},

		"another node":            {with(without(ten), static(ten, "10.132.2.21")), "", []string{"wrong 10.131.10.0/24 10.132.2.21 for 10.131.10.0/24: 10.132.2.21 is the address of node-a", "right 5 foreign 0"}},
		"a next hop mistyped":     {with(without(ten), static(ten, "10.132.22.2")), "", []string{"wrong 10.131.10.0/24 10.132.22.2 for 10.131.10.0/24: next hop: 10.132.22.2 in place of 10.132.2.22: the octets are in another order", "right 5 foreign 0"}},
		"a next hop of nobody":    {with(without(ten), static(ten, "192.0.2.1")), "", []string{"wrong 10.131.10.0/24 192.0.2.1 for 10.131.10.0/24: no node that the gateway reaches has the address 192.0.2.1", "right 5 foreign 0"}},
		"into another VRF":        {with(without(ten), Static{Route: Route{Prefix: netip.MustParsePrefix(ten), NextHop: netip.MustParseAddr("10.132.2.22")}, Via: "vpn-instance red", Text: "line"}), "", []string{"wrong line for 10.131.10.0/24: its next hop is in another VRF: vpn-instance red", "right 5 foreign 0"}},
		"discarded":               {with(without(ten), static(ten, "Null0")), "", []string{"wrong 10.131.10.0/24 Null0 for 10.131.10.0/24: it leads to Null0, to no node", "right 5 foreign 0"}},
		"a second, wrong one":     {with(right, static(ten, "10.132.2.21")), "", []string{"wrong 10.131.10.0/24 10.132.2.21 for 10.131.10.0/24: 10.132.2.21 is the address of node-a [beside]", "right 6 foreign 0"}},
		"a half goes another way": {with(right, static("10.131.10.128/25", "10.132.2.21")), "", []string{"overlap 10.131.10.128/25 10.132.2.21 for 10.131.10.0/24: takes a part of 10.131.10.0/24 another way", "right 6 foreign 0"}},
		"a half goes the way":     {with(right, static("10.131.10.128/25", "10.132.2.22")), "", []string{"overlap 10.131.10.128/25 10.132.2.22 for 10.131.10.0/24: is a part of 10.131.10.0/24 and goes the same way", "right 6 foreign 0"}},
		"covered":                 {with(right, static("10.131.8.0/21", "10.132.2.1")), "10.131.0.0/16", []string{"overlap 10.131.8.0/21 10.132.2.1 for 10.131.9.0/24: covers 10.131.9.0/24 and 3 more wanted subnets", "right 6 foreign 0"}},
		"the rest discarded":      {with(right, static("10.131.0.0/16", "Null0")), "10.131.0.0/16", []string{"right 6 foreign 1"}},
		"covered by somebody":     {with(right, static("10.128.0.0/12", "10.132.2.1")), "10.131.0.0/16", []string{"right 6 foreign 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			var within []netip.Prefix
			if tt.within != "" {
				within = prefixes(tt.within)
			}
			d := Diff(want, tt.have, within)
			if got := d.words(); !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if d.Empty() != (len(tt.want) == 1) {
				t.Errorf("empty: %v", d.Empty())
			}
		})
	}
	if d := Diff(nil, right, prefixes("10.131.0.0/16")); !d.Empty() || d.Foreign != len(right) {
		t.Errorf("nothing is wanted: %v", d.words())
	}
}

func TestDiffOptions(t *testing.T) {
	want := Route{Prefix: netip.MustParsePrefix("10.131.9.0/24"), NextHop: netip.MustParseAddr("10.132.2.21"), Name: "node-a"}
	have := Static{Route: want}
	have.Name, have.Preference, have.Tag, have.BFD, have.Track = "of old", 7, 8, true, 9
	if d := Diff([]Route{want}, []Static{have}, nil); !d.Empty() {
		t.Errorf("nothing is asked for: %v", d.words())
	}
	have = Static{Route: want}
	for why, change := range map[string]func(*Route){
		"preference 50 is asked for":  func(r *Route) { r.Preference = 50 },
		"tag 4200 is asked for":       func(r *Route) { r.Tag = 4200 },
		"BFD is asked for":            func(r *Route) { r.BFD = true },
		"track object 3 is asked for": func(r *Route) { r.Track = 3 },
	} {
		w := want
		change(&w)
		if d := Diff([]Route{w}, []Static{have}, nil); len(d.Wrong) != 1 || d.Wrong[0].Why != why || d.Right != 0 {
			t.Errorf("%s: %v", why, d.words())
		}
	}
}

func TestExcept(t *testing.T) {
	for _, tt := range []struct{ ranges, others, want []netip.Prefix }{
		{prefixes("10.131.0.0/16"), nil, prefixes("10.131.0.0/16")},
		{prefixes("10.131.0.0/16"), prefixes("10.0.0.0/8"), nil},
		{prefixes("10.131.0.0/22", "fd00:131::/48"), prefixes("10.131.1.0/24"), prefixes("10.131.0.0/24", "10.131.2.0/23", "fd00:131::/48")},
		{prefixes("10.131.0.0/23"), prefixes("10.131.0.0/32"), append(exceptOne("10.131.0.0/24"), prefixes("10.131.1.0/24")...)},
	} {
		if got := Except(tt.ranges, tt.others); !slices.Equal(got, tt.want) {
			t.Errorf("%v without %v: got %v, want %v", tt.ranges, tt.others, got, tt.want)
		}
	}
}

// exceptOne is a prefix without its first address.
func exceptOne(text string) []netip.Prefix {
	var all []netip.Prefix
	for p := netip.MustParsePrefix(text); p.Bits() < 32; {
		p = netip.PrefixFrom(p.Addr(), p.Bits()+1)
		all = append(all, other(p))
	}
	slices.Reverse(all)
	return all
}
