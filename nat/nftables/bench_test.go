package nftables_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

// BenchmarkApply measures the whole plan into an empty kernel, a change of one prefix, and an apply after somebody else's
// change, which reads the table, and one when nothing has changed.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("full/%d", n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				nettest.Run(b, "nft", "flush", "ruleset")
				backend := nftables.New()
				b.StartTimer()
				apply(b, backend, manyPrefixes(n, 0))
			}
		})
		b.Run(fmt.Sprintf("change/%d", n), func(b *testing.B) {
			nettest.Run(b, "nft", "flush", "ruleset")
			backend := nftables.New()
			apply(b, backend, manyPrefixes(n, 0))
			shift := 0
			for b.Loop() {
				shift = 1 - shift
				apply(b, backend, manyPrefixes(n, shift))
			}
		})
		b.Run(fmt.Sprintf("verify/%d", n), func(b *testing.B) {
			nettest.Run(b, "nft", "flush", "ruleset")
			backend := nftables.New()
			p := manyPrefixes(n, 0)
			apply(b, backend, p)
			for b.Loop() {
				b.StopTimer()
				nettest.Run(b, "nft", "add table ip other; delete table ip other")
				b.StartTimer()
				apply(b, backend, p)
			}
		})
		b.Run(fmt.Sprintf("same/%d", n), func(b *testing.B) {
			nettest.Run(b, "nft", "flush", "ruleset")
			backend := nftables.New()
			p := manyPrefixes(n, 0)
			apply(b, backend, p)
			for b.Loop() {
				apply(b, backend, p)
			}
		})
	}
	nettest.Run(b, "nft", "flush", "ruleset")
}

// BenchmarkFailover measures how long new connections wait for their other path when the choice of a gateway has changed.
func BenchmarkFailover(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			nettest.Run(b, "nft", "flush", "ruleset")
			backend := nftables.New()
			plans := [2]nat.Plan{}
			for i := range plans {
				plans[i] = manyPrefixes(n, 0)
				plans[i].Tunnel = nat.Tunnel{Port: 8479, MTU: 1450, Prefix: "waymark"}
				p := &plans[i].Policies[0]
				p.Source, p.Fallback, p.Via = nat.SourceGateway, nat.SourceDrop, []nat.Path{{Mark: uint16(1 + i), IPv4: true}}
			}
			apply(b, backend, plans[0])
			at := 0
			for b.Loop() {
				at = 1 - at
				apply(b, backend, plans[at])
			}
		})
	}
	nettest.Run(b, "nft", "flush", "ruleset")
}

// BenchmarkAgainstIptables tells how many times as long plain iptables takes, one command per prefix: for the whole plan, and for
// one more prefix when the others are there.
func BenchmarkAgainstIptables(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		for _, variant := range []string{"iptables-legacy", "iptables-nft"} {
			b.Run(fmt.Sprintf("%s/%d", variant, n), func(b *testing.B) {
				var full, change, iptablesFull, iptablesChange time.Duration
				timed := func(total *time.Duration, f func()) {
					start := time.Now()
					f()
					*total += time.Since(start)
				}
				for b.Loop() {
					nettest.Run(b, "nft", "flush", "ruleset")
					nettest.Run(b, "iptables-legacy", "-t", "nat", "-F")
					backend := nftables.New()
					timed(&full, func() { apply(b, backend, manyPrefixes(n, 0)) })
					timed(&change, func() { apply(b, backend, manyPrefixes(n, 1)) })
					add := func(prefix netip.Prefix) {
						nettest.Run(b, variant, "-t", "nat", "-A", "POSTROUTING", "-s", "10.244.1.0/24", "-d", prefix.String(), "-j", "ACCEPT")
					}
					timed(&iptablesFull, func() {
						for _, prefix := range manyPrefixes(n, 0).Policies[0].Destinations {
							add(prefix)
						}
					})
					timed(&iptablesChange, func() { add(prefixes("192.168.0.0/16")[0]) })
				}
				b.ReportMetric(float64(iptablesFull)/float64(full), "times-full")
				b.ReportMetric(float64(iptablesChange)/float64(change), "times-change")
			})
		}
	}
}
