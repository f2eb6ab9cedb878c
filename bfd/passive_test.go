package bfd

import (
	"testing"
	"time"
)

// passive makes a passive session whose peer has just said state, in the state that follows.
func passive(said State) *Session {
	s := NewPassive(start, ours, noJitter)
	s.Receive(start, from(Down))
	if said != Down {
		s.Receive(start, from(said))
	}
	return s
}

func TestPassiveSessionWaitsForThePeer(t *testing.T) {
	s := NewPassive(start, ours, noJitter)
	if sent := take(s, after(linger-1)); len(sent) != 0 || s.Done() {
		t.Errorf("before it has heard anything: sends %+v, done %v", sent, s.Done())
	}
	s = passive(Down)
	sent := take(s, start)
	if len(sent) != 1 || sent[0].State != Init || sent[0].YourDiscriminator != theirs {
		t.Errorf("answers %+v", sent)
	}
}

// The peer alone decides how fast it is, and nothing has to be negotiated when it changes its mind.
func TestPassiveSessionTakesTheTimingOfThePeer(t *testing.T) {
	s := passive(Up)
	take(s, start)
	p := from(Up)
	p.Final = true
	s.Receive(start, p)
	for _, want := range []Timing{usual, {200 * time.Millisecond, 700 * time.Millisecond, 5}, {time.Second, time.Second, 3}} {
		p := from(Up)
		p.DesiredMinTx, p.RequiredMinRx, p.DetectMult = want.DesiredMinTx, want.RequiredMinRx, want.DetectMult
		s.Receive(start, p)
		got := s.Status()
		if got.TxInterval != want.RequiredMinRx || got.DetectionTime != time.Duration(want.DetectMult)*want.DesiredMinTx {
			t.Errorf("%+v: sends at %v, waits %v", want, got.TxInterval, got.DetectionTime)
		}
		if sent := s.packet(); sent.DetectMult != want.DetectMult || sent.Poll {
			t.Errorf("%+v: sends %+v", want, sent)
		}
	}
	p.RequiredMinRx = time.Microsecond // nobody makes us send as fast as that
	s.Receive(start, p)
	if got := s.Status().TxInterval; got != MinInterval {
		t.Errorf("sends at %v, want not below %v", got, MinInterval)
	}
}

// The peer hears at once that it is not heard any more; then there is silence, and in the end nothing.
func TestPassiveSessionEndsWithoutAPeer(t *testing.T) {
	for _, said := range []State{Down, Up} {
		s := passive(said)
		take(s, start)
		expires := s.expires
		var sent []Packet
		now := start
		for !s.Done() {
			now = s.Next()
			if now.IsZero() || now.After(after(time.Minute)) {
				t.Fatalf("%v: not done, next at %v", said, now)
			}
			packets := take(s, now)
			if !now.Before(expires) {
				sent = append(sent, packets...)
			}
		}
		if len(sent) != 1 || sent[0].State != Down || sent[0].Diag != DiagTimeExpired || sent[0].YourDiscriminator != theirs {
			t.Errorf("%v: sends %+v after the end of the detection time, want Down once", said, sent)
		}
		if want := expires.Add(linger); !now.Equal(want) {
			t.Errorf("%v: ends at %v, want %v", said, now, want)
		}
	}
}

func TestPassiveSessionOfAPeerThatComesBack(t *testing.T) {
	s := passive(Up)
	take(s, start)
	later := after(5 * time.Second)
	take(s, later)
	again := from(Down)
	again.MyDiscriminator, again.YourDiscriminator = 77, 0
	s.Receive(later, again)
	if sent := take(s, later); len(sent) != 1 || sent[0].State != Init || sent[0].YourDiscriminator != 77 {
		t.Errorf("sends %+v", sent)
	}
	again.YourDiscriminator, again.State = ours, Up
	s.Receive(later, again)
	take(s, later.Add(500*time.Millisecond))
	if s.State() != Up || s.Done() {
		t.Errorf("%v, done %v", s.State(), s.Done())
	}
}

// RFC 5880 section 6.1: what is active begins, whatever it was before.
func TestPassiveSessionBecomesActive(t *testing.T) {
	s := passive(Up)
	take(s, start)
	s.Configure(after(time.Millisecond), usual)
	if got := s.Status(); got.State != Up || got.Failures != 0 || !got.Since.Equal(start) {
		t.Errorf("%+v", got)
	}
	take(s, after(time.Minute))
	if s.State() != Down || s.Done() || len(take(s, after(2*time.Minute))) != 1 {
		t.Errorf("falls silent without a peer: %+v, done %v", s.Status(), s.Done())
	}
	for _, never := range []*Session{NewPassive(start, ours, noJitter), passive(Down)} {
		never.Configure(start, never.timing)
		if sent := take(never, start); len(sent) != 1 {
			t.Errorf("sends %+v", sent)
		}
		take(never, after(time.Minute))
		if next := never.Next(); next.IsZero() || never.Done() {
			t.Errorf("next at %v, done %v", next, never.Done())
		}
	}
}

// RFC 5880 section 6.8.17: said at once and in every packet, but only while Up, and it takes nothing down.
func TestPathDown(t *testing.T) {
	for _, state := range []State{AdminDown, Down, Init, Up} {
		s := in(t, state)
		before := s.packet().Diag
		s.SetPathDown(start, true)
		sent := take(s, start)
		if state != Up {
			if len(sent) != 0 || s.packet().Diag != before {
				t.Errorf("%v: sends %+v, diagnostic %v", state, sent, s.packet().Diag)
			}
			continue
		}
		if len(sent) != 1 || sent[0].State != Up || sent[0].Diag != DiagConcatenatedPath {
			t.Errorf("Up: sends %+v", sent)
		}
		s.SetPathDown(start, true)
		if sent := take(s, start); len(sent) != 0 {
			t.Errorf("the same once more: sends %+v", sent)
		}
		s.SetPathDown(start, false)
		if sent := take(s, start); len(sent) != 1 || sent[0].State != Up || sent[0].Diag != DiagNone {
			t.Errorf("path up again: sends %+v", sent)
		}
	}

	s := in(t, Down)
	s.SetPathDown(start, true)
	s.Receive(start, from(Down))
	s.Receive(start, from(Up))
	if sent := take(s, start); len(sent) != 1 || sent[0].Diag != DiagConcatenatedPath {
		t.Errorf("comes up with the path down: sends %+v", sent)
	}
}

func TestPathDownToAPeerThatWantsNoPackets(t *testing.T) {
	s := in(t, Up)
	demand := from(Up)
	demand.Demand = true
	s.Receive(start, demand)
	s.SetPathDown(start, true)
	sent := take(s, start)
	if len(sent) != 1 || !sent[0].Poll || sent[0].Diag != DiagConcatenatedPath {
		t.Errorf("sends %+v, want a poll", sent)
	}
	if sent := take(s, after(350*time.Millisecond)); len(sent) != 1 {
		t.Errorf("sends %+v before the peer has answered, want the poll again", sent)
	}
}

func TestPeerSaysPathDown(t *testing.T) {
	s := in(t, Up)
	p := from(Up)
	p.Diag = DiagConcatenatedPath
	s.Receive(start, p)
	if got := s.Status(); got.State != Up || got.RemoteDiag != DiagConcatenatedPath || got.Failures != 0 {
		t.Errorf("%+v", got)
	}
}

// A passive end is as good as an active one: up whatever the timing of the other, down on a cut after that one's detection
// time, and up again.
func TestPairWithAPassiveEnd(t *testing.T) {
	each(t, func(t *testing.T, p *pair) {
		p.ends[1] = NewPassive(p.now, 2, p.rnd.Float64)
		p.run(5*time.Second, func() {})
		if !p.both(Up) {
			t.Fatalf("after 5 s: %v and %v", p.ends[0].State(), p.ends[1].State())
		}
		for range 5 {
			p.ends[0].Configure(p.now, p.timing())
			p.run(time.Duration(p.rnd.IntN(5000))*time.Millisecond, func() {
				if !p.both(Up) {
					t.Fatalf("at %v: %+v and %+v", p.now.Sub(start), p.ends[0].Status(), p.ends[1].Status())
				}
			})
		}
		p.run(10*time.Second, func() {})
		for i, s := range p.ends {
			mine := p.ends[0].timing
			want := []time.Duration{mine.DesiredMinTx, mine.RequiredMinRx}[i]
			if got := s.Status().TxInterval; got != want {
				t.Errorf("end %d sends at %v, want %v", i, got, want)
			}
		}
		deaf := p.rnd.IntN(3) // 2: both
		p.lose = func(to int) bool { return to == deaf || deaf == 2 }
		var down [2]bool
		p.run(40*time.Second, func() {
			for i, s := range p.ends {
				down[i] = down[i] || s.State() == Down
			}
		})
		if !down[0] || !down[1] || p.both(Up) {
			t.Errorf("after a cut (%d) down: %v", deaf, down)
		}
		if deaf == 2 && !p.ends[1].Done() {
			t.Error("the passive end stays without a peer")
		}
		p.lose = func(int) bool { return false }
		if p.ends[1].Done() {
			p.ends[1] = NewPassive(p.now, 3, p.rnd.Float64)
		}
		p.run(5*time.Second, func() {})
		if !p.both(Up) {
			t.Errorf("not up again: %v and %v", p.ends[0].State(), p.ends[1].State())
		}
	})
}
