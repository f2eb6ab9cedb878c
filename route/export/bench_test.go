package export

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// BenchmarkExport is all of 5,000 nodes with two families: assigned, aggregated, written.
func BenchmarkExport(b *testing.B) {
	gateways := []Gateway{{Name: "core1", NodeSubnets: prefixes("10.0.0.0/8", "fd00::/16")}}
	var many []Node
	for i := range 5000 {
		high, low := byte(i>>8), byte(i)
		pods := netip.AddrFrom16([16]byte{0xfd, 1, 0, 0, 0, 0, high, low})
		many = append(many, Node{
			Name:      fmt.Sprintf("node-%d.rack-%d.example.com", i, i/40),
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 132, high, low}), netip.AddrFrom16([16]byte{0xfd, 0, 14: high, 15: low})},
			PodCIDRs:  []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + high, low, 0}), 24), netip.PrefixFrom(pods, 64)},
		})
	}
	for _, d := range Dialects() {
		b.Run(d, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				routes, unreached := Assign(gateways, many)
				if len(routes) != 10000 || len(unreached) != 0 {
					b.Fatalf("%d routes, %d unreached", len(routes), len(unreached))
				}
				if _, err := Render(d, Aggregate(routes)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParse reads 100,000 lines, of which the most are no static routes.
func BenchmarkParse(b *testing.B) {
	for name, text := range running(b) {
		text = strings.Repeat(text, 100000/strings.Count(text, "\n"))
		if name == "json" || name == "csv" {
			continue // are nothing but routes, and one after the other is none
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if found, _, err := Parse(dialectOf(name), text); err != nil || len(found) == 0 {
					b.Fatalf("%d routes, %v", len(found), err)
				}
			}
		})
	}
}
