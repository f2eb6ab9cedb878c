package tunnel

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

// BenchmarkApply has n paths to n/2 egress addresses, beside 100,000 routes of others.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 50, 200} {
		b.Run(fmt.Sprintf("paths=%d", n), func(b *testing.B) { benchPaths(b, n) })
	}
}

func benchPaths(b *testing.B, n int) {
	l := newLab(b, 1500)
	var batch strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&batch, "route add 10.%d.%d.%d/32 via 198.51.100.254 proto 179 metric 200\n", i>>16, i>>8&255, i&255)
	}
	file := b.TempDir() + "/routes"
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	nettest.Run(b, "ip", "-batch", file)
	all := route.Tunnels{Local: addresses(node4), Mask: mask, Shift: shift}
	for i := range n {
		all.Paths = append(all.Paths, route.TunnelPath{Mark: uint16(i + 1), VNI: uint32(1 + i/2), Gateway: addresses(one4, two4)[i%2]})
	}
	moved := clone(all)
	moved.Paths[n-1].Gateway = netip.MustParseAddr("192.0.2.13")
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
			benchApply(b, l, all)
			b.StopTimer()
			benchApply(b, l, route.Tunnels{})
			b.StartTimer()
		}
	})
	benchApply(b, l, all)
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
			benchApply(b, l, all)
		}
	})
	b.Run("move", func(b *testing.B) {
		for b.Loop() {
			benchApply(b, l, moved)
			all, moved = moved, all
		}
	})
	benchApply(b, l, route.Tunnels{})
	nettest.Self.IP(b, "route flush proto 179")
}

func benchApply(b *testing.B, l *lab, t route.Tunnels) {
	if _, err := l.kernel.Apply(b.Context(), t); err != nil {
		b.Fatal(err)
	}
}
