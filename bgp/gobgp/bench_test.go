package gobgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
)

// BenchmarkLearn measures from the first UPDATE until the caller has seen all routes, and what they take.
func BenchmarkLearn(b *testing.B) {
	for _, count := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			var messages []byte
			all := prefixes(count)
			for i := range 10 {
				messages = append(messages, update(b, uint32(65000+i), all[i*count/10:(i+1)*count/10])...)
			}
			for b.Loop() {
				b.StopTimer()
				changed := make(chan struct{}, 1)
				s := New(slog.New(slog.DiscardHandler), "", false, func() {
					select {
					case changed <- struct{}{}:
					default:
					}
				})
				f := listenFeeder(b, "127.0.0.2:1790")
				runtime.GC()
				debug.FreeOSMemory()
				before := resident()
				err := s.Apply(context.Background(), bgp.Config{
					ASN: 64513, RouterID: netip.MustParseAddr("192.0.2.1"),
					Accept: []bgp.FilterRule{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), MaxLength: 32, Action: bgp.Accept}},
					Peers: []bgp.Peer{{
						Name: "feeder", Address: netip.MustParseAddr("127.0.0.2"), Port: 1790, ASN: 64512, Families: []bgp.Family{bgp.IPv4},
						Import: []bgp.FilterRule{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Action: bgp.Reject}},
					}},
				})
				if err != nil {
					b.Fatal(err)
				}
				if err := f.open(); err != nil {
					b.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				b.StartTimer()
				if _, err := f.conn.Write(messages); err != nil {
					b.Fatal(err)
				}
				for learned := 0; learned < count; {
					<-changed
					learned = 0
					for range s.Learned {
						learned++
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(resident()-before)/1e6, "MB-resident")
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-heap")
				t := time.Now()
				s.Peers()
				b.ReportMetric(float64(time.Since(t).Microseconds()), "µs-Peers")
				if os.Getenv("HEAP") != "" {
					f, _ := os.Create(os.Getenv("HEAP"))
					pprof.WriteHeapProfile(f)
					f.Close()
				}
				if err := s.Stop(context.Background(), false); err != nil {
					b.Fatal(err)
				}
				f.conn.Close()
				f.listener.Close()
				b.StartTimer()
			}
		})
	}
}

func resident() int {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb * 1024
		}
	}
	return 0
}
