package bfd

import (
	"testing"
	"time"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	usual = Timing{DesiredMinTx: 300 * time.Millisecond, RequiredMinRx: 300 * time.Millisecond, DetectMult: 3}
)

const (
	ours   = 7
	theirs = 9
)

func noJitter() float64 { return 1 }

func after(d time.Duration) time.Time { return start.Add(d) }

// from is a packet of a peer with the usual timing.
func from(state State) Packet {
	return Packet{
		State: state, DetectMult: 3, MyDiscriminator: theirs, YourDiscriminator: ours,
		DesiredMinTx: usual.DesiredMinTx, RequiredMinRx: usual.RequiredMinRx,
	}
}

// in makes a session in the given state. All packets it has to send at start are taken.
func in(t *testing.T, state State) *Session {
	t.Helper()
	s := NewSession(start, usual, ours, noJitter)
	switch state {
	case AdminDown:
		s.Stop(start)
	case Init:
		s.Receive(start, from(Down))
	case Up:
		s.Receive(start, from(Down))
		s.Receive(start, from(Up))
	}
	if s.State() != state {
		t.Fatalf("state %v, want %v", s.State(), state)
	}
	take(s, start)
	if state == Up { // end the poll for the intervals of Up
		final := from(Up)
		final.Final = true
		s.Receive(start, final)
	}
	return s
}

// take returns what the session sends at a time.
func take(s *Session, now time.Time) []Packet {
	var sent []Packet
	for {
		p, ok := s.Tick(now)
		if !ok {
			return sent
		}
		sent = append(sent, p)
	}
}

// Every local state against every received one, after the pseudocode of RFC 5880 section 6.8.6.
func TestStateMachine(t *testing.T) {
	for _, c := range []struct {
		local, received, want State
		diag                  Diag
		failures              uint64
	}{
		{AdminDown, AdminDown, AdminDown, DiagAdministratively, 0},
		{AdminDown, Down, AdminDown, DiagAdministratively, 0},
		{AdminDown, Init, AdminDown, DiagAdministratively, 0},
		{AdminDown, Up, AdminDown, DiagAdministratively, 0},
		{Down, AdminDown, Down, DiagNone, 0},
		{Down, Down, Init, DiagNone, 0},
		{Down, Init, Up, DiagNone, 0},
		{Down, Up, Down, DiagNone, 0},
		{Init, AdminDown, Down, DiagNeighborDown, 0},
		{Init, Down, Init, DiagNone, 0},
		{Init, Init, Up, DiagNone, 0},
		{Init, Up, Up, DiagNone, 0},
		{Up, AdminDown, Down, DiagNeighborDown, 0}, // by intent: not a failure
		{Up, Down, Down, DiagNeighborDown, 1},
		{Up, Init, Up, DiagNone, 0},
		{Up, Up, Up, DiagNone, 0},
	} {
		s := in(t, c.local)
		now := after(time.Millisecond)
		s.Receive(now, from(c.received))
		got := s.Status()
		if got.State != c.want || got.Diag != c.diag || got.Failures != c.failures {
			t.Errorf("%v receives %v: %v, diag %d, %d failures; want %v, %d, %d",
				c.local, c.received, got.State, got.Diag, got.Failures, c.want, c.diag, c.failures)
		}
		if changed := c.want != c.local; changed != got.Since.Equal(now) {
			t.Errorf("%v receives %v: since %v", c.local, c.received, got.Since)
		}
		if sent := take(s, now); c.want != c.local && (len(sent) != 1 || sent[0].State != c.want) {
			t.Errorf("%v receives %v: sends %+v, want the new state at once", c.local, c.received, sent)
		}
		if down := got.AdminDownByPeer(); down != (c.received == AdminDown) {
			t.Errorf("%v receives %v: AdminDownByPeer is %v", c.local, c.received, down)
		}
	}
}

func TestDetectionTime(t *testing.T) {
	for _, state := range []State{Init, Up} {
		s := in(t, state)
		last := after(50 * time.Millisecond)
		packet := from(state)
		packet.DetectMult, packet.DesiredMinTx = 5, 400*time.Millisecond // the peer's, greater than ours
		s.Receive(last, packet)
		if got := s.Status().DetectionTime; got != 2*time.Second {
			t.Errorf("detection time %v, want 5 x 400 ms", got)
		}
		take(s, last.Add(2*time.Second-1))
		if s.Status().Diag == DiagTimeExpired {
			t.Errorf("%v expires too early", state)
		}
		take(s, last.Add(2*time.Second))
		if got := s.Status(); got.State != Down || got.Diag != DiagTimeExpired || got.RemoteDiscr != 0 {
			t.Errorf("%v: after the detection time %+v", state, got)
		}
	}
}

func TestPeerIsForgottenInDownToo(t *testing.T) {
	s := in(t, Down)
	s.Receive(start, from(Up)) // its old session: stays Down, but learns the discriminator
	if got := s.Status().RemoteDiscr; got != theirs {
		t.Fatalf("remote discriminator %d", got)
	}
	take(s, after(900*time.Millisecond))
	if got := s.Status(); got.RemoteDiscr != 0 || got.Failures != 0 {
		t.Errorf("after the detection time: %+v", got)
	}
}

func TestSlowUntilUp(t *testing.T) {
	s := NewSession(start, usual, ours, noJitter)
	sent := take(s, start)
	if len(sent) != 1 || sent[0].DesiredMinTx != time.Second || sent[0].Poll || sent[0].YourDiscriminator != 0 {
		t.Fatalf("first packet %+v", sent)
	}
	if next := s.Next(); !next.Equal(after(time.Second)) {
		t.Errorf("next packet after %v, want 1 s", next.Sub(start))
	}
	up := in(t, Up)
	if got := up.Status().TxInterval; got != 300*time.Millisecond {
		t.Errorf("interval in Up is %v", got)
	}
	up.Receive(start, from(Down))
	if sent := take(up, start); len(sent) != 1 || sent[0].DesiredMinTx != time.Second {
		t.Errorf("after Up: %+v, want an interval of 1 s again", sent)
	}
}

func TestJitter(t *testing.T) {
	for _, c := range []struct {
		mult        uint8
		random      float64
		part, whole int64
	}{{3, 0, 75, 100}, {3, 1, 100, 100}, {1, 0, 75, 100}, {1, 1, 90, 100}} {
		timing := usual
		timing.DetectMult = c.mult
		s := NewSession(start, timing, ours, func() float64 { return c.random })
		take(s, start)
		if got, want := s.Next().Sub(start), time.Second*time.Duration(c.part)/time.Duration(c.whole); got != want {
			t.Errorf("multiplier %d, random %v: %v, want %v", c.mult, c.random, got, want)
		}
	}
}

func TestPollIsAnsweredAtOnce(t *testing.T) {
	s := in(t, Up)
	now := after(10 * time.Millisecond)
	regular := s.nextTx
	s.polling = true // a poll of our own does not show in the answer
	poll := from(Up)
	poll.Poll = true
	s.Receive(now, poll)
	if next := s.Next(); next.After(now) {
		t.Errorf("answers %v later", next.Sub(now))
	}
	sent := take(s, now)
	if len(sent) != 1 || !sent[0].Final || sent[0].Poll {
		t.Errorf("answer %+v", sent)
	}
	if !s.nextTx.Equal(regular) {
		t.Errorf("the answer moves the regular packet by %v", s.nextTx.Sub(regular))
	}
}

// RFC 5880 section 6.8.3: what could make the peer see a timeout waits for the end of the poll sequence.
func TestTimingChangesWhileUp(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, c := range []struct {
		name                             string
		timing                           Timing
		txBefore, txAfter                time.Duration
		detectionBefore, detectionBehind time.Duration
	}{
		{"slower", Timing{ms(800), ms(300), 3}, ms(300), ms(800), ms(900), ms(900)},
		{"faster, but the peer cannot", Timing{ms(100), ms(300), 3}, ms(300), ms(300), ms(900), ms(900)},
		{"receive less often", Timing{ms(300), ms(700), 3}, ms(300), ms(300), ms(2100), ms(2100)},
		{"receive more often", Timing{ms(300), ms(100), 3}, ms(300), ms(300), ms(900), ms(900)},
		{"only the multiplier", Timing{ms(300), ms(300), 9}, ms(300), ms(300), ms(900), ms(900)},
	} {
		s := in(t, Up)
		now := after(ms(20))
		s.Configure(now, c.timing)
		sent := take(s, now)
		if len(sent) != 1 || !sent[0].Poll || sent[0].DesiredMinTx != c.timing.DesiredMinTx ||
			sent[0].RequiredMinRx != c.timing.RequiredMinRx || sent[0].DetectMult != c.timing.DetectMult {
			t.Errorf("%s: sends %+v", c.name, sent)
		}
		if got := s.Status(); got.TxInterval != c.txBefore || got.DetectionTime != c.detectionBefore {
			t.Errorf("%s: while polling %v and %v, want %v and %v", c.name, got.TxInterval, got.DetectionTime, c.txBefore, c.detectionBefore)
		}
		final := from(Up)
		final.Final = true
		s.Receive(now, final)
		if got := s.Status(); got.TxInterval != c.txAfter || got.DetectionTime != c.detectionBehind || got.State != Up {
			t.Errorf("%s: after the poll %v and %v, want %v and %v", c.name, got.TxInterval, got.DetectionTime, c.txAfter, c.detectionBehind)
		}
		if p := s.packet(); p.Poll {
			t.Errorf("%s: still polls", c.name)
		}
	}
}

func TestReducedReceiveIntervalCountsAfterThePoll(t *testing.T) {
	s := in(t, Up)
	s.Configure(start, Timing{300 * time.Millisecond, time.Second, 3})
	final := from(Up)
	final.Final, final.DesiredMinTx = true, 50*time.Millisecond
	s.Receive(start, final)
	s.Configure(start, Timing{300 * time.Millisecond, 100 * time.Millisecond, 3})
	if got := s.Status().DetectionTime; got != 3*time.Second {
		t.Errorf("detection time while polling %v, want the former 3 s", got)
	}
	s.Receive(start, final)
	if got := s.Status().DetectionTime; got != 300*time.Millisecond {
		t.Errorf("detection time after the poll %v, want 300 ms", got)
	}
}

func TestChangeDuringAPollIsPolledAgain(t *testing.T) {
	s := in(t, Up)
	s.Configure(start, Timing{500 * time.Millisecond, 300 * time.Millisecond, 3})
	s.Configure(start, Timing{800 * time.Millisecond, 300 * time.Millisecond, 3})
	final := from(Up)
	final.Final = true
	s.Receive(start, final) // may answer the first
	if got := s.Status().TxInterval; got != 300*time.Millisecond || !s.packet().Poll {
		t.Errorf("after the first answer: %v, polling %v", got, s.packet().Poll)
	}
	s.Receive(start, final)
	if got := s.Status().TxInterval; got != 800*time.Millisecond || s.packet().Poll {
		t.Errorf("after the second answer: %v, polling %v", got, s.packet().Poll)
	}
}

func TestPeerThatWantsNoPackets(t *testing.T) {
	s := in(t, Up)
	quiet := from(Up)
	quiet.RequiredMinRx = 0
	s.Receive(start, quiet)
	if sent := take(s, after(800*time.Millisecond)); len(sent) != 0 {
		t.Errorf("sends %+v to a peer with a required interval of 0", sent)
	}
	if got := s.Status().TxInterval; got != 0 {
		t.Errorf("interval %v, want 0", got)
	}
	quiet.Poll = true
	s.Receive(after(800*time.Millisecond), quiet)
	if sent := take(s, after(800*time.Millisecond)); len(sent) != 1 || !sent[0].Final {
		t.Errorf("answers %+v to its poll", sent)
	}
	s.Receive(after(time.Second), from(Up))
	if sent := take(s, after(time.Second)); len(sent) != 1 {
		t.Errorf("sends %+v when the peer can receive again", sent)
	}
	s.Receive(after(time.Second), quiet)
	take(s, after(10*time.Second)) // the peer has gone: another one may come
	if got := s.Status().TxInterval; got != time.Second {
		t.Errorf("interval %v after a silence, want 1 s", got)
	}
}

func TestPeerInDemandMode(t *testing.T) {
	s := in(t, Up)
	demand := from(Up)
	demand.Demand = true
	s.Receive(start, demand)
	if sent := take(s, after(800*time.Millisecond)); len(sent) != 0 {
		t.Errorf("sends %+v to a peer in demand mode", sent)
	}
	s.Configure(after(800*time.Millisecond), Timing{time.Second, time.Second, 3})
	if sent := take(s, after(800*time.Millisecond)); len(sent) != 1 || !sent[0].Poll {
		t.Errorf("sends %+v, want a poll in demand mode too", sent)
	}
}

func TestStopSaysSoAFewTimes(t *testing.T) {
	s := in(t, Up)
	s.Stop(start)
	var sent []Packet
	for now := start; !s.Done(); now = s.Next() {
		if now.Sub(start) > time.Second {
			t.Fatal("not done after a second")
		}
		sent = append(sent, take(s, now)...)
	}
	if len(sent) != 5 {
		t.Errorf("%d packets", len(sent))
	}
	for _, p := range sent {
		if p.State != AdminDown || p.Diag != DiagAdministratively || p.YourDiscriminator != theirs {
			t.Errorf("packet %+v", p)
		}
	}
	if got := s.Status().Failures; got != 0 {
		t.Errorf("%d failures", got)
	}
}

func TestEveryPacketHasTheCBit(t *testing.T) {
	for _, state := range []State{AdminDown, Down, Init, Up} {
		if p := in(t, state).packet(); !p.ControlPlaneIndependent || p.MyDiscriminator != ours {
			t.Errorf("%v: %+v", state, p)
		}
	}
}
