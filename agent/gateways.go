package agent

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
)

const (
	// presumeTime is how long a gateway counts as alive that has not answered yet: a BFD session needs up to three packets, one
	// a second, to come up (RFC 5880, section 6.8.3).
	presumeTime = 4 * time.Second
	// plannedTime is how long a gateway counts as alive that has taken its session down by intent: its waymark-bfd is being
	// replaced, and its kernel goes on.
	plannedTime = 15 * time.Second
	// lonelyTime is how long a node that has lost all others takes itself for the one that is cut off, unless a BGP session
	// outlives its hold time meanwhile.
	lonelyTime = 100 * time.Second
	// bfdPatience is how long after its start the agent waits for waymark-bfd before it does without; and how long it takes a
	// lost connection for nothing but a replacement of both.
	bfdPatience  = 5 * time.Second
	bfdLossGrace = 300 * time.Millisecond
	// meetTime is how long a node has had company before it can lose it.
	meetTime = time.Second
	// settleTime is how long a node that has returned owns an address before it is like all others: they choose by then.
	settleTime = 2 * time.Second
)

// gateways follows, over time, the health of the gateways that this node watches, and its own as one.
type gateways struct {
	health map[netip.Addr]Health
	since  map[netip.Addr]time.Time // when BFD saw the last change
	up     map[netip.Addr]uint64    // failures counted when the session was last up, since this node was last cut off
	detect map[netip.Addr]time.Duration
	failed map[netip.Addr]uint64 // failures counted when the session was last up, by this agent or the one before it
	died   map[netip.Addr]bool   // a session has failed since the gateway was last alive

	started   time.Time
	remember  Egress // of the agent before this one
	resumed   bool   // there was one, on this boot
	instance  string // of waymark-bfd; empty: not met yet
	lost      time.Time
	returned  bool // others may have taken over what this node owned, or have been given it
	cutOff    bool // nobody was reached, so that others have taken over and do not know its connections
	company   bool // somebody was there, at some time
	lonely    time.Time
	met       time.Time     // when it first had company
	rejoined  time.Time     // when it had company again
	back      time.Time     // when it had another waymark-bfd
	nextCheck time.Duration // after which something changes by itself; 0: nothing does
}

// observe takes in what BFD says now. Passive is how many sessions are up that others have opened; established says that a
// BGP session is.
func (g *gateways) observe(now time.Time, sessions []bfd.Status, instance string, connected bool, passive int, established bool) {
	if g.health == nil {
		g.health, g.since = map[netip.Addr]Health{}, map[netip.Addr]time.Time{}
		g.up, g.detect = map[netip.Addr]uint64{}, map[netip.Addr]time.Duration{}
		g.failed, g.died = map[netip.Addr]uint64{}, map[netip.Addr]bool{}
		g.returned = !g.resumed || g.remember.Returned
	}
	g.nextCheck = 0
	if !connected {
		if g.lost.IsZero() {
			g.lost = now
		}
		g.again(g.lost.Add(bfdLossGrace).Sub(now))
		g.again(g.started.Add(bfdPatience).Sub(now))
		if g.instance != "" && now.Sub(g.lost) >= bfdLossGrace {
			g.returned = true
		}
		return
	}
	g.lost = time.Time{}
	if instance != g.instance {
		g.meet(now, instance)
	}
	up := passive
	for _, s := range sessions {
		if s.State == bfd.Up {
			up++
		}
	}
	g.alone(now, up, established)
	for _, s := range sessions {
		if s.Multihop {
			g.judge(now, s)
		}
	}
}

// meet notes that another waymark-bfd runs than before: what it has not seen it cannot know, and while there was none, others
// may have taken over.
func (g *gateways) meet(now time.Time, instance string) {
	first := g.instance == ""
	clear(g.up)
	clear(g.failed)
	for gateway, health := range g.health {
		if health != Dead {
			g.health[gateway] = Presumed // until its session is up again
		}
	}
	if first && instance == g.remember.Instance {
		maps.Copy(g.failed, g.remember.Failed)
	}
	switch {
	case !first:
		g.returned, g.back = true, now
	case g.resumed && g.remember.Instance != instance && now.Sub(g.remember.Stopped) > plannedTime-bfdLossGrace:
		g.returned = true
	}
	g.instance = instance
}

func (g *gateways) judge(now time.Time, s bfd.Status) {
	before, known := g.health[s.Peer]
	health := Dead
	failures, wasUp := g.up[s.Peer]
	rejoining := now.Sub(g.rejoined) < presumeTime
	switch age := now.Sub(s.Since); {
	case s.State == bfd.Up && s.RemoteState != bfd.Up && !(rejoining && !wasUp):
		health = before // the session is up by the gateway's last packet but one: what it says of itself comes with the next
	case s.State == bfd.Up && s.RemoteState != bfd.Up:
		health = Presumed
		g.again(presumeTime - now.Sub(g.rejoined))
	case s.State == bfd.Up && s.RemoteDiag == bfd.DiagConcatenatedPath && rejoining:
		health = Presumed
		g.again(presumeTime - now.Sub(g.rejoined))
	case s.State == bfd.Up && s.RemoteDiag == bfd.DiagConcatenatedPath:
		health = Returned
	case s.State == bfd.Up:
		health = Alive
	case wasUp && s.Failures == failures && age < plannedTime:
		health = before
		g.again(plannedTime - age)
	case !wasUp && s.Failures == 0 && age < presumeTime && before != Dead:
		health = Presumed
		g.again(presumeTime - age)
	case rejoining && !wasUp:
		// It was this node that was cut off. Who of the others is alive it learns one by one, and takes nothing over meanwhile.
		health = Presumed
		g.again(presumeTime - now.Sub(g.rejoined))
	}
	if s.State == bfd.Up {
		g.up[s.Peer], g.detect[s.Peer] = s.Failures, s.DetectionTime
		last, seen := g.failed[s.Peer]
		g.failed[s.Peer] = s.Failures
		g.died[s.Peer] = health != Alive && (g.died[s.Peer] || seen && s.Failures > last)
	}
	if !known || health != before {
		g.health[s.Peer], g.since[s.Peer] = health, s.Since
	}
}

// alone tells whether this node has been cut off: it had company, and now it has none.
func (g *gateways) alone(now time.Time, up int, established bool) {
	switch {
	case up > 0:
		if !g.lonely.IsZero() {
			g.rejoined = now
			clear(g.up)
		}
		if !g.company {
			g.met = now
		}
		g.company, g.lonely = true, time.Time{}
	case g.company && g.lonely.IsZero() && now.Sub(g.met) < meetTime:
		g.company = false // sessions that come up and go at once, while all begins
	case g.company && g.lonely.IsZero():
		g.lonely, g.returned, g.cutOff = now, true, true
		g.again(lonelyTime)
	case established && !g.lonely.IsZero() && now.Sub(g.lonely) > lonelyTime:
		g.company, g.lonely = false, time.Time{}
	}
}

func (g *gateways) again(after time.Duration) {
	if after > 0 && (g.nextCheck == 0 || after < g.nextCheck) {
		g.nextCheck = after
	}
}

// isolated says that whatever this node owned, others have taken over or nobody can.
func (g *gateways) isolated(now time.Time) bool {
	switch {
	case !g.lonely.IsZero():
		return true
	case g.lost.IsZero():
		return false
	case g.instance == "": // not met yet
		return !g.resumed && now.Sub(g.started) < bfdPatience
	}
	return now.Sub(g.lost) >= bfdLossGrace
}

// self is this node's own health. Without waymark-bfd nobody could know better.
func (g *gateways) self(now time.Time) Health {
	if g.returned && (g.instance != "" || g.isolated(now)) {
		return Returned
	}
	return Alive
}

// settle clears the mark of one who has returned, when it does not matter any more: it owns something again because nobody
// else did, and all have had the time to see that; or the lists have been ordered anew, with somebody else first in each. It
// returns when to ask again; 0: not before something else changes.
func (g *gateways) settle(now time.Time, plan *EgressPlan, node string, reordered bool) (again time.Duration) {
	if !g.returned || g.instance == "" || g.isolated(now) || !g.lost.IsZero() {
		return 0
	}
	owns, first, long := false, false, time.Duration(0)
	for _, s := range plan.States {
		if s.Gateway == node {
			owns, long = true, max(long, min(now.Sub(s.Since), now.Sub(g.back)))
			if !slices.ContainsFunc(s.Gateways, func(o GatewayState) bool { return o.Node != node && o.Health != Dead }) {
				long = settleTime // there was nobody else to choose
			}
		}
		first = first || len(s.Gateways) > 0 && s.Gateways[0].Node == node
		if !s.Final {
			return 0
		}
	}
	switch {
	case owns && long < settleTime:
		return settleTime - long
	case owns, reordered && !first:
		g.returned, g.cutOff = false, false
		return time.Nanosecond
	}
	return 0
}
