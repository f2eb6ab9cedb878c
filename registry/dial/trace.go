package dial

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/waymark-bgp/waymark/registry"
)

// Tracer finds how far packets come, from this network namespace.
type Tracer struct{ Listener *Listener }

var _ registry.Tracer = Tracer{}

const (
	mostHops   = 16
	silentHops = 2 // in a row: it ends before them
	hopTime    = 400 * time.Millisecond
)

// Trace opens a connection again and again with one hop more to live, and returns the last router that says that it has come
// to its end there; zero: none does.
func (t Tracer) Trace(ctx context.Context, addr netip.Addr, port uint16) (last netip.Addr) {
	about := netip.AddrPortFrom(addr.WithZone(""), port)
	silent := 0
	for hops := 1; hops <= mostHops && silent < silentHops && ctx.Err() == nil; hops++ {
		t.Listener.forget(about)
		t.send(ctx, addr, port, hops)
		m, heard := t.Listener.about(about)
		switch {
		case !heard:
			silent++
		case m.expired:
			last, silent = m.from, 0
		default:
			return m.from // who says no is the end
		}
	}
	return last
}

// send lets a SYN go that lives for some hops, and waits for what is said of it.
func (t Tracer) send(ctx context.Context, addr netip.Addr, port uint16, hops int) {
	ctx, cancel := context.WithTimeout(ctx, hopTime)
	defer cancel()
	level, option := syscall.IPPROTO_IP, syscall.IP_TTL
	if addr.Is6() {
		level, option = syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS
	}
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), level, option, hops) })
		if err != nil {
			return err
		}
		return failed
	}}
	if conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(int(port)))); err == nil {
		_ = conn.Close() // it answers now
		return
	}
	time.Sleep(lag)
}
