package udp

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

const (
	maxTTL         = 255
	networkControl = 0xc0 // DSCP CS6, as routing protocols have it: the last to be dropped on a full link
)

// hop is a kind of session: each has a receiving socket of its own.
type hop struct{ v6, multi bool }

// port is the destination port (RFC 5881 section 4, RFC 5883 section 5).
func (h hop) port() uint16 {
	if h.multi {
		return 4784
	}
	return 3784
}

func (h hop) socket() (int, error) {
	family := unix.AF_INET
	if h.v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("open a UDP socket: %w", err)
	}
	if h.v6 {
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("make a socket IPv6 only: %w", err)
		}
	}
	return fd, nil
}

// sockaddr of an address, zero: any. The interface counts for link-local addresses only.
func (h hop) sockaddr(a netip.Addr, port uint16, ifindex int) unix.Sockaddr {
	if !h.v6 {
		sa := &unix.SockaddrInet4{Port: int(port)}
		if a.IsValid() {
			sa.Addr = a.As4()
		}
		return sa
	}
	sa := &unix.SockaddrInet6{Port: int(port)}
	if a.IsValid() {
		sa.Addr = a.As16()
		if a.IsLinkLocalUnicast() {
			sa.ZoneId = uint32(ifindex)
		}
	}
	return sa
}

type option struct{ level, name, value int }

// sendOptions are those of a socket that only sends.
func (h hop) sendOptions() []option {
	options := []option{
		{unix.SOL_SOCKET, unix.SO_RCVBUF, 0}, // nothing is read from it
		{unix.SOL_IP, unix.IP_FREEBIND, 1},   // the local address may come later
	}
	if h.v6 {
		return append(options,
			option{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, maxTTL}, option{unix.SOL_IPV6, unix.IPV6_TCLASS, networkControl})
	}
	return append(options, option{unix.SOL_IP, unix.IP_TTL, maxTTL}, option{unix.SOL_IP, unix.IP_TOS, networkControl})
}

func setOptions(fd int, options []option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set socket option %d/%d to %d: %w", o.level, o.name, o.value, err)
		}
	}
	return nil
}

func interfaceIndex(fd int, name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, fmt.Errorf("find interface %s: %w", name, os.NewSyscallError("SIOCGIFINDEX", err))
	}
	return int(req.Uint32()), nil
}

// prioritise puts the calling thread before all ordinary ones: the lowest priority of the real-time policy. Measured with 10
// sessions at 50 ms x 3 and 12 busy processes on 2 cores: 8 sessions failed in 20 s without it, none with it. The thread
// sleeps most of the time, and the kernel keeps some of each second for the others.
func prioritise() error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("set real-time policy: %w", err)
	}
	return nil
}
