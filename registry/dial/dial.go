// Package dial opens TCP connections for package registry, and says of each that could not be opened why, and who said so.
package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/waymark-bgp/waymark/registry"
)

// Dialer dials.
type Dialer struct {
	// Connect is net.Dialer.DialContext, or that of another network namespace.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
	// Listener tells which router has sent an ICMP error; nil: that is not known.
	Listener *Listener
}

var _ registry.Dialer = Dialer{}

// Dial opens a connection; its error is a *registry.DialError.
func (d Dialer) Dial(ctx context.Context, host string, port uint16) (registry.Conn, error) {
	conn, err := d.Connect(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, d.explain(err, host, port)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // with a RST: ten thousand connections would leave as many ports in TIME_WAIT
	}
	return conn, nil
}

// reaches are what the kernel makes of a RST and of ICMP errors (icmp_err_convert in Linux).
var reaches = map[syscall.Errno]registry.Reach{
	syscall.ECONNREFUSED: registry.Refused,
	syscall.EHOSTUNREACH: registry.NoRoute,
	syscall.ENETUNREACH:  registry.NoRoute,
	syscall.EACCES:       registry.Prohibited, // by a route of this host
	syscall.EPERM:        registry.Prohibited, // by a filter of this host
	syscall.ETIMEDOUT:    registry.NoAnswer,
}

func (d Dialer) explain(err error, host string, port uint16) error {
	e := &registry.DialError{Reach: registry.Failed, Err: err}
	var name *net.DNSError
	var number syscall.Errno
	var timeout net.Error
	switch {
	case errors.As(err, &name):
		e.Reach, e.Err = registry.Unresolved, errors.New(name.Err)
	case errors.As(err, &number):
		e.Err = number
		if reach, ok := reaches[number]; ok {
			e.Reach = reach
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Reach, e.Err = registry.NoAnswer, errors.New("no answer")
	}
	if d.Listener != nil && name == nil {
		d.Listener.explain(e, host, port)
	}
	return e
}

// NotHere is a Control of a net.Dialer that refuses loopback addresses. No target of a survey is one, but a name may stand for
// one here, as that of this host often does: who answers there is not whom other hosts find by the name.
func NotHere(_, address string, _ syscall.RawConn) error {
	if to, err := netip.ParseAddrPort(address); err == nil && to.Addr().IsLoopback() {
		return errors.New("the name stands for this host itself here, a loopback address")
	}
	return nil
}
