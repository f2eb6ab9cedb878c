package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route/probe"
)

// socket sends probes to one address and hears what comes back for them, as tracepath does: the kernel keeps the ICMP messages
// that belong to a socket in its error queue, for everybody.
type socket struct {
	fd   int
	to   netip.Addr
	echo bool   // ICMP echo requests; else UDP
	raw  bool   // with echo: a raw socket
	id   uint16 // with raw: tells our echo requests from those of others
}

// basePort is that of TTL 1: the port of a probe, or its sequence number, is what tells its TTL.
const basePort = 33434

// openUDP opens a socket for UDP probes, which leave by the device; "": by any.
func openUDP(to netip.Addr, device string) (*socket, error) {
	return open(socket{to: to}, unix.SOCK_DGRAM, unix.IPPROTO_UDP, device)
}

// openEcho opens a socket for echo requests where this process may have one: the sysctl ping_group_range has its group, or it
// has CAP_NET_RAW.
func openEcho(to netip.Addr, device string) (*socket, error) {
	protocol := unix.IPPROTO_ICMP
	if to.Is6() {
		protocol = unix.IPPROTO_ICMPV6
	}
	s, err := open(socket{to: to, echo: true}, unix.SOCK_DGRAM, protocol, device)
	if !errors.Is(err, unix.EACCES) {
		return s, err
	}
	s, err = open(socket{to: to, echo: true, raw: true, id: uint16(rand.Uint32())}, unix.SOCK_RAW, protocol, device)
	if err != nil {
		return nil, err
	}
	// Else it would hear the echo replies of everybody.
	if err := unix.Connect(s.fd, address(to, 0)); err != nil {
		s.close()
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return s, nil
}

func open(s socket, kind, protocol int, device string) (*socket, error) {
	family, level, option := unix.AF_INET, unix.SOL_IP, unix.IP_RECVERR
	if s.to.Is6() {
		family, level, option = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open a socket to probe %s: %w", s.to, err)
	}
	s.fd = fd
	err = unix.SetsockoptInt(fd, level, option, 1)
	if device != "" {
		err = errors.Join(err, unix.BindToDevice(fd, device))
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("prepare a socket to probe %s: %w", s.to, err)
	}
	return &s, nil
}

func (s *socket) close() { _ = unix.Close(s.fd) }

func address(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}

// send sends one probe. An error is what keeps the kernel from sending.
func (s *socket) send(ttl int) error {
	level, option := unix.SOL_IP, unix.IP_TTL
	if s.to.Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS
	}
	if err := unix.SetsockoptInt(s.fd, level, option, ttl); err != nil {
		return err
	}
	port, packet := basePort+ttl, []byte("waymark")
	if s.echo {
		port, packet = 0, s.request(ttl)
	}
	to := address(s.to, port)
	if s.raw {
		to = nil // connected
	}
	err := unix.Sendto(s.fd, packet, 0, to)
	// What came back for an earlier probe is told by the next call too, which then has not sent anything.
	for range 3 {
		if err == nil || errors.Is(err, unix.EAGAIN) {
			return nil
		}
		err = unix.Sendto(s.fd, packet, 0, to)
	}
	return err
}

// request is an echo request (RFC 792, RFC 4443). The kernel writes the identifier of other than raw sockets, and all
// checksums but that of IPv4.
func (s *socket) request(ttl int) []byte {
	p := make([]byte, 16)
	p[0] = 8
	if s.to.Is6() {
		p[0] = 128
	}
	binary.BigEndian.PutUint16(p[4:], s.id)
	binary.BigEndian.PutUint16(p[6:], uint16(ttl))
	if s.to.Is4() {
		sum := uint32(0)
		for i := 0; i < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
		binary.BigEndian.PutUint16(p[2:], ^uint16(sum+sum>>16))
	}
	return p
}

// receive returns what has come back by now.
func (s *socket) receive() (hops []probe.Hop) {
	data, control := make([]byte, 256), make([]byte, 256)
	for range 100 { // whoever floods us must not keep us here
		n, cn, _, from, err := unix.Recvmsg(s.fd, data, control, unix.MSG_ERRQUEUE)
		if err != nil {
			break
		}
		if h, good := s.refusal(data[:n], control[:cn], from); good {
			hops = append(hops, h)
		}
	}
	for range 100 {
		n, from, err := unix.Recvfrom(s.fd, data, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			continue // that of a message which the error queue has
		}
		if h, good := s.answer(data[:n], from); good {
			hops = append(hops, h)
		}
	}
	return hops
}

// refusal reads an ICMP message from the error queue.
func (s *socket) refusal(data, control []byte, from unix.Sockaddr) (probe.Hop, bool) {
	ttl := 0
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		ttl = a.Port - basePort
	case *unix.SockaddrInet6:
		ttl = a.Port - basePort
	}
	if s.echo {
		if len(data) < 8 || s.raw && binary.BigEndian.Uint16(data[4:]) != s.id {
			return probe.Hop{}, false
		}
		ttl = int(binary.BigEndian.Uint16(data[6:]))
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return probe.Hop{}, false
	}
	for _, m := range messages {
		if len(m.Data) < 16 {
			continue
		}
		// struct sock_extended_err: errno, origin, type, code, pad, info, data; then the sender's address.
		origin, kind, code, rest := m.Data[4], m.Data[5], m.Data[6], m.Data[16:]
		h := probe.Hop{TTL: ttl}
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR && origin == unix.SO_EE_ORIGIN_ICMP && len(rest) >= 8:
			h.From = netip.AddrFrom4([4]byte(rest[4:8]))
			h.Kind = kind4(kind, code, h.From == s.to)
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR && origin == unix.SO_EE_ORIGIN_ICMP6 && len(rest) >= 24:
			h.From = netip.AddrFrom16([16]byte(rest[8:24]))
			h.Kind = kind6(kind, code, h.From == s.to)
		}
		if h.Kind != probe.Nothing {
			return h, true
		}
	}
	return probe.Hop{}, false
}

// kind4 is what an ICMP message of IPv4 (RFC 792, RFC 1812 5.2.7) says. Only the address itself has closed ports; others who
// say so are filters.
func kind4(kind, code byte, itself bool) probe.Kind {
	switch {
	case kind == 11 && code == 0:
		return probe.Exceeded
	case kind != 3 || code == 4: // neither that a packet was too large
		return probe.Nothing
	case itself:
		return probe.Reached
	case code == 3 || code == 9 || code == 10 || code == 13:
		return probe.Prohibited
	}
	return probe.Unreachable
}

// kind6 is what an ICMP message of IPv6 (RFC 4443) says.
func kind6(kind, code byte, itself bool) probe.Kind {
	switch {
	case kind == 3 && code == 0:
		return probe.Exceeded
	case kind != 1:
		return probe.Nothing
	case itself:
		return probe.Reached
	case code == 1 || code == 4 || code == 5 || code == 6:
		return probe.Prohibited
	}
	return probe.Unreachable
}

// answer reads what the address itself has sent.
func (s *socket) answer(data []byte, from unix.Sockaddr) (probe.Hop, bool) {
	h := probe.Hop{Kind: probe.Reached}
	port := 0
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		h.From, port = netip.AddrFrom4(a.Addr), a.Port
	case *unix.SockaddrInet6:
		h.From, port = netip.AddrFrom16(a.Addr), a.Port
	}
	h.TTL = port - basePort
	if s.echo {
		reply := byte(129)
		if s.to.Is4() {
			reply = 0
			if s.raw && len(data) > 0 {
				data = data[min(len(data), int(data[0]&15)*4):] // of IPv4 raw sockets get the header too
			}
		}
		if len(data) < 8 || data[0] != reply || s.raw && binary.BigEndian.Uint16(data[4:]) != s.id {
			return h, false
		}
		h.TTL = int(binary.BigEndian.Uint16(data[6:]))
	}
	return h, h.From == s.to
}
