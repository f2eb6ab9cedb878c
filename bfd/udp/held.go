package udp

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
)

// insert takes in a session that has no state machine yet.
func (s *Speaker) insert(c bfd.SessionConfig) *session {
	s.discriminator++
	if s.discriminator == 0 {
		s.discriminator++
	}
	sess := &session{config: c, discriminator: s.discriminator, fd: -1, heapIndex: -1}
	s.sessions[c.Key] = sess
	s.byPeer[sess.endpoint()] = append(s.byPeer[sess.endpoint()], sess)
	return sess
}

func (s *Speaker) add(c bfd.SessionConfig, now time.Time) *session {
	if old := s.leaving[c.Key]; old != nil {
		s.release(old)
	}
	sess := s.insert(c)
	sess.machine = bfd.NewSession(now, c.Timing, sess.discriminator, rand.Float64)
	if !sess.shared() {
		sess.port = s.takePort()
	}
	return sess
}

// remove is the end of what a session hears.
func (s *Speaker) remove(sess *session) {
	delete(s.sessions, sess.config.Key)
	from := sess.endpoint()
	s.byPeer[from] = slices.DeleteFunc(s.byPeer[from], func(other *session) bool { return other == sess })
	if len(s.byPeer[from]) == 0 {
		delete(s.byPeer, from)
	}
}

// leave ends a session: from now on it only says AdminDown.
func (s *Speaker) leave(sess *session, now time.Time) {
	s.remove(sess)
	s.leaving[sess.config.Key] = sess
	before := sess.seen()
	sess.machine.Stop(now)
	s.settle(sess, before)
}

// release ends a session that is leaving.
func (s *Speaker) release(sess *session) {
	delete(s.leaving, sess.config.Key)
	delete(s.ports, sess.port)
	s.timers.remove(sess)
	sess.close()
}

// settle follows up on what a session has done: log, timer, end.
func (s *Speaker) settle(sess *session, before seen) {
	now := sess.seen()
	if now.state != before.state {
		level := slog.LevelInfo
		if sess.passive { // a gateway has thousands of them
			level = slog.LevelDebug
		}
		s.log.Log(context.Background(), level, "BFD session state",
			"peer", sess.config.Peer, "from", before.state, "to", now.state, "reason", sess.machine.Diag().String())
	}
	// Of passive sessions it is told whether there is one: a node with none at all may be cut off.
	if now != before && !sess.passive || sess.passive && (now.state == bfd.Up) != (before.state == bfd.Up) && !s.anotherUp(sess) {
		s.notify()
	}
	if sess.machine.Done() {
		if s.sessions[sess.config.Key] == sess { // a passive one has lost its peer
			s.remove(sess)
		}
		s.release(sess)
		return
	}
	s.timers.set(sess)
}

// anotherUp says that another passive session is up.
func (s *Speaker) anotherUp(but *session) bool {
	for _, sess := range s.sessions {
		if sess != but && sess.passive && sess.machine.State() == bfd.Up {
			return true
		}
	}
	return false
}
