package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

const (
	// gather is how long events are gathered before they are told. The kernel flushes the routes of a lost address only
	// after it has told of the address, so there must be some time between the event and the reading.
	gather = 20 * time.Millisecond
	// gatherBusy is gather while events keep coming, for instance from another daemon that loads its routes.
	gatherBusy = 250 * time.Millisecond
	quiet      = time.Second
)

// Watch calls notify when others have changed routes of ours or what these depend on, so that Apply has work; also once when
// it begins. It runs until ctx ends, and returns an error only if it cannot listen (any more). notify must not block.
func (t *Table) Watch(ctx context.Context, notify func()) error {
	socket, err := t.subscribe()
	if err != nil {
		return fmt.Errorf("listen for kernel events: %w", err)
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	t.watched.Store(true)
	defer t.watched.Store(false)
	var told time.Time
	tell := func() {
		told = time.Now()
		t.events.Add(1)
		notify()
	}
	tell()
	buffer := make([]byte, receiveBytes)
	for gathering := false; ; {
		relevant, err := receiveEvents(socket, buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			gathering = false
			err = socket.SetReadDeadline(time.Time{})
			tell()
		case err == nil && relevant && !gathering:
			gathering = true
			t.events.Add(1) // an Apply that comes before notify must not rely on what was read earlier
			wait := gather
			if time.Since(told) < quiet {
				wait = gatherBusy
			}
			err = socket.SetReadDeadline(time.Now().Add(wait))
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("listen for kernel events: %w", err)
		}
	}
}

// subscribe opens a socket that gets the events of links, addresses and routes, without those that we cause.
func (t *Table) subscribe() (*os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(fd), "netlink events")
	errs := []error{
		buffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF),
		dropFrom(fd, t.conn.pid),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	}
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	} {
		errs = append(errs, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group))
	}
	if err := errors.Join(errs...); err != nil {
		_ = socket.Close()
		return nil, err
	}
	return socket, nil
}

// dropFrom keeps the notifications of what the socket with address pid has changed out of the socket fd. They would be as
// many as the routes that we write.
func dropFrom(fd int, pid uint32) error {
	const offsetOfPid = 12 // in struct nlmsghdr
	// The filter loads in network order what the kernel has stored in the host's.
	swapped := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, pid))
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offsetOfPid},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: swapped, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// receiveEvents waits for a datagram and says whether it touches us.
func receiveEvents(socket *os.File, b []byte) (relevant bool, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	var from unix.Sockaddr
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, from, failed = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
		return failed != unix.EAGAIN
	})
	switch {
	case err != nil:
		return false, err
	case failed == unix.ENOBUFS:
		return true, nil // events are lost, so anything may have happened
	case failed == unix.EINTR:
		return false, nil
	case failed != nil:
		return false, os.NewSyscallError("receive from kernel", failed)
	}
	if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
		return false, nil
	}
	var f found
	err = messages(b[:n], func(h header, body []byte) error {
		relevant = relevant || touches(h.typ(), body, &f)
		return nil
	})
	return relevant, err
}

// touches says whether an event can have changed routes of ours or how a next hop is reached.
func touches(typ uint16, body []byte, f *found) bool {
	switch typ {
	case unix.RTM_NEWLINK:
		// Going down takes IPv4 routes away without an event for each, coming up revives hops. The rest, from carrier to
		// name, changes no route. The fourth word tells which flags have changed.
		return len(body) >= unix.SizeofIfInfomsg && binary.NativeEndian.Uint32(body[12:])&unix.IFF_UP != 0 && !ofTunnel(body)
	case unix.RTM_DELLINK:
		return !ofTunnel(body)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		address, ok := parseAddress(body)
		return ok && !address.Addr().IsLinkLocalUnicast()
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return f.parse(body) && f.plain && f.place.table != unix.RT_TABLE_LOCAL && f.protocol != route.TunnelProtocol &&
			(f.protocol == route.Protocol || !f.key.prefix().Addr().IsLinkLocalUnicast() && !f.key.prefix().Addr().IsMulticast())
	}
	return false
}

// ofTunnel says of a link message that it is about a tunnel to an egress gateway. These come and go, and nothing that is
// learned leads into them.
func ofTunnel(body []byte) bool {
	for typ, value := range attributes(body[min(unix.SizeofIfInfomsg, len(body)):]) {
		if typ == unix.IFLA_IFNAME {
			return strings.HasPrefix(string(value), route.TunnelPrefix)
		}
	}
	return false
}
