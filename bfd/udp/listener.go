package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/bfd"
)

// listener receives the packets of all sessions of one kind.
type listener struct {
	hop   hop
	fd    int
	batch batch
}

// listen opens the listener of a kind of session if it is not open yet.
func (s *Speaker) listen(h hop) error {
	if s.listeners[h] != nil {
		return nil
	}
	fd, err := h.socket()
	if err != nil {
		return err
	}
	options := []option{{unix.SOL_IP, unix.IP_RECVTTL, 1}, {unix.SOL_IP, unix.IP_PKTINFO, 1}}
	if h.v6 {
		options = []option{{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1}, {unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1}}
	}
	if err = setOptions(fd, options); err == nil {
		err = unix.Bind(fd, h.sockaddr(netip.Addr{}, h.port(), 0))
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		err = fmt.Errorf("listen on UDP port %d: %w: does another BFD daemon run here?", h.port(), err)
	case err != nil:
		err = fmt.Errorf("listen on UDP port %d: %w", h.port(), err)
	}
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	// Room for a packet of each of many sessions; without the privilege the default must do.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	s.listeners[h] = &listener{hop: h, fd: fd}
	return nil
}

// closeListeners closes the listeners that no session needs, so that the host may use the port otherwise.
func (s *Speaker) closeListeners() {
	needed := map[hop]bool{}
	for from := range s.byPeer {
		needed[from.hop] = true
	}
	for v6 := range s.guests.bits {
		needed[hop{v6: v6, multi: true}] = true
	}
	for h, l := range s.listeners {
		if !needed[h] {
			_ = unix.Close(l.fd)
			delete(s.listeners, h)
		}
	}
}

// receive takes in what has arrived. It ends at some number of packets, so that a flood does not stop the timers.
func (s *Speaker) receive(l *listener) {
	for range 4 * portCount / batchSize {
		l.batch.room()
		n, err := l.batch.receive(l.fd)
		if err != nil {
			return
		}
		now := time.Now()
		for i := range n {
			payload, from, m := l.batch.received(i)
			s.deliver(payload, endpoint{from, l.hop}, m, now)
		}
		if n < batchSize {
			return
		}
	}
}

// deliver gives a packet to its session, or counts why it is discarded.
func (s *Speaker) deliver(payload []byte, from endpoint, m meta, now time.Time) {
	p, err := bfd.Parse(payload)
	var reason bfd.Reason
	errors.As(err, &reason)

	sess, match := s.find(from, m, p.YourDiscriminator)
	switch {
	case sess == nil && reason == "":
		sess, reason = s.welcome(from, m, p, now)
	case sess == nil:
	case m.ttl < sess.minTTL():
		reason = bfd.LowTTL
	case reason == "" && !match:
		reason = bfd.UnknownDiscriminator
	}
	switch {
	case sess == nil:
		s.dropped[reason]++
	case reason != "":
		sess.drop(reason)
	default:
		sess.in++
		before := sess.seen()
		sess.machine.Receive(now, p)
		s.settle(sess, before)
	}
}

// find selects a session by Your Discriminator, or while that is zero by addresses and interface. The addresses must be
// the session's in any case: a guessed discriminator is not enough. Without a match it returns a session with that peer.
func (s *Speaker) find(from endpoint, m meta, discriminator uint32) (sess *session, match bool) {
	for _, candidate := range s.byPeer[from] {
		c := candidate.config
		if c.Local.IsValid() && c.Local != m.to || c.Interface != "" && candidate.ifindex != m.ifindex {
			continue
		}
		sess = candidate
		if discriminator == 0 || discriminator == candidate.discriminator {
			return sess, true
		}
	}
	return sess, false
}

func (sess *session) minTTL() int {
	if sess.config.Multihop {
		return int(sess.config.MinTTL)
	}
	return maxTTL
}

// meta is what the kernel tells about a received packet.
type meta struct {
	ttl     int
	to      netip.Addr
	ifindex int
}

func readMeta(oob []byte) meta {
	m := meta{ttl: -1}
	for len(oob) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		oob = rest
		native := binary.NativeEndian
		switch [2]int32{header.Level, header.Type} {
		case [2]int32{unix.SOL_IP, unix.IP_TTL}, [2]int32{unix.SOL_IPV6, unix.IPV6_HOPLIMIT}:
			m.ttl = int(native.Uint32(data))
		case [2]int32{unix.SOL_IP, unix.IP_PKTINFO}: // struct in_pktinfo: interface, local, destination
			m.ifindex = int(native.Uint32(data))
			m.to, _ = netip.AddrFromSlice(data[8:12])
		case [2]int32{unix.SOL_IPV6, unix.IPV6_PKTINFO}: // struct in6_pktinfo: destination, interface
			m.to, _ = netip.AddrFromSlice(data[:16])
			m.ifindex = int(native.Uint32(data[16:]))
		}
	}
	return m
}
