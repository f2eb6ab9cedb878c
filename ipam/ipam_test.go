package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	old   = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	young = old.Add(time.Hour)
)

func claim(kind Kind, name, prefix string, created time.Time) Claim {
	return Claim{kind, name, netip.MustParsePrefix(prefix), created}
}

func TestConflicts(t *testing.T) {
	own := claim(Node, "n2", "10.244.1.0/24", young)
	for name, tt := range map[string]struct {
		own, other Claim
		want       string // empty: own stays
	}{
		"disjoint":                     {own, claim(Node, "n1", "10.244.2.0/24", old), ""},
		"other family":                 {own, claim(Node, "n1", "::/0", old), ""},
		"the older node stays":         {own, claim(Node, "n1", "10.244.1.0/24", old), "10.244.1.0/24 of Node n2 overlaps 10.244.1.0/24 of Node n1, which is older"},
		"the younger node gives way":   {claim(Node, "n1", "10.244.1.0/24", old), own, ""},
		"same age: first by name":      {own, claim(Node, "n1", "10.244.1.0/24", young), "10.244.1.0/24 of Node n2 overlaps 10.244.1.0/24 of Node n1, which is as old and first by name"},
		"same age: last by name":       {own, claim(Node, "n3", "10.244.1.0/24", young), ""},
		"unknown age is young":         {claim(Node, "n1", "10.244.1.0/24", time.Time{}), own, "10.244.1.0/24 of Node n1 overlaps 10.244.1.0/24 of Node n2, which is older"},
		"known age against unknown":    {own, claim(Node, "n1", "10.244.1.0/24", time.Time{}), ""},
		"inside another":               {own, claim(Node, "n1", "10.244.0.0/16", old), "10.244.1.0/24 of Node n2 overlaps 10.244.0.0/16 of Node n1, which is older"},
		"contains another":             {own, claim(Node, "n1", "10.244.1.128/25", old), "10.244.1.0/24 of Node n2 overlaps 10.244.1.128/25 of Node n1, which is older"},
		"itself, seen in a list":       {own, own, ""},
		"the datacenter always stays":  {own, claim(DatacenterNetwork, "default", "10.244.0.0/16", time.Time{}), "10.244.1.0/24 of Node n2 overlaps 10.244.0.0/16 of DatacenterNetwork default"},
		"a host's address":             {own, claim(NodeAddress, "n2", "10.244.1.9/32", time.Time{}), "10.244.1.0/24 of Node n2 overlaps 10.244.1.9/32 of node address n2"},
		"a pool gives way to a node":   {claim(AddressPool, "egress", "10.244.1.0/29", old), own, "10.244.1.0/29 of AddressPool egress overlaps 10.244.1.0/24 of Node n2"},
		"a node stays against a pool":  {own, claim(AddressPool, "egress", "10.244.1.0/29", old), ""},
		"a default route is welcome":   {claim(Route, "rr1", "0.0.0.0/0", time.Time{}), own, ""},
		"an aggregate is welcome":      {claim(Route, "rr1", "10.0.0.0/8", time.Time{}), own, ""},
		"a route into our prefix":      {claim(Route, "rr1", "10.244.1.7/32", time.Time{}), own, "10.244.1.7/32 of route rr1 overlaps 10.244.1.0/24 of Node n2"},
		"no route refuses a node":      {own, claim(Route, "rr1", "10.244.1.0/24", time.Time{}), ""},
		"an invalid prefix is nowhere": {own, Claim{Kind: Node, Name: "n1", Created: old}, ""},
		"an invalid prefix of ours":    {Claim{Kind: Node, Name: "n1"}, claim(Node, "n2", "0.0.0.0/0", old), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Conflicts([]Claim{tt.own}, []Claim{tt.other})
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("refused: %v", got[0])
			case tt.want != "" && (len(got) != 1 || got[0].String() != tt.want):
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

// random makes claims in a small space, so that they overlap often.
func random(r *rand.Rand, n int) []Claim {
	kinds := []Kind{DatacenterNetwork, NodeAddress, Node, Node, Node, AddressPool, Route}
	claims := make([]Claim, n)
	for i := range claims {
		addr, bits := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(4)), byte(r.IntN(256))}), r.IntN(33)
		if r.IntN(3) == 0 {
			addr, bits = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(r.IntN(256))}), r.IntN(129)
		}
		claims[i] = Claim{kinds[r.IntN(len(kinds))], fmt.Sprintf("c%d", r.IntN(n)), netip.PrefixFrom(addr, bits), time.Time{}}
		if age := r.IntN(4); age > 0 {
			claims[i].Created = old.Add(time.Duration(age) * time.Hour)
		}
	}
	return claims
}

// TestSearchFindsWhatComparingAllFinds holds the index against the obvious quadratic way.
func TestSearchFindsWhatComparingAllFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		own, others := random(r, 1+r.IntN(30)), random(r, 1+r.IntN(30))
		got, want := map[Conflict]int{}, map[Conflict]int{}
		for _, c := range Conflicts(own, others) {
			got[c]++
		}
		for _, a := range own {
			for _, b := range others {
				if a.Prefix.Overlaps(b.Prefix) && gives(a, b) {
					want[Conflict{a, b}]++
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("own %v\nothers %v\ngot  %v\nwant %v", own, others, got, want)
		}
	}
}

// TestExactlyOneGivesWay: two owners that judge each other, each with its own view, never both stay nor both go.
func TestExactlyOneGivesWay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		pair := random(r, 2)
		a, b := pair[0], pair[1]
		if a.Kind == Route || b.Kind == Route || a.Kind == b.Kind && a.Name == b.Name || !a.Prefix.Overlaps(b.Prefix) {
			continue
		}
		if refused := len(Conflicts(pair[:1], pair[1:])) + len(Conflicts(pair[1:], pair[:1])); refused != 1 {
			t.Fatalf("%v and %v: %d give way", a, b, refused)
		}
	}
}

func BenchmarkConflicts(b *testing.B) {
	var claims []Claim
	for i := range 10000 {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		claims = append(claims, Claim{Node, fmt.Sprintf("n%d", i), prefix, old})
	}
	for b.Loop() {
		if c := Conflicts(claims, claims); len(c) != 0 {
			b.Fatal(c)
		}
	}
}
