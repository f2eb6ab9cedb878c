// Package udp runs BFD sessions over UDP: single hop (RFC 5881) and multihop (RFC 5883), IPv4 and IPv6.
//
// One thread does all of it: it waits for packets and for the next timer of any session, and takes in what has arrived
// before it lets a session time out. So a process that the scheduler has kept waiting does not take its own delay for a
// dead peer, and thousands of sessions cost neither goroutines nor wake-ups of their own.
package udp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/bfd"
)

// pace is how long a busy Speaker rests between two rounds, so that one round serves many packets and timers. It is short
// against the shortest interval (bfd.MinInterval), and more than halves the load of 5,000 sessions.
const pace = time.Millisecond

// Speaker holds the sessions. It is safe for concurrent use.
type Speaker struct {
	log     *slog.Logger
	changed chan struct{}

	mu            sync.Mutex
	wake          int // eventfd that ends the wait for packets; -1: not running
	stopping      bool
	sessions      map[bfd.Key]*session
	leaving       map[bfd.Key]*session // still saying AdminDown
	byPeer        map[endpoint][]*session
	timers        timers
	listeners     map[hop]*listener
	senders       map[hop]*sender
	ports         map[uint16]bool
	dropped       map[bfd.Reason]uint64
	discriminator uint32
	port          uint16
	configured    int // of sessions: the others are passive
	guests        guests
	pathDown      bool
	retry         time.Time // when listening for guests is tried; zero: it is done
	problem       string    // why guests cannot be heard
}

// endpoint is where packets of a session come from.
type endpoint struct {
	peer netip.Addr
	hop  hop
}

// New makes a Speaker without sessions.
func New(log *slog.Logger) *Speaker {
	return &Speaker{
		log:           log,
		changed:       make(chan struct{}, 1),
		wake:          -1,
		sessions:      map[bfd.Key]*session{},
		leaving:       map[bfd.Key]*session{},
		byPeer:        map[endpoint][]*session{},
		listeners:     map[hop]*listener{},
		senders:       map[hop]*sender{},
		ports:         map[uint16]bool{},
		dropped:       map[bfd.Reason]uint64{},
		discriminator: rand.Uint32(),
		port:          firstPort + uint16(rand.IntN(portCount)),
	}
}

// Changed is readable after sessions were added or removed, or a session has changed its state.
func (s *Speaker) Changed() <-chan struct{} { return s.changed }

// Set makes config the whole of what is held. Sessions that are there already stay as they are or negotiate a new timing;
// those that are not wanted any more end with AdminDown. If any of config is invalid, all stays as it is.
func (s *Speaker) Set(config bfd.Config) error {
	if err := config.Validate(); err != nil {
		return err
	}
	if n := len(config.Sessions); n > portCount {
		return fmt.Errorf("%d BFD sessions: there are source ports for %d", n, portCount)
	}
	wanted := make(map[bfd.Key]bool, len(config.Sessions))
	for _, c := range config.Sessions {
		wanted[c.Key] = true
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return errors.New("BFD is stopping")
	}
	now := time.Now()
	for key, sess := range s.sessions {
		if !sess.passive && !wanted[key] {
			s.leave(sess, now)
		}
	}
	for _, c := range config.Sessions {
		sess := s.sessions[c.Key]
		if sess == nil {
			sess = s.adopt(c)
		}
		if sess == nil {
			sess = s.add(c, now)
		}
		sess.config, sess.passive = c, false
		sess.machine.Configure(now, c.Timing)
	}
	s.guests, s.configured, s.pathDown, s.retry = newGuests(config.Passive), len(config.Sessions), config.PathDown, now
	for _, sess := range s.sessions {
		if sess.passive && !s.guests.allow(sess.config.Peer) {
			s.leave(sess, now)
			continue
		}
		sess.machine.SetPathDown(now, s.pathDown && (sess.passive || sess.config.Gateway))
		s.timers.set(sess)
	}
	s.closeListeners()
	s.notify()
	s.wakeUp()
	return nil
}

// Status of all that is held.
func (s *Speaker) Status() bfd.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := bfd.Report{
		Sessions: make([]bfd.Status, 0, s.configured),
		Passive:  bfd.PassiveStatus{Total: len(s.sessions) - s.configured, Problem: s.problem},
		Dropped:  maps.Clone(s.dropped),
	}
	for _, sess := range s.sessions {
		switch {
		case !sess.passive:
			r.Sessions = append(r.Sessions, sess.status())
		case sess.machine.State() == bfd.Up:
			r.Passive.Up++
		}
	}
	slices.SortFunc(r.Sessions, func(a, b bfd.Status) int {
		return cmp.Or(a.Peer.Compare(b.Peer), a.Local.Compare(b.Local), cmp.Compare(a.Interface, b.Interface))
	})
	return r
}

// Run runs the sessions until ctx ends. Then it tells all peers AdminDown, which takes less than a second.
func (s *Speaker) Run(ctx context.Context) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("make an eventfd: %w", err)
	}
	s.mu.Lock()
	s.wake = wake
	s.mu.Unlock()
	defer s.close()
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wakeUp()
	})()

	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine, and its priority too
	if err := prioritise(); err != nil {
		s.log.Info("BFD runs at normal priority: a loaded machine may delay it", "error", err)
	}
	var fds []unix.PollFd
	var last time.Time
	for {
		begin := time.Now()
		if begin.Sub(last) < 2*pace {
			sleep := unix.NsecToTimespec(int64(pace))
			_ = unix.Nanosleep(&sleep, nil) // it may end early
		}
		last = begin
		fds = append(fds[:0], unix.PollFd{Fd: int32(wake), Events: unix.POLLIN})
		wait, more := s.round(ctx, &fds)
		if !more {
			return nil
		}
		if _, err := unix.Ppoll(fds, wait, nil); err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for BFD packets: %w", err)
		}
	}
}

// round does all that is due. It adds the sockets to watch to fds and returns how long to wait for them (nil: for ever),
// and false when all is done.
func (s *Speaker) round(ctx context.Context, fds *[]unix.PollFd) (*unix.Timespec, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var count [8]byte
	_, _ = unix.Read(s.wake, count[:]) // EAGAIN when it was not this that woke us

	// In this order: a packet that came before a deadline is seen before the deadline is.
	now := time.Now()
	if ctx.Err() != nil && !s.stopping {
		s.stopping = true
		for _, sess := range s.sessions {
			s.leave(sess, now)
		}
	}
	if !s.retry.IsZero() && !now.Before(s.retry) {
		s.receivePassively(now)
	}
	for _, l := range s.listeners {
		s.receive(l)
	}
	for len(s.timers) > 0 && !s.timers[0].due.After(now) {
		s.tick(s.timers[0], now)
	}
	for _, out := range s.senders {
		s.flush(out)
	}

	if s.stopping && len(s.leaving) == 0 {
		return nil, false
	}
	for _, l := range s.listeners {
		*fds = append(*fds, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
	}
	next := s.retry
	if len(s.timers) > 0 && (next.IsZero() || s.timers[0].due.Before(next)) {
		next = s.timers[0].due
	}
	if next.IsZero() {
		return nil, true
	}
	wait := unix.NsecToTimespec(int64(max(0, time.Until(next))))
	return &wait, true
}

func (s *Speaker) tick(sess *session, now time.Time) {
	before := sess.seen()
	for {
		p, ok := sess.machine.Tick(now)
		if !ok {
			break
		}
		s.send(sess, p)
	}
	s.settle(sess, before)
}

func (s *Speaker) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Speaker) wakeUp() {
	if s.wake >= 0 {
		_, _ = unix.Write(s.wake, []byte{7: 1}) // fails only if a wake-up is pending
	}
}

func (s *Speaker) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		_ = unix.Close(l.fd)
	}
	clear(s.listeners)
	for _, out := range s.senders {
		_ = unix.Close(out.fd)
	}
	clear(s.senders)
	_ = unix.Close(s.wake)
	s.wake = -1
}
