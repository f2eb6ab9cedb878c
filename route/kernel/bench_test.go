package kernel

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// learned is routes as the speaker gives them, with shared sets of next hops.
type learned struct {
	prefixes []netip.Prefix
	nextHops [][]netip.Addr
}

func learn(n int, v6 bool, nextHops ...[]netip.Addr) learned {
	var l learned
	for i := range n {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 12), byte(i >> 4), byte(i & 15 << 4)}), 28)
		if v6 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xf0, byte(i >> 16), byte(i >> 8), byte(i)}), 64)
		}
		l.prefixes = append(l.prefixes, p)
		l.nextHops = append(l.nextHops, nextHops[i%len(nextHops)])
	}
	return l
}

func (l learned) desired() route.Desired {
	var all iter.Seq2[netip.Prefix, []netip.Addr] = func(yield func(netip.Prefix, []netip.Addr) bool) {
		for i, prefix := range l.prefixes {
			if !yield(prefix, l.nextHops[i]) {
				return
			}
		}
	}
	d := routes{}.desired()
	d.Routes = all
	return d
}

// batch writes the same routes as a file for ip -batch.
func (l learned) batch(b *testing.B) string {
	var text strings.Builder
	for i, prefix := range l.prefixes {
		fmt.Fprintf(&text, "route add %s proto 179 metric 200", prefix)
		for _, nextHop := range l.nextHops[i] {
			if len(l.nextHops[i]) > 1 {
				text.WriteString(" nexthop")
			}
			fmt.Fprintf(&text, " via %s", nextHop)
		}
		text.WriteByte('\n')
	}
	file := filepath.Join(b.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	return file
}

func addrs(list ...string) []netip.Addr {
	var a []netip.Addr
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

// BenchmarkLoad installs routes into an empty table, against ip -batch with the same routes.
func BenchmarkLoad(b *testing.B) {
	lab(b)
	for _, c := range []struct {
		name string
		l    learned
	}{
		{"ipv4-10000", learn(10_000, false, addrs(r1), addrs(r2))},
		{"ipv4-100000", learn(100_000, false, addrs(r1), addrs(r2))},
		{"ipv4-ecmp-100000", learn(100_000, false, addrs(r1, r2))},
		{"ipv6-100000", learn(100_000, true, addrs(r1v6), addrs(r2v6))},
	} {
		b.Run(c.name+"/ip-batch", func(b *testing.B) {
			file := c.l.batch(b)
			for range b.N {
				nettest.Run(b, "ip", "-batch", file)
				b.StopTimer()
				empty(b)
				b.StartTimer()
			}
		})
		b.Run(c.name+"/apply", func(b *testing.B) {
			table := newTable(b)
			watch(b, table)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				result := apply(b, table, c.l.desired())
				b.StopTimer()
				if result.Added != len(c.l.prefixes) {
					b.Fatal(result)
				}
				if err := table.RemoveAll(context.Background()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func empty(b *testing.B) {
	table := New()
	defer table.Close()
	if err := table.RemoveAll(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPass is what an apply costs when a hundred thousand routes stand and few or all change.
func BenchmarkPass(b *testing.B) {
	lab(b)
	for _, c := range []struct {
		name   string
		hops   []netip.Addr
		change func(l *learned, i int)
	}{
		{"nothing", addrs(r1), func(*learned, int) {}},
		{"100-routes", addrs(r1), func(l *learned, i int) {
			for j := range 100 {
				l.nextHops[j*997] = addrs([]string{r1, r2}[(i+1)&1])
			}
		}},
		{"every-next-hop", addrs(r1), func(l *learned, i int) {
			for j := range l.nextHops {
				l.nextHops[j] = [][]netip.Addr{addrs1, addrs2}[(i+1)&1]
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			table := newTable(b)
			watch(b, table)
			l := learn(100_000, false, c.hops)
			apply(b, table, l.desired())
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				c.change(&l, i)
				apply(b, table, l.desired())
			}
			b.StopTimer()
			empty(b)
		})
	}
	b.Run("read-again", func(b *testing.B) {
		table := newTable(b)
		l := learn(100_000, false, addrs(r1), addrs(r2))
		apply(b, table, l.desired())
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			apply(b, table, l.desired())
		}
		b.StopTimer()
		var m0, m1 runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m0)
		table.have, table.plans = nil, nil
		runtime.GC()
		runtime.ReadMemStats(&m1)
		b.ReportMetric(float64(m0.HeapAlloc-m1.HeapAlloc)/100_000, "heap-B/route")
		empty(b)
	})
}

var addrs1, addrs2 = addrs(r1), addrs(r2)
