package udp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/bfd"
)

// sender sends for all multihop sessions of a family that are bound to no interface. A gateway has thousands of them: a
// socket and a port for each (RFC 5881 section 4 says SHOULD) would be half of its load, and an end of the ports.
type sender struct {
	hop   hop
	fd    int
	batch batch
	queue []*session // whose packets are in batch
}

// shared tells whether the session sends through a sender.
func (sess *session) shared() bool { return sess.config.Multihop && sess.config.Interface == "" }

// enqueue sends a packet before the round ends.
func (s *Speaker) enqueue(sess *session, p bfd.Packet) error {
	to := sess.endpoint()
	out := s.senders[to.hop]
	if out == nil {
		out = &sender{hop: to.hop}
		if err := out.open(); err != nil {
			return err
		}
		s.senders[to.hop] = out
	}
	var text [bfd.PacketLen]byte
	out.batch.put(len(out.queue), to, sess.config.Local, p.Append(text[:0]))
	if out.queue = append(out.queue, sess); len(out.queue) == batchSize {
		s.flush(out)
	}
	return nil
}

// flush sends what waits.
func (s *Speaker) flush(out *sender) {
	patient := true
	for done := 0; done < len(out.queue); {
		n, err := out.batch.send(out.fd, done, len(out.queue)-done)
		for range n {
			s.sent(out.queue[done], nil)
			done++
		}
		switch {
		case err == unix.EAGAIN && patient:
			patient = out.drained()
		case err != nil:
			s.sent(out.queue[done], fmt.Errorf("send to %s: %w", out.queue[done].config.Peer, err))
			done++
		}
	}
	out.queue = out.queue[:0]
}

// drained waits a little for room in the socket's buffer: thousands of sessions that end together say so together.
func (out *sender) drained() bool {
	wait := unix.NsecToTimespec(int64(10 * time.Millisecond))
	n, _ := unix.Ppoll([]unix.PollFd{{Fd: int32(out.fd), Events: unix.POLLOUT}}, &wait, nil)
	return n > 0
}

func (out *sender) open() error {
	fd, err := out.hop.socket()
	if err != nil {
		return err
	}
	if err = setOptions(fd, out.hop.sendOptions()); err == nil {
		for range portCount {
			err = unix.Bind(fd, out.hop.sockaddr(netip.Addr{}, uint16(firstPort+rand.IntN(portCount)), 0))
			if !errors.Is(err, unix.EADDRINUSE) {
				break
			}
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("open a socket for BFD: %w", err)
	}
	out.fd = fd
	return nil
}
