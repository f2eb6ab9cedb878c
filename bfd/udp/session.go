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
	passive       bool // the peer has opened it, and config has nothing but the key
	machine       *bfd.Session
	discriminator uint32

	// Of those that are not shared.
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

func (sess *session) endpoint() endpoint { return endpointOf(sess.config.Key) }

func endpointOf(key bfd.Key) endpoint { return endpoint{key.Peer, hop{key.Peer.Is6(), key.Multihop}} }

// seen is that of a session whose change is worth a report.
type seen struct {
	state      bfd.State
	remoteDiag bfd.Diag
}

func (sess *session) seen() seen {
	return seen{sess.machine.State(), sess.machine.RemoteDiag()}
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
	if p.State != bfd.AdminDown { // that one ends and hears no more
		if err := s.listen(sess.endpoint().hop); err != nil {
			s.sent(sess, err)
			return
		}
	}
	if !sess.shared() {
		s.sent(sess, s.transmit(sess, p))
	} else if err := s.enqueue(sess, p); err != nil {
		s.sent(sess, err)
	}
}

// sent takes note of what has become of a packet.
func (s *Speaker) sent(sess *session, err error) {
	problem := ""
	if err != nil {
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
	options := hop.sendOptions()
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
