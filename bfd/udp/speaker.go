// Package udp runs BFD sessions over UDP: single hop (RFC 5881) and multihop (RFC 5883), IPv4 and IPv6.
//
// One thread does all of it: it waits for packets and for the next timer of any session, and takes in what has arrived
// before it lets a session time out. So a process that the scheduler has kept waiting does not take its own delay for a
// dead peer, and thousands of sessions cost neither goroutines nor wake-ups of their own.
package udp

import (
	"cmp"
	"container/heap"
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
	ports         map[uint16]bool
	dropped       map[bfd.Reason]uint64
	discriminator uint32
	port          uint16
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
		if !wanted[key] {
			s.leave(sess, now)
		}
	}
	for _, c := range config.Sessions {
		sess := s.sessions[c.Key]
		if sess == nil {
			sess = s.add(c, now)
		}
		sess.config = c
		sess.machine.Configure(now, c.Timing)
		s.timers.set(sess)
	}
	s.closeListeners()
	s.notify()
	s.wakeUp()
	return nil
}

// Status of all sessions, sorted by peer, and how many received packets belonged to none, by reason.
func (s *Speaker) Status() ([]bfd.Status, map[bfd.Reason]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]bfd.Status, 0, len(s.sessions))
	for _, sess := range s.sessions {
		all = append(all, sess.status())
	}
	slices.SortFunc(all, func(a, b bfd.Status) int {
		return cmp.Or(a.Peer.Compare(b.Peer), a.Local.Compare(b.Local), cmp.Compare(a.Interface, b.Interface))
	})
	return all, maps.Clone(s.dropped)
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
	for _, l := range s.listeners {
		s.receive(l)
	}
	for len(s.timers) > 0 && !s.timers[0].due.After(now) {
		s.tick(s.timers[0], now)
	}

	if s.stopping && len(s.leaving) == 0 {
		return nil, false
	}
	for _, l := range s.listeners {
		*fds = append(*fds, unix.PollFd{Fd: int32(l.fd), Events: unix.POLLIN})
	}
	if len(s.timers) == 0 {
		return nil, true
	}
	wait := unix.NsecToTimespec(int64(max(0, time.Until(s.timers[0].due))))
	return &wait, true
}

func (s *Speaker) tick(sess *session, now time.Time) {
	before := sess.machine.State()
	for {
		p, ok := sess.machine.Tick(now)
		if !ok {
			break
		}
		s.send(sess, p)
	}
	s.settle(sess, before)
}

// settle follows up on what a session has done: log, timer, end.
func (s *Speaker) settle(sess *session, before bfd.State) {
	if state := sess.machine.State(); state != before {
		s.log.Info("BFD session state", "peer", sess.config.Peer, "from", before, "to", state, "reason", sess.machine.Diag().String())
		s.notify()
	}
	if sess.machine.Done() {
		s.release(sess)
		return
	}
	s.timers.set(sess)
}

func (s *Speaker) add(c bfd.SessionConfig, now time.Time) *session {
	if old := s.leaving[c.Key]; old != nil {
		s.release(old)
	}
	s.discriminator++
	if s.discriminator == 0 {
		s.discriminator++
	}
	sess := &session{
		config:        c,
		machine:       bfd.NewSession(now, c.Timing, s.discriminator, rand.Float64),
		discriminator: s.discriminator,
		fd:            -1,
		port:          s.takePort(),
		heapIndex:     -1,
	}
	s.sessions[c.Key] = sess
	s.byPeer[sess.endpoint()] = append(s.byPeer[sess.endpoint()], sess)
	return sess
}

// leave ends a session: from now on it only says AdminDown, and it hears no more.
func (s *Speaker) leave(sess *session, now time.Time) {
	delete(s.sessions, sess.config.Key)
	from := sess.endpoint()
	s.byPeer[from] = slices.DeleteFunc(s.byPeer[from], func(other *session) bool { return other == sess })
	if len(s.byPeer[from]) == 0 {
		delete(s.byPeer, from)
	}
	s.leaving[sess.config.Key] = sess
	before := sess.machine.State()
	sess.machine.Stop(now)
	s.settle(sess, before)
}

func (s *Speaker) release(sess *session) {
	delete(s.leaving, sess.config.Key)
	delete(s.ports, sess.port)
	s.timers.remove(sess)
	sess.close()
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
	_ = unix.Close(s.wake)
	s.wake = -1
}

// timers is a heap of the sessions that have something to do, the next one first.
type timers []*session

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heapIndex, t[j].heapIndex = i, j
}

// Push is for container/heap.
func (t *timers) Push(x any) {
	sess := x.(*session)
	sess.heapIndex = len(*t)
	*t = append(*t, sess)
}

// Pop is for container/heap.
func (t *timers) Pop() any {
	last := len(*t) - 1
	sess := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	sess.heapIndex = -1
	return sess
}

func (t *timers) set(sess *session) {
	sess.due = sess.machine.Next()
	switch {
	case sess.due.IsZero():
		t.remove(sess)
	case sess.heapIndex < 0:
		heap.Push(t, sess)
	default:
		heap.Fix(t, sess.heapIndex)
	}
}

func (t *timers) remove(sess *session) {
	if sess.heapIndex >= 0 {
		heap.Remove(t, sess.heapIndex)
	}
}
