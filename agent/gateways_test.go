package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
)

// clockwork drives a gateways through time.
type clockwork struct {
	gateways
	now         time.Time
	sessions    []bfd.Status
	instance    string
	gone        bool // waymark-bfd is not there
	passive     int
	established bool
}

var gatewayA = netip.MustParseAddr("198.18.0.1")

func newClockwork(resumed bool) *clockwork {
	begin := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	c := &clockwork{now: begin, instance: "one", sessions: []bfd.Status{{Key: bfd.Key{Peer: gatewayA, Multihop: true}, State: bfd.Down, Since: begin}}}
	c.gateways = gateways{started: begin, resumed: resumed, remember: Egress{Instance: "one"}}
	return c
}

// after lets time pass and looks.
func (c *clockwork) after(d time.Duration) Health {
	c.now = c.now.Add(d)
	c.observe(c.now, c.sessions, c.instance, !c.gone, c.passive, c.established)
	return c.health[gatewayA]
}

// becomes changes the session; a failure counts unless it was by intent.
func (c *clockwork) becomes(state bfd.State, diag bfd.Diag, planned bool) {
	s := &c.sessions[0]
	if s.State == bfd.Up && state != bfd.Up && !planned {
		s.Failures++
	}
	s.State, s.RemoteState, s.RemoteDiag, s.Since = state, state, diag, c.now
}

func (c *clockwork) want(t *testing.T, after time.Duration, want Health) {
	t.Helper()
	if got := c.after(after); got != want {
		t.Errorf("at %v: %v, want %v", c.now.Sub(c.started), got, want)
	}
}

func TestHealthOfAGateway(t *testing.T) {
	c := newClockwork(true)
	c.passive = 1 // somebody else is there all the time
	c.want(t, time.Second, Presumed)
	c.want(t, presumeTime, Dead) // it never answered
	c.becomes(bfd.Up, 0, false)
	c.want(t, 0, Alive)
	c.becomes(bfd.Up, bfd.DiagConcatenatedPath, false)
	c.want(t, 0, Returned)
	c.becomes(bfd.Up, 0, false)
	c.want(t, 0, Alive)
	c.becomes(bfd.Down, 0, true) // its waymark-bfd is replaced
	c.want(t, time.Second, Alive)
	c.want(t, plannedTime, Dead) // by nothing
	c.becomes(bfd.Up, 0, false)
	c.want(t, 0, Alive)
	c.becomes(bfd.Down, 0, false)
	c.want(t, 0, Dead)
	c.gone = true // a lost connection says nothing about gateways
	c.want(t, time.Minute, Dead)
	c.gone, c.instance = false, "two" // our own was replaced
	c.sessions[0] = bfd.Status{Key: c.sessions[0].Key, State: bfd.Up, RemoteState: bfd.Up, Since: c.now}
	c.want(t, 0, Alive)
	c.sessions[0] = bfd.Status{Key: c.sessions[0].Key, State: bfd.Down, Since: c.now}
	c.instance = "three"
	c.want(t, time.Second, Presumed)
	c.becomes(bfd.Up, bfd.DiagConcatenatedPath, false)
	c.want(t, 0, Returned)
	c.sessions, c.instance = nil, "four" // which has not been told its sessions
	c.want(t, time.Second, Presumed)
}

func TestGatewayHasNotSaidYet(t *testing.T) {
	c := newClockwork(true)
	c.passive = 1
	c.becomes(bfd.Up, 0, false)
	c.want(t, 0, Alive)
	c.becomes(bfd.Down, 0, false)
	c.want(t, 0, Dead)
	c.becomes(bfd.Up, bfd.DiagTimeExpired, false)
	c.sessions[0].RemoteState = bfd.Init
	c.want(t, 0, Dead)
	c.becomes(bfd.Up, bfd.DiagConcatenatedPath, false)
	c.want(t, 0, Returned)
}

func TestCutOffAndBack(t *testing.T) {
	c := newClockwork(true)
	c.becomes(bfd.Up, 0, false)
	c.want(t, 0, Alive)
	if c.self(c.now) != Alive || c.isolated(c.now) {
		t.Errorf("resumed and in company: %v, isolated %v", c.self(c.now), c.isolated(c.now))
	}
	c.after(meetTime)
	c.becomes(bfd.Down, 0, false)
	c.want(t, 0, Dead)
	if c.self(c.now) != Returned || !c.isolated(c.now) {
		t.Errorf("without company: %v, isolated %v", c.self(c.now), c.isolated(c.now))
	}
	c.passive = 1 // a node sees us again, before the gateway does
	c.want(t, time.Second, Presumed)
	if c.self(c.now) != Returned || c.isolated(c.now) {
		t.Errorf("back: %v, isolated %v", c.self(c.now), c.isolated(c.now))
	}
	c.becomes(bfd.Up, bfd.DiagConcatenatedPath, false)
	c.want(t, time.Second, Presumed) // it may own something by now
	c.becomes(bfd.Down, 0, false)    // and dies at once
	c.want(t, 0, Dead)
	c.becomes(bfd.Up, bfd.DiagConcatenatedPath, false)
	c.want(t, presumeTime, Returned)
}

// TestCutOffAndBackByAGateway is that of a node to which the gateway itself is the first that comes back.
func TestCutOffAndBackByAGateway(t *testing.T) {
	c := newClockwork(true)
	c.becomes(bfd.Up, 0, false)
	c.want(t, 0, Alive)
	c.after(meetTime)
	c.becomes(bfd.Down, 0, false)
	c.want(t, 0, Dead)
	c.becomes(bfd.Up, bfd.DiagTimeExpired, false)
	c.sessions[0].RemoteState = bfd.Init
	c.want(t, time.Second, Presumed)
	if c.isolated(c.now) {
		t.Error("isolated still")
	}
	c.sessions[0].RemoteState, c.sessions[0].RemoteDiag = bfd.Up, 0
	c.want(t, 0, Alive)
}

func TestSessionsFlapAtTheBeginning(t *testing.T) {
	c := newClockwork(true)
	c.becomes(bfd.Up, 0, false)
	c.after(0)
	c.becomes(bfd.Down, 0, true)
	c.after(meetTime / 2)
	if c.self(c.now) != Alive || c.isolated(c.now) {
		t.Errorf("a session that came up and went at once: %v, isolated %v", c.self(c.now), c.isolated(c.now))
	}
}

func TestLastOneIsNotCutOffForEver(t *testing.T) {
	c := newClockwork(true)
	c.becomes(bfd.Up, 0, false)
	c.after(0)
	c.after(meetTime)
	c.becomes(bfd.Down, 0, false)
	c.established = true // BGP without BFD keeps its session
	c.after(time.Second)
	if !c.isolated(c.now) {
		t.Error("not isolated at once")
	}
	c.after(lonelyTime + time.Second)
	if c.isolated(c.now) {
		t.Error("still isolated, although a BGP session has outlived its hold time")
	}
}

func TestWhoReturns(t *testing.T) {
	for name, test := range map[string]struct {
		resumed bool
		before  Egress
		change  func(*clockwork)
		want    Health
	}{
		"a first start":                           {change: func(*clockwork) {}, want: Returned},
		"a restart of the agent alone":            {resumed: true, before: Egress{Instance: "one"}, change: func(*clockwork) {}, want: Alive},
		"a restart of one that had returned":      {resumed: true, before: Egress{Instance: "one", Returned: true}, change: func(*clockwork) {}, want: Returned},
		"a quick restart of both":                 {resumed: true, before: Egress{Instance: "zero", Stopped: time.Date(2026, 11, 20, 23, 59, 58, 0, time.UTC)}, change: func(*clockwork) {}, want: Alive},
		"a slow restart of both":                  {resumed: true, before: Egress{Instance: "zero", Stopped: time.Date(2026, 11, 20, 23, 59, 0, 0, time.UTC)}, change: func(*clockwork) {}, want: Returned},
		"both were killed":                        {resumed: true, before: Egress{Instance: "zero"}, change: func(*clockwork) {}, want: Returned},
		"waymark-bfd is replaced under the agent": {resumed: true, before: Egress{Instance: "one"}, change: func(c *clockwork) { c.instance = "two" }, want: Returned},
		"waymark-bfd is gone":                     {resumed: true, before: Egress{Instance: "one"}, change: func(c *clockwork) { c.gone = true; c.after(0) }, want: Returned},
		"waymark-bfd never was there":             {resumed: false, change: func(c *clockwork) { c.gone, c.instance = true, "" }, want: Returned},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClockwork(test.resumed)
			c.remember = test.before
			c.gone = name == "waymark-bfd never was there"
			c.passive = 1
			c.after(0)
			test.change(c)
			c.after(time.Second)
			if got := c.self(c.now); got != test.want {
				t.Errorf("it says of itself: %v, want %v", got, test.want)
			}
		})
	}
	c := newClockwork(false)
	c.gone = true
	c.after(0)
	if c.after(bfdPatience); c.self(c.now) != Alive || c.isolated(c.now) {
		t.Error("without waymark-bfd the list alone decides")
	}
}

func TestSettleAfterBFDWasReplaced(t *testing.T) {
	c := newClockwork(true)
	c.passive = 1
	c.after(time.Second)
	plan := &EgressPlan{States: []EgressState{{VNI: 1, Choice: Choice{Gateway: "n1", Since: c.now.Add(-time.Hour), Final: true},
		Gateways: []GatewayState{{Node: "n1", Health: Returned}, {Node: "n2", Health: Returned}}}}}
	c.instance = "two"
	c.after(time.Second)
	if again := c.settle(c.now, plan, "n1", false); !c.returned || again != settleTime {
		t.Errorf("like all others at once (%v), before they have chosen; asks again after %v", !c.returned, again)
	}
	c.after(settleTime)
	if c.settle(c.now, plan, "n1", false); c.returned {
		t.Error("not like all others after they have chosen")
	}
}

func TestSettle(t *testing.T) {
	state := func(first, owner string, other Health, since time.Duration) *EgressPlan {
		begin := time.Date(2026, 11, 21, 0, 0, 1, 0, time.UTC)
		gateways := []GatewayState{{Node: first, Health: Alive}, {Node: map[string]string{"n1": "n2", "n2": "n1"}[first], Health: Alive}}
		for i := range gateways {
			if gateways[i].Node == "n2" {
				gateways[i].Health = other
			}
		}
		return &EgressPlan{States: []EgressState{{VNI: 1, Choice: Choice{Gateway: owner, Since: begin.Add(-since), Final: true}, Gateways: gateways}}}
	}
	for name, test := range map[string]struct {
		plan      *EgressPlan
		reordered bool
		stays     bool
	}{
		"owns, for long enough":                {plan: state("n1", "n1", Returned, settleTime)},
		"owns, but the others may not know":    {plan: state("n1", "n1", Returned, 0), stays: true},
		"owns, and there is nobody else":       {plan: state("n1", "n1", Dead, 0)},
		"owns nothing and is the first":        {plan: state("n1", "n2", Alive, 0), reordered: true, stays: true},
		"owns nothing and another is first":    {plan: state("n2", "n2", Alive, 0), reordered: true},
		"the same, but the list is not recent": {plan: state("n2", "n2", Alive, 0), stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClockwork(false)
			c.passive = 1
			c.after(time.Second)
			again := c.settle(c.now, test.plan, "n1", test.reordered)
			if c.returned != test.stays || again == 0 && !test.stays {
				t.Errorf("returned stays %v, want %v; asks again after %v", c.returned, test.stays, again)
			}
		})
	}
}
