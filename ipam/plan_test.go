package ipam

import (
	"fmt"
	"math"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func pfx(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// used are claims as "KIND PREFIX", D of the datacenter and R a route.
func used(list ...string) []Claim {
	var all []Claim
	for _, s := range list {
		kind, prefix, _ := strings.Cut(s, " ")
		c := Claim{Kind: DatacenterNetwork, Name: "dc", Prefix: netip.MustParsePrefix(prefix)}
		if kind == "R" {
			c.Kind, c.Name = Route, "core1"
		}
		all = append(all, c)
	}
	return all
}

func TestPlan(t *testing.T) {
	for name, tt := range map[string]struct {
		plan Plan
		want string // a line for each range; doubts have a question mark
	}{
		"fits": {Plan{Cluster: []Range{{pfx("10.131.0.0/16")[0], 24}, {pfx("fd00:131::/48")[0], 64}}, Service: pfx("10.130.0.0/20", "fd00:130::/108"), Nodes: 100,
			Used: used("D 10.132.0.0/16", "R 10.140.0.0/14", "R 0.0.0.0/0", "R ::/0")}, `
10.131.0.0/16 256 nodes
fd00:131::/48 65536 nodes
10.130.0.0/20
fd00:130::/108`},
		"overlaps": {Plan{Cluster: []Range{{pfx("10.131.0.0/16")[0], 24}}, Nodes: 100,
			Used: used("D 10.131.128.0/17", "R 10.131.7.0/24", "R 10.131.0.0/16", "D 10.0.0.0/12", "R 10.130.0.0/16", "D 10.132.0.0/16")}, `
10.131.0.0/16 256 nodes Overlap Overlap Overlap -> 10.129.0.0/16 10.133.0.0/16 10.128.0.0/16`},
		"inside of an aggregate": {Plan{Cluster: []Range{{pfx("10.131.0.0/16")[0], 24}}, Nodes: 100, Used: used("R 10.128.0.0/9")}, `
10.131.0.0/16 256 nodes Covered?`},
		"all of the datacenter's": {Plan{Cluster: []Range{{pfx("10.131.0.0/16")[0], 24}}, Nodes: 100, Used: used("D 10.0.0.0/8")}, `
10.131.0.0/16 256 nodes Overlap -> 172.16.0.0/16 172.18.0.0/16 172.19.0.0/16`},
		"a route that is nowhere clear of": {Plan{Cluster: []Range{{pfx("192.168.0.0/17")[0], 24}}, Nodes: 100, Used: used("R 192.168.0.0/16", "D 192.168.3.0/24")}, `
192.168.0.0/17 128 nodes Overlap Covered? -> 192.168.128.0/17 10.255.128.0/17 10.255.0.0/17`},
		"too small": {Plan{Cluster: []Range{{pfx("10.131.0.0/20")[0], 24}}, Nodes: 100, Used: used("D 10.131.64.0/24")}, `
10.131.0.0/20 16 nodes TooSmall -> 10.130.128.0/17 10.131.128.0/17 10.130.0.0/17`},
		"smaller than a node's": {Plan{Cluster: []Range{{pfx("10.131.0.0/26")[0], 24}}, Nodes: 1}, `
10.131.0.0/26 0 nodes TooSmall -> 10.131.0.0/24 10.130.255.0/24 10.131.1.0/24`},
		"larger than Kubernetes allows": {Plan{Cluster: []Range{{pfx("10.0.0.0/8")[0], 25}, {pfx("fd00::/16")[0], 64}}, Nodes: 100}, `
10.0.0.0/8 131072 nodes TooLarge?
fd00::/16 281474976710656 nodes TooLarge -> fd00::/48 fd00:0:1::/48 fd00:0:2::/48`},
		"few pods": {Plan{Cluster: []Range{{pfx("10.131.0.0/16")[0], 26}}, Nodes: 1024}, `
10.131.0.0/16 1024 nodes SmallSubnet?`},
		"services inside of pods": {Plan{Cluster: []Range{{pfx("10.131.0.0/16")[0], 24}}, Service: pfx("10.131.96.0/20"), Nodes: 100}, `
10.131.0.0/16 256 nodes
10.131.96.0/20 Overlap -> 10.130.240.0/20 10.130.224.0/20 10.130.208.0/20`},
		"special": {Plan{Cluster: []Range{{pfx("169.254.0.0/16")[0], 24}, {pfx("fc00:1::/48")[0], 64}}, Service: pfx("172.16.0.0/14", "2001:678::/108"), Nodes: 1}, `
169.254.0.0/16 256 nodes SpecialUse -> 10.255.0.0/16 10.254.0.0/16 10.253.0.0/16
fc00:1::/48 65536 nodes SpecialUse?
172.16.0.0/14 SpecialUse?
2001:678::/108 Public?`},
		"of carriers": {Plan{Cluster: []Range{{pfx("100.64.0.0/16")[0], 24}}, Nodes: 1, Used: used("R 100.64.3.0/24")}, `
100.64.0.0/16 256 nodes SpecialUse? Overlap -> 100.65.0.0/16 100.66.0.0/16 100.67.0.0/16`},
		"too many for IPv6": {Plan{Cluster: []Range{{pfx("fd00:1::/52")[0], 64}}, Nodes: 70000}, `
fd00:1::/52 4096 nodes TooSmall TooLarge`},
		"too many for a longer IPv6 range": {Plan{Cluster: []Range{{pfx("fd00:1::/52")[0], 64}}, Nodes: 65536}, `
fd00:1::/52 4096 nodes TooSmall -> fd00:1::/48 fd00:0:ffff::/48 fd00:1:1::/48`},
		"too many for the family": {Plan{Cluster: []Range{{pfx("10.131.0.0/16")[0], 24}}, Nodes: math.MaxInt}, `
10.131.0.0/16 256 nodes TooSmall`},
	} {
		t.Run(name, func(t *testing.T) {
			verdicts, err := tt.plan.Check()
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, v := range verdicts {
				fmt.Fprintf(&b, "\n%v", v.Prefix)
				if !v.Service {
					fmt.Fprintf(&b, " %d nodes", v.Capacity)
				}
				for _, f := range v.Findings {
					b.WriteString(" " + string(f.Reason))
					if f.Doubt {
						b.WriteString("?")
					}
				}
				if len(v.Proposals) > 0 {
					b.WriteString(" ->")
				}
				for _, p := range v.Proposals {
					b.WriteString(" " + p.String())
				}
			}
			if b.String() != tt.want {
				t.Errorf("got%s\nwant%s\n%+v", b.String(), tt.want, verdicts)
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	plan := Plan{Cluster: []Range{{pfx("10.131.0.0/16")[0], 24}}, Nodes: 128, Growth: 1}
	if v, err := plan.Check(); err != nil || v[0].Years != 1 {
		t.Errorf("doubled each year from half: %+v %v", v, err)
	}
	plan.Growth = 0
	if v, err := plan.Check(); err != nil || v[0].Years != 0 {
		t.Errorf("no growth: %+v %v", v, err)
	}
}

func TestNoPlan(t *testing.T) {
	good := Range{pfx("10.131.0.0/16")[0], 24}
	for want, p := range map[string]Plan{
		"there is no range for pods":      {Nodes: 1},
		"0 nodes: want at least one":      {Cluster: []Range{good}},
		"a growth of -10% a year is none": {Cluster: []Range{good}, Nodes: 1, Growth: -.1},
		"10.131.5.0/16 has host bits: 10.131.0.0/16 would be the network that it is in": {Cluster: []Range{{pfx("10.131.5.0/16")[0], 24}}, Nodes: 1},
		"a node of 10.131.0.0/16 with a /64: want 1..32":                                {Cluster: []Range{{good.Prefix, 64}}, Nodes: 1},
		"two IPv4 ranges for pods: Kubernetes takes one of each family":                 {Cluster: []Range{good, {pfx("10.132.0.0/16")[0], 24}}, Nodes: 1},
		"two IPv6 ranges for Services: Kubernetes takes one of each family":             {Cluster: []Range{good}, Service: pfx("fd00::/108", "fd01::/108"), Nodes: 1},
		"0.0.0.0/0 is everything":                                                  {Cluster: []Range{{pfx("0.0.0.0/0")[0], 24}}, Nodes: 1},
		"::ffff:10.0.0.0/104 is no range for Services":                             {Cluster: []Range{good}, Service: pfx("::ffff:10.0.0.0/104"), Nodes: 1},
		"fd00::1/108 has host bits: fd00::/108 would be the network that it is in": {Cluster: []Range{good}, Service: pfx("fd00::1/108"), Nodes: 1},
	} {
		if _, err := p.Check(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestProposals: whatever is used, a proposal is aligned, of the right size, private, overlaps nothing, and no free prefix of the
// wanted one's block is nearer than the first; there is one if there is any.
func TestProposals(t *testing.T) {
	blocks := map[bool][]netip.Prefix{true: pfx("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"), false: pfx("fd00::/8")}
	random := rand.New(rand.NewSource(1))
	in := func(block netip.Prefix, bits int) netip.Prefix {
		octets := block.Addr().AsSlice()
		for i := range octets {
			if octets[i] == 0 {
				octets[i] = byte(random.Intn(256))
			}
		}
		a, _ := netip.AddrFromSlice(octets)
		p := netip.PrefixFrom(a, bits).Masked()
		if !block.Contains(p.Addr()) {
			return netip.PrefixFrom(block.Addr(), bits)
		}
		return p
	}
	for range 500 {
		ipv4 := random.Intn(2) == 0
		own := blocks[ipv4][random.Intn(len(blocks[ipv4]))]
		length := own.Bits() + 1 + random.Intn(12)
		wanted := in(own, length)
		var taken []Claim
		for range random.Intn(200) {
			kind := DatacenterNetwork
			if random.Intn(2) == 0 {
				kind = Route
			}
			block := blocks[ipv4][random.Intn(len(blocks[ipv4]))]
			taken = append(taken, Claim{Kind: kind, Prefix: in(block, block.Bits()+1+random.Intn(16))})
		}
		// A route to something larger is no obstacle.
		hits := func(p netip.Prefix) bool {
			return p.Overlaps(docker) || slices.ContainsFunc(taken, func(c Claim) bool {
				return c.Prefix.Overlaps(p) && (c.Kind != Route || c.Prefix.Bits() >= p.Bits())
			})
		}
		found := propose(wanted, length, taken)
		for _, p := range found {
			if p.Bits() != length || p != p.Masked() || hits(p) {
				t.Fatalf("%v is proposed in place of %v beside %v", p, wanted, taken)
			}
			if _, ok := blockOf(p); !ok {
				t.Fatalf("%v is not private", p)
			}
		}
		any := false
		for n := netip.PrefixFrom(own.Addr(), length); own.Contains(n.Addr()); {
			any = any || !hits(n)
			next := address(number(n.Addr()).Add(number(n.Addr()), span(n)), ipv4)
			if next.Less(n.Addr()) {
				break
			}
			n = netip.PrefixFrom(next, length)
		}
		if any && (len(found) == 0 || !own.Contains(found[0].Addr())) {
			t.Fatalf("%v has free prefixes, proposed is %v", own, found)
		}
	}
}
