package kernel

import (
	"context"
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

// kernelGaps is how many sends may fail in thousands: when a lookup of the kernel is interrupted just after it has found a
// route, and the route is replaced meanwhile, it finds none (fib_table_lookup passes over a fib_info that is dead). Of 140,000
// calls of "ip route replace" on a busy machine 20 to 30 were seen so. A route deleted before the next one is there fails
// hundreds.
const kernelGaps = 10

// Packets are sent without pause while routes move between gateways, metrics and tables. The node has no other route, so
// a moment without one fails a send.
func TestNoMomentWithoutRoute(t *testing.T) {
	lab(t)
	for _, c := range []struct{ name, prefix, target, a, b string }{
		{"IPv4", "10.1.0.0/16", "10.1.2.3:9", r1, r2},
		{"IPv6", "2001:db8:a::/48", "[2001:db8:a::1]:9", r1v6, r2v6},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := newTable(t)
			one, two, both := routes{c.prefix: c.a}.desired(), routes{c.prefix: c.b}.desired(), routes{c.prefix: c.a + "," + c.b}.desired()
			low, high := one, both
			low.Metric, high.Metric = 100, 300
			apply(t, table, one)
			sent, unreachable := 0, 0
			t.Cleanup(func() {
				if sent < 1000 || unreachable > kernelGaps {
					t.Errorf("%d packets sent, and for %d there was no route", sent, unreachable)
				}
			})
			background(t, func(ctx context.Context) error {
				for ctx.Err() == nil {
					// A new socket for each, since a socket remembers its route.
					socket, err := net.Dial("udp", c.target)
					if err == nil {
						_, err = socket.Write([]byte("x"))
						_ = socket.Close()
					}
					if errors.Is(err, unix.ENETUNREACH) {
						unreachable++
					}
					sent++
				}
				return nil
			})
			for range 300 {
				for _, d := range []route.Desired{two, both, one, high, low, two, low, both, two, one} {
					apply(t, table, d)
				}
			}
		})
	}
}
