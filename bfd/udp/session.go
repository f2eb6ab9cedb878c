package udp

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/bfd"
)

// The source ports that RFC 5881 section 4 allows. Each session has one of its own, and keeps it.
const (
	firstPort = 49152
	portCount = 65536 - firstPort
)

// session is the state machine with its sending socket. The socket only sends: what the peer sends goes to a listener.
type session struct {
	config        bfd.SessionConfig
	machine       *bfd.Session
	discriminator uint32

	fd      int // -1: not open
	port    uint16
	ifindex int // of config.Interface while the socket is open, otherwise 0
	to      unix.Sockaddr

	in, out uint64
	dropped map[bfd.Reason]uint64
	problem string

	due       time.Time
	heapIndex int // -1: not in the heap
}

func (sess *session) endpoint() endpoint {
	return endpoint{sess.config.Peer, hop{sess.config.Peer.Is6(), sess.config.Multihop}}
}

func (sess *session) status() bfd.Status {
	st := sess.machine.Status()
	st.Key = sess.config.Key
	st.PacketsIn, st.PacketsOut = sess.in, sess.out
	st.Dropped = maps.Clone(sess.dropped)
	st.Problem = sess.problem
	return st
}

func (sess *session) drop(r bfd.Reason) {
	if sess.dropped == nil {
		sess.dropped = map[bfd.Reason]uint64{}
	}
	sess.dropped[r]++
}

// send sends a packet. What keeps it from that (an address or link that is not there yet, a port in use) may pass, so the
// next packet tries everything anew.
func (s *Speaker) send(sess *session, p bfd.Packet) {
	problem := ""
	if err := s.transmit(sess, p); err != nil {
		problem = err.Error()
		sess.close()
	} else {
		sess.out++
	}
	if problem == sess.problem {
		return
	}
	sess.problem = problem
	if problem != "" {
		s.log.Warn("BFD session cannot send", "peer", sess.config.Peer, "error", problem)
	} else {
		s.log.Info("BFD session can send again", "peer", sess.config.Peer)
	}
	s.notify()
}

func (s *Speaker) transmit(sess *session, p bfd.Packet) error {
	if p.State != bfd.AdminDown { // that one ends and hears no more
		if err := s.listen(sess.endpoint().hop); err != nil {
			return err
		}
	}
	if sess.fd < 0 {
		if err := s.open(sess); err != nil {
			return err
		}
	}
	var buf [bfd.PacketLen]byte
	if err := unix.Sendto(sess.fd, p.Append(buf[:0]), unix.MSG_DONTWAIT, sess.to); err != nil {
		return fmt.Errorf("send to %s: %w", sess.config.Peer, err)
	}
	return nil
}

// open opens the sending socket.
func (s *Speaker) open(sess *session) error {
	hop := sess.endpoint().hop
	fd, err := hop.socket()
	if err != nil {
		return err
	}
	sess.fd = fd
	options := []option{
		{unix.SOL_SOCKET, unix.SO_RCVBUF, 0}, // nothing is read from it
		{unix.SOL_IP, unix.IP_FREEBIND, 1},   // the local address may come later
	}
	if hop.v6 {
		options = append(options,
			option{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, maxTTL}, option{unix.SOL_IPV6, unix.IPV6_TCLASS, networkControl})
	} else {
		options = append(options,
			option{unix.SOL_IP, unix.IP_TTL, maxTTL}, option{unix.SOL_IP, unix.IP_TOS, networkControl})
	}
	if name := sess.config.Interface; name != "" {
		if sess.ifindex, err = interfaceIndex(fd, name); err != nil {
			return err
		}
		options = append(options, option{unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, sess.ifindex})
	}
	if err := setOptions(fd, options); err != nil {
		return err
	}
	sess.to = hop.sockaddr(sess.config.Peer, hop.port(), sess.ifindex)
	for range portCount {
		err = unix.Bind(fd, hop.sockaddr(sess.config.Local, sess.port, sess.ifindex))
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
		// Somebody else on the host has this port.
		delete(s.ports, sess.port)
		sess.port = s.takePort()
	}
	if err != nil {
		return fmt.Errorf("bind to %s port %d: %w", sess.config.Local, sess.port, err)
	}
	return nil
}

// takePort returns a source port that no other session has. There are never more sessions than ports.
func (s *Speaker) takePort() uint16 {
	for range portCount {
		if s.port++; s.port < firstPort {
			s.port = firstPort
		}
		if !s.ports[s.port] {
			break
		}
	}
	s.ports[s.port] = true
	return s.port
}

func (sess *session) close() {
	if sess.fd >= 0 {
		_ = unix.Close(sess.fd)
	}
	sess.fd, sess.ifindex = -1, 0
}
