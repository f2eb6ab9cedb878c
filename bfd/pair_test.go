package bfd

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// pair is two sessions on a wire with latency and loss, in a time of its own.
type pair struct {
	t       *testing.T
	now     time.Time
	rnd     *rand.Rand
	ends    [2]*Session
	flying  []flight
	lose    func(to int) bool
	counted [2]int
}

type flight struct {
	to     int
	at     time.Time
	packet Packet
}

func newPair(t *testing.T, seed uint64) *pair {
	p := &pair{t: t, now: start, rnd: rand.New(rand.NewPCG(seed, 1)), lose: func(int) bool { return false }}
	for i := range p.ends {
		p.ends[i] = NewSession(start, p.timing(), uint32(i+1), p.rnd.Float64)
	}
	return p
}

func (p *pair) timing() Timing {
	interval := func() time.Duration { return time.Duration(10+p.rnd.IntN(1990)) * time.Millisecond }
	return Timing{DesiredMinTx: interval(), RequiredMinRx: interval(), DetectMult: uint8(2 + p.rnd.IntN(4))}
}

// run lets both live for d and calls check after every step.
func (p *pair) run(d time.Duration, check func()) {
	end := p.now.Add(d)
	for {
		next := end
		for _, s := range p.ends {
			if at := s.Next(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		for _, f := range p.flying {
			if f.at.Before(next) {
				next = f.at
			}
		}
		if next.After(p.now) {
			p.now = next
		}
		flying := p.flying
		p.flying = nil
		for _, f := range flying {
			if f.at.After(p.now) {
				p.flying = append(p.flying, f)
				continue
			}
			p.ends[f.to].Receive(p.now, f.packet)
		}
		for i, s := range p.ends {
			for _, packet := range take(s, p.now) {
				p.sent(i, packet)
			}
		}
		check()
		if !p.now.Before(end) {
			return
		}
	}
}

func (p *pair) sent(by int, packet Packet) {
	parsed, err := Parse(packet.Append(nil))
	if err != nil || parsed != packet {
		p.t.Fatalf("sends a packet that is read as %+v, %v: %+v", parsed, err, packet)
	}
	p.counted[by]++
	if !p.lose(1 - by) {
		p.flying = append(p.flying, flight{1 - by, p.now.Add(time.Millisecond), packet})
	}
}

func (p *pair) both(state State) bool {
	return p.ends[0].State() == state && p.ends[1].State() == state
}

func each(t *testing.T, check func(t *testing.T, p *pair)) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { check(t, newPair(t, seed)) })
	}
}

// Whatever the timings, both come up, stay up through changes of timing, and agree on the intervals.
func TestPairStaysUpThroughChanges(t *testing.T) {
	each(t, func(t *testing.T, p *pair) {
		p.run(5*time.Second, func() {})
		if !p.both(Up) {
			t.Fatalf("after 5 s: %v and %v", p.ends[0].State(), p.ends[1].State())
		}
		var timings [2]Timing
		for range 20 {
			i := p.rnd.IntN(2)
			p.ends[i].Configure(p.now, p.timing())
			p.run(time.Duration(p.rnd.IntN(5000))*time.Millisecond, func() {
				if !p.both(Up) {
					t.Fatalf("at %v: %+v and %+v", p.now.Sub(start), p.ends[0].Status(), p.ends[1].Status())
				}
			})
		}
		for i := range p.ends {
			timings[i] = p.timing()
			p.ends[i].Configure(p.now, timings[i])
		}
		p.run(10*time.Second, func() {})
		for i, s := range p.ends {
			mine, other := timings[i], timings[1-i]
			got := s.Status()
			if want := max(mine.DesiredMinTx, other.RequiredMinRx); got.TxInterval != want {
				t.Errorf("interval %v, want %v", got.TxInterval, want)
			}
			if want := time.Duration(other.DetectMult) * max(mine.RequiredMinRx, other.DesiredMinTx); got.DetectionTime != want {
				t.Errorf("detection time %v, want %v", got.DetectionTime, want)
			}
			if s.packet().Poll {
				t.Error("still polls")
			}
		}
	})
}

// The rate of regular packets lies between the interval and three quarters of it.
func TestPairKeepsItsRate(t *testing.T) {
	each(t, func(t *testing.T, p *pair) {
		p.run(20*time.Second, func() {})
		p.counted = [2]int{}
		const long = 200 * time.Second
		p.run(long, func() {})
		for i, s := range p.ends {
			interval := s.Status().TxInterval
			least, most := int(long/interval)-1, int(long/(interval*3/4))+2
			if n := p.counted[i]; n < least || n > most {
				t.Errorf("%d packets at %v in %v", n, interval, long)
			}
		}
	})
}

// A silent peer is noticed after exactly the detection time, by both, and they come back afterwards.
func TestPairNoticesACut(t *testing.T) {
	each(t, func(t *testing.T, p *pair) {
		p.run(20*time.Second, func() {})
		p.lose = func(int) bool { return true }
		p.run(2*time.Millisecond, func() {}) // what is on the wire arrives
		var want, got [2]time.Time
		for i, s := range p.ends {
			want[i] = s.expires
		}
		p.run(20*time.Second, func() {
			for i, s := range p.ends {
				if s.State() == Down && got[i].IsZero() {
					got[i] = p.now
				}
			}
		})
		if got != want {
			t.Errorf("noticed at %v, want %v", got, want)
		}
		p.lose = func(int) bool { return false }
		p.run(5*time.Second, func() {})
		if !p.both(Up) {
			t.Errorf("not up again: %v and %v", p.ends[0].State(), p.ends[1].State())
		}
		for _, s := range p.ends {
			if n := s.Status().Failures; n != 1 {
				t.Errorf("%d failures, want 1", n)
			}
		}
	})
}

// A cut in one direction takes both down: the deaf one tells the other.
func TestPairNoticesAOneWayCut(t *testing.T) {
	each(t, func(t *testing.T, p *pair) {
		p.run(20*time.Second, func() {})
		deaf := p.rnd.IntN(2)
		p.lose = func(to int) bool { return to == deaf }
		var down [2]bool
		p.run(20*time.Second, func() {
			for i, s := range p.ends {
				down[i] = down[i] || s.State() == Down
			}
			if p.both(Up) && down[deaf] {
				t.Error("up on a wire that works one way")
			}
		})
		if !down[0] || !down[1] {
			t.Errorf("down: %v", down)
		}
	})
}

// A restarted peer, with a new discriminator, is up again without waiting for a detection time.
func TestPairWithARestart(t *testing.T) {
	each(t, func(t *testing.T, p *pair) {
		p.run(20*time.Second, func() {})
		p.ends[1] = NewSession(p.now, p.timing(), 77, p.rnd.Float64)
		p.run(5*time.Second, func() {})
		if !p.both(Up) || p.ends[0].Status().RemoteDiscr != 77 {
			t.Errorf("%+v and %+v", p.ends[0].Status(), p.ends[1].Status())
		}
		if n := p.ends[0].Status().Failures; n != 1 {
			t.Errorf("%d failures, want 1", n)
		}
	})
}

// Nobody sends more than its share on a wire that loses much, and nothing but up and down comes out of it.
func TestPairOnABadWire(t *testing.T) {
	each(t, func(t *testing.T, p *pair) {
		p.lose = func(int) bool { return p.rnd.IntN(100) < 40 }
		p.run(100*time.Second, func() {
			for _, s := range p.ends {
				if next := s.Next(); next.IsZero() || next.Before(p.now) {
					t.Fatalf("next at %v, now %v", next, p.now)
				}
			}
		})
		p.lose = func(int) bool { return false }
		p.run(20*time.Second, func() {})
		if !p.both(Up) {
			t.Errorf("%v and %v", p.ends[0].State(), p.ends[1].State())
		}
	})
}
