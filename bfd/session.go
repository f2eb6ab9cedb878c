package bfd

import "time"

const (
	// slowTx is the least interval of a session that is not up (RFC 5880 section 6.8.3).
	slowTx = time.Second
	// A session that ends says AdminDown this often, so that lost packets do not make the peer believe in a dead path.
	farewells        = 5
	farewellInterval = 100 * time.Millisecond
	// A passive session that has been Down for so long ends: a peer that comes back opens another.
	linger = 10 * time.Second
)

// Session is the state machine of one session. It has no goroutine and no clock: the owner passes received packets to
// Receive, and calls Tick no later than at Next, again and again until it has no more packet to send.
type Session struct {
	timing        Timing
	discriminator uint32
	jitter        func() float64
	passive       bool // silent until it knows the peer's discriminator (RFC 5880 section 6.1)
	pathDown      bool

	state    State
	diag     Diag
	since    time.Time
	failures uint64
	remote   remote
	expires  time.Time // end of the detection time; zero: not running
	lapses   time.Time // when a passive session ends unless the peer comes; zero: it is there
	lapsed   bool

	// While a poll sequence runs, the intervals in force may differ from those in timing (RFC 5880 section 6.8.3).
	polling   bool
	pollAgain bool // the timing has changed since the running poll began
	tx, rx    time.Duration

	answer    time.Time // when the peer has polled, zero once it is answered
	lastTx    time.Time
	nextTx    time.Time // zero: nothing to send
	scheduled time.Duration
	farewells int // packets still to send in AdminDown
}

// remote is what the peer has said last.
type remote struct {
	state         State
	diag          Diag
	discriminator uint32
	independent   bool
	demand        bool
	detectMult    uint8
	minRx         time.Duration
	desiredMinTx  time.Duration
}

// NewSession makes a session that is Down and sends its first packet at once. The discriminator is non-zero and unique on
// this system; jitter returns random numbers in [0, 1).
func NewSession(now time.Time, t Timing, discriminator uint32, jitter func() float64) *Session {
	s := &Session{timing: t, discriminator: discriminator, jitter: jitter, state: Down, since: now, nextTx: now}
	s.remote = remote{state: Down, minRx: time.Microsecond} // RFC 5880 section 6.8.1
	s.tx, s.rx = s.desiredMinTx(), t.RequiredMinRx
	return s
}

// NewPassive makes a session that waits for the peer to begin, and leaves the timing to it: it takes over the peer's detect
// multiplier, and wishes intervals so short that those of the peer are in force. It is Done when it was Down for a while.
func NewPassive(now time.Time, discriminator uint32, jitter func() float64) *Session {
	s := NewSession(now, Timing{DesiredMinTx: MinInterval, RequiredMinRx: MinInterval, DetectMult: 1}, discriminator, jitter)
	s.passive, s.nextTx, s.lapses = true, time.Time{}, now.Add(linger)
	return s
}

// Configure changes what this side wishes, and makes a passive session an active one. An Up session stays up: the new
// intervals are negotiated by a poll sequence.
func (s *Session) Configure(now time.Time, t Timing) {
	if t == s.timing && !s.passive {
		return
	}
	s.timing, s.passive, s.lapses = t, false, time.Time{}
	s.retime()
	s.sendNow(now)
}

// SetPathDown says whether the peer, while the session is Up, is told that what lies behind this side is not to be used
// (RFC 5880 section 6.8.17).
func (s *Session) SetPathDown(now time.Time, down bool) {
	if down == s.pathDown {
		return
	}
	s.pathDown = down
	if s.state == Up {
		s.retime() // the section demands a poll sequence of the peer that wants no regular packets
		s.sendNow(now)
	}
}

// Stop takes the session down by intent. It says so to the peer a few times and then is Done.
func (s *Session) Stop(now time.Time) {
	s.farewells = farewells
	s.change(now, AdminDown, DiagAdministratively)
}

// Done tells that a stopped session has said all it had to say, or that a passive one has no peer any more.
func (s *Session) Done() bool { return s.lapsed || s.state == AdminDown && s.farewells == 0 }

// Receive takes in a packet that Parse has accepted and that belongs to this session (RFC 5880 section 6.8.6).
func (s *Session) Receive(now time.Time, p Packet) {
	s.remote = remote{
		state: p.State, diag: p.Diag, discriminator: p.MyDiscriminator,
		independent: p.ControlPlaneIndependent, demand: p.Demand,
		detectMult: p.DetectMult, minRx: p.RequiredMinRx, desiredMinTx: p.DesiredMinTx,
	}
	if s.state == AdminDown {
		return
	}
	if s.passive {
		s.timing.DetectMult = p.DetectMult // may change without a poll sequence
	}
	if p.Final && s.polling {
		s.polling, s.pollAgain = s.pollAgain, false
		if !s.polling {
			s.tx, s.rx = s.desiredMinTx(), s.timing.RequiredMinRx
		}
	}
	switch next := transition(s.state, p.State); {
	case next == s.state:
	case next == Down:
		s.change(now, Down, DiagNeighborDown)
	default:
		s.change(now, next, DiagNone)
	}
	s.expires = now.Add(s.detectionTime())
	if p.Poll {
		s.answer = now
	}
	due := !s.nextTx.IsZero() && !now.Before(s.nextTx)
	if !due && (s.interval() != s.scheduled || s.quiet() != s.nextTx.IsZero()) {
		s.schedule(now)
	}
}

// transition is the state machine of RFC 5880 section 6.2 as section 6.8.6 words it.
func transition(local, received State) State {
	switch {
	case local == Down && received == Down:
		return Init
	case local == Down && received == Init, local == Init && received == Init, local == Init && received == Up:
		return Up
	case local == Init && received == AdminDown, local == Up && received == AdminDown, local == Up && received == Down:
		return Down
	}
	return local
}

// Next is when Tick has something to do; zero: only after a packet was received.
func (s *Session) Next() time.Time {
	next := s.answer
	for _, t := range [...]time.Time{s.nextTx, s.expires, s.lapses} {
		if next.IsZero() || !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

// Tick does what is due, and returns the packet to send if there is one.
func (s *Session) Tick(now time.Time) (Packet, bool) {
	if !s.expires.IsZero() && !now.Before(s.expires) {
		s.expire(now)
	}
	if !s.lapses.IsZero() && !now.Before(s.lapses) {
		s.lapses, s.lapsed = time.Time{}, true
	}
	if !s.answer.IsZero() {
		s.answer = time.Time{}
		p := s.packet()
		p.Poll, p.Final = false, true
		return p, true
	}
	if s.nextTx.IsZero() || now.Before(s.nextTx) {
		return Packet{}, false
	}
	if s.farewells > 0 {
		s.farewells--
	}
	p := s.packet()
	if s.passive && s.expires.IsZero() {
		s.remote.discriminator = 0
	}
	s.lastTx = now
	s.schedule(now)
	return p, true
}

// Status of the session. The owner adds the key, the packet counters and Problem.
func (s *Session) Status() Status {
	st := Status{
		State: s.state, Diag: s.diag, Since: s.since,
		RemoteState: s.remote.state, RemoteDiag: s.remote.diag, RemoteIndependent: s.remote.independent,
		Discriminator: s.discriminator, RemoteDiscr: s.remote.discriminator,
		DetectionTime: s.detectionTime(),
		Failures:      s.failures,
	}
	if s.remote.minRx > 0 {
		st.TxInterval = s.interval()
	}
	return st
}

// State of the session.
func (s *Session) State() State { return s.state }

// RemoteDiag is what the peer has said last of the reason for its state, or of what lies behind it.
func (s *Session) RemoteDiag() Diag { return s.remote.diag }

// Diag is the reason for the state.
func (s *Session) Diag() Diag { return s.diag }

// expire handles the end of the detection time (RFC 5880 section 6.8.4). The peer may come back as another one, so what it
// said is forgotten (bfd.RemoteDiscr, section 6.8.1), but not the state it named last.
func (s *Session) expire(now time.Time) {
	s.expires = time.Time{}
	if !s.passive { // that one falls silent by it, and so not before it has told that it went Down
		s.remote.discriminator = 0
	}
	s.remote.minRx = time.Microsecond
	if s.state == Init || s.state == Up {
		s.change(now, Down, DiagTimeExpired)
	} else {
		s.schedule(now)
	}
}

func (s *Session) change(now time.Time, state State, diag Diag) {
	if s.state == Up && state == Down && s.remote.state != AdminDown {
		s.failures++
	}
	s.state, s.diag, s.since, s.lapses = state, diag, now, time.Time{}
	if s.passive && state == Down {
		s.lapses = now.Add(linger)
	}
	s.retime()
	s.sendNow(now)
}

// retime takes over the wished intervals after a change of state or timing, those that may not change at once after a poll.
func (s *Session) retime() {
	tx, rx := s.desiredMinTx(), s.timing.RequiredMinRx
	if s.state != Up {
		s.polling, s.pollAgain = false, false
		s.tx, s.rx = tx, rx
		return
	}
	if s.polling {
		s.pollAgain = true
	}
	s.polling = true
	s.tx, s.rx = min(s.tx, tx), max(s.rx, rx)
}

func (s *Session) desiredMinTx() time.Duration {
	if s.state == Up {
		return s.timing.DesiredMinTx
	}
	return max(s.timing.DesiredMinTx, slowTx)
}

// detectionTime is how long the peer may be silent (RFC 5880 section 6.8.4).
func (s *Session) detectionTime() time.Duration {
	return time.Duration(s.remote.detectMult) * max(s.rx, s.remote.desiredMinTx)
}

func (s *Session) interval() time.Duration { return max(s.tx, s.remote.minRx) }

// sendNow sends what has changed without waiting for the next regular packet (RFC 5880 section 6.8.7).
func (s *Session) sendNow(now time.Time) {
	s.schedule(now)
	s.nextTx = now
}

// schedule plans the next regular packet, with the jitter of RFC 5880 section 6.8.7.
func (s *Session) schedule(now time.Time) {
	s.scheduled = s.interval()
	switch {
	case s.state == AdminDown && s.farewells == 0, s.quiet():
		s.nextTx = time.Time{}
	case s.state == AdminDown:
		s.nextTx = s.lastTx.Add(farewellInterval)
	default:
		span := 0.25
		if s.timing.DetectMult == 1 {
			span = 0.15
		}
		s.nextTx = s.lastTx.Add(time.Duration(float64(s.scheduled) * (0.75 + span*s.jitter())))
		if s.nextTx.Before(now) {
			s.nextTx = now
		}
	}
}

// quiet tells that the peer wants no regular packets (RFC 5880 section 6.8.7).
func (s *Session) quiet() bool {
	if s.state == AdminDown {
		return false
	}
	if s.passive && s.remote.discriminator == 0 {
		return true
	}
	demand := s.remote.demand && s.state == Up && s.remote.state == Up && !s.polling
	return s.remote.minRx == 0 || demand
}

func (s *Session) packet() Packet {
	diag := s.diag
	if s.state == Up && s.pathDown {
		diag = DiagConcatenatedPath
	}
	return Packet{
		Diag:                    diag,
		State:                   s.state,
		Poll:                    s.polling,
		ControlPlaneIndependent: true,
		DetectMult:              s.timing.DetectMult,
		MyDiscriminator:         s.discriminator,
		YourDiscriminator:       s.remote.discriminator,
		DesiredMinTx:            s.desiredMinTx(),
		RequiredMinRx:           s.timing.RequiredMinRx,
	}
}
