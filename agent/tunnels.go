package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/route"
)

// observeGateways takes in what BFD says of gateways, and looks again when that changes by itself.
func (a *Agent) observeGateways(now time.Time) {
	report, instance, connected := a.Paths.States()
	sessions := report.Sessions
	if a.plan.Egress != nil {
		sessions = slices.DeleteFunc(slices.Clone(sessions), func(s bfd.Status) bool {
			return s.Multihop && !slices.ContainsFunc(a.plan.Egress.Sessions, func(c bfd.SessionConfig) bool { return c.Key == s.Key }) &&
				!slices.ContainsFunc(a.plan.BFD, func(c bfd.SessionConfig) bool { return c.Key == s.Key })
		})
	}
	before := a.gateways.isolated(now)
	a.gateways.observe(now, sessions, instance, connected, report.Passive.Up, a.hasSession())
	if isolated := a.gateways.isolated(now); isolated != before && a.plan.Egress != nil && len(a.plan.Egress.Tunnels.Exits) > 0 {
		if isolated {
			a.Log.Warn("this node has lost all others: it gives up the egress addresses that it owns")
		} else {
			a.Log.Info("this node sees others again: it takes back no egress address from who has it")
		}
	}
	if a.gateways.nextCheck > 0 && a.plan.Egress != nil && len(a.plan.Egress.States) > 0 {
		a.lookAgain(a.gateways.nextCheck)
	}
}

// egressFacts is what a decision about gateways goes by.
func (a *Agent) egressFacts(now time.Time, remembered Remembered) EgressFacts {
	f := EgressFacts{Health: a.gateways.health, Self: a.gateways.self(now), Isolated: a.gateways.isolated(now), Now: now}
	if node := a.snapshot.node(a.Node); node != nil {
		_ = a.stage("underlay", func() (err error) {
			f.Underlay, err = a.Tunnels.Underlay(TunnelAddresses(node))
			return err
		})
	}
	f.Choices, f.Marks = remembered.Egress.Choices, maps.Clone(a.marks)
	if a.plan.Egress != nil {
		f.Choices = a.plan.Egress.Choices
	}
	return f
}

// settleGateways lets a node that has come back be one like all others again.
func (a *Agent) settleGateways() {
	if a.plan.Egress == nil {
		return
	}
	reordered := a.snapshot.Controlled && a.snapshot.Synced && a.snapshot.Restored.IsZero()
	if again := a.gateways.settle(time.Now(), a.plan.Egress, a.Node, reordered); again > 0 {
		a.lookAgain(again)
	}
}

// handOver looks again when a planned change of gateway is to take new connections with it.
func (a *Agent) handOver(now time.Time) {
	if a.plan.Egress == nil {
		return
	}
	for _, choice := range a.plan.Egress.Choices {
		if left := handOverTime - now.Sub(choice.Since); choice.Before != "" && left > 0 {
			a.lookAgain(left)
		}
	}
}

// leadOut puts tunnels and source addresses into force. A packet that is marked for a tunnel always finds it, and what a dead
// gateway had is decided anew only when that leads elsewhere.
func (a *Agent) leadOut(ctx context.Context) error {
	if a.plan.NAT == nil || a.plan.Egress == nil {
		return a.sourceAddresses(ctx, a.plan.NAT)
	}
	maps.Copy(a.marks, a.plan.Egress.Marks)
	old, desired := a.tunnels, a.plan.Egress.Tunnels
	both, goes := union(desired, old)
	if !a.snapshot.Synced {
		desired, goes = both, false
	}
	if err := errors.Join(a.remember(time.Time{}), a.lay(ctx, both)); err != nil {
		return err
	}
	guarded := *a.plan.NAT
	if goes && guarded.Tunnel.Prefix == "" {
		guarded.Tunnel = a.guard // what tunnels bring must not pass as it is while they are there
	}
	if err := a.sourceAddresses(ctx, &guarded); err != nil {
		return err
	}
	a.guard = guarded.Tunnel
	err := errors.Join(a.forget(ctx), a.forgetPods(ctx))
	a.countFailovers(time.Now())
	if goes {
		err = errors.Join(err, a.lay(ctx, desired), a.sourceAddresses(ctx, a.plan.NAT))
	}
	return err
}

func (a *Agent) lay(ctx context.Context, desired route.Tunnels) error {
	return a.stage("tunnels", func() error {
		result, err := a.Tunnels.Apply(ctx, desired)
		if result.Repaired {
			a.repaired("tunnels", 1)
		}
		if err == nil {
			a.tunnels = desired
		}
		return err
	})
}

// union is desired with what it lacks of old, and whether it lacks something.
func union(desired, old route.Tunnels) (both route.Tunnels, more bool) {
	both = desired
	if len(both.Local) == 0 {
		both.Local, both.Mask, both.Shift = old.Local, old.Mask, old.Shift
	}
	both.Paths, both.Exits, both.Gateways = slices.Clone(both.Paths), slices.Clone(both.Exits), slices.Clone(both.Gateways)
	for _, p := range old.Paths {
		if !slices.ContainsFunc(both.Paths, func(q route.TunnelPath) bool { return q.Mark == p.Mark || q.VNI == p.VNI && q.Gateway == p.Gateway }) {
			both.Paths, more = append(both.Paths, p), true
		}
	}
	for _, e := range old.Exits {
		if !slices.ContainsFunc(both.Exits, func(x route.TunnelExit) bool { return x.VNI == e.VNI }) {
			e.Owns = false
			both.Exits, more = append(both.Exits, e), true
		}
	}
	for _, g := range old.Gateways {
		if !slices.Contains(both.Gateways, g) {
			both.Gateways, more = append(both.Gateways, g), true
		}
	}
	return both, more
}

// forget removes the connections that would stay on a way that is gone: their next packet is decided anew. Nor may they keep
// its mark, which will name another way.
func (a *Agent) forget(ctx context.Context) error {
	dead, errs := map[uint16]bool{}, []error(nil)
	for way, mark := range a.marks {
		_, stays := a.plan.Egress.Marks[way]
		switch {
		case !stays && a.snapshot.Synced:
			err := a.forgetMark(ctx, mark)
			if err == nil {
				delete(a.marks, way)
			}
			errs = append(errs, err)
		case a.lost(way):
			if a.forgot[mark] {
				dead[mark] = true
				continue
			}
			err := a.forgetMark(ctx, mark)
			dead[mark] = err == nil
			errs = append(errs, err)
		}
	}
	a.forgot = dead
	return errors.Join(errs...)
}

// lost says that a gateway has nothing of a way any more: it is dead, or it was while this agent did not look, or it is this
// node, which was cut off, and another gateway has the address. One that has returned from a drain has its connections still.
func (a *Agent) lost(way Way) bool {
	g, own := &a.gateways, !way.Gateway.IsValid()
	switch {
	case own && !g.cutOff:
		return false
	case !own && g.health[way.Gateway] == Dead:
		return true
	case !own && !(g.health[way.Gateway] == Returned && g.died[way.Gateway]):
		return false
	}
	return slices.ContainsFunc(a.plan.Egress.States, func(s EgressState) bool {
		owner := slices.ContainsFunc(s.Gateways, func(g GatewayState) bool {
			return g.Node == s.Gateway && (g.Address == way.Gateway || own && g.Node == a.Node)
		})
		return s.VNI == way.VNI && !owner
	})
}

func (a *Agent) forgetMark(ctx context.Context, mark uint16) error {
	return a.stage("forget", func() error {
		n, err := a.Forget(ctx, uint32(mark)<<nat.MarkShift, nat.MarkMask)
		if n > 0 {
			a.Log.Info("connections through a gateway that is gone are decided anew", "mark", mark, "connections", n)
		}
		return err
	})
}

// forgetPods removes the connections of pods that are gone: the next pod with the address may use the same ports, and would
// leave with the source of the one before.
func (a *Agent) forgetPods(ctx context.Context) error {
	if !a.snapshot.Synced {
		return nil
	}
	gone := slices.DeleteFunc(slices.Clone(a.known), func(pod netip.Addr) bool {
		_, stays := slices.BinarySearchFunc(a.plan.NAT.Known, pod, netip.Addr.Compare)
		return stays
	})
	if len(gone) > 0 {
		if err := a.stage("forget", func() error {
			_, err := a.ForgetPods(ctx, gone)
			return err
		}); err != nil {
			return err
		}
	}
	a.known = a.plan.NAT.Known
	return nil
}

// Failover is a change of gateway because the one before was dead.
type Failover struct {
	At   time.Time `json:"at"` // when new connections went to the other
	From string    `json:"from"`
	To   string    `json:"to,omitempty"` // empty: to none
	// Outage is how long new connections were lost, as far as this node can tell: from the last packet that BFD can have
	// heard of the one that died until At.
	Outage time.Duration `json:"outage"`
}

// countFailovers notes the changes of gateway that have just come into force.
func (a *Agent) countFailovers(now time.Time) {
	for vni, choice := range a.plan.Egress.Choices {
		before, known := a.chosen[vni]
		if !known || choice.Failovers == before.Failovers {
			continue
		}
		f := Failover{At: now, From: before.Gateway, To: choice.Gateway}
		for _, s := range a.plan.Egress.States {
			i := slices.IndexFunc(s.Gateways, func(g GatewayState) bool { return g.Node == before.Gateway })
			if s.VNI == vni && i >= 0 {
				gateway := s.Gateways[i].Address
				if since, ok := a.gateways.since[gateway]; ok {
					f.Outage = now.Sub(since) + a.gateways.detect[gateway]
				}
			}
		}
		if a.failovers == nil {
			a.failovers = map[uint32]Failover{}
		}
		a.failovers[vni] = f
		choice.Outage += f.Outage
		a.plan.Egress.Choices[vni] = choice
		a.Log.Warn("egress address has another gateway", "vni", vni, "from", f.From, "to", f.To, "outage", f.Outage.Round(time.Millisecond))
	}
	a.chosen = a.plan.Egress.Choices
}

// egressStates are the plan's with what has become of them.
func (a *Agent) egressStates() []EgressState {
	if a.plan.Egress == nil {
		return nil
	}
	states := slices.Clone(a.plan.Egress.States)
	for i := range states {
		states[i].Choice = a.plan.Egress.Choices[states[i].VNI]
		if f, ok := a.failovers[states[i].VNI]; ok {
			states[i].LastFailover = &f
		}
	}
	return states
}

// remember keeps what the next agent on this boot must know.
func (a *Agent) remember(stopped time.Time) error {
	egress := Egress{Instance: a.gateways.instance, Stopped: stopped, Failed: a.gateways.failed, Returned: a.gateways.returned}
	if a.plan.Egress != nil {
		egress.Choices = a.plan.Egress.Choices
	}
	for way, mark := range a.marks {
		egress.Marks = append(egress.Marks, MarkedWay{way, mark})
	}
	slices.SortFunc(egress.Marks, func(a, b MarkedWay) int { return int(a.Mark) - int(b.Mark) })
	return a.stage("remember", func() error { return a.Memory.Save(a.announced(a.inherited), egress) })
}
