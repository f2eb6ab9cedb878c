package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/route"
)

// Source is where the snapshots come from.
type Source interface {
	Snapshot() Snapshot
	// Errors counts what could not be read since the start.
	Errors() uint64
}

// Speaker speaks BGP.
type Speaker interface {
	// Apply makes the whole configuration true.
	Apply(ctx context.Context, config bgp.Config) error
	Peers() []bgp.PeerState
	// Learned is every prefix learned and accepted, with its sorted next hops, shared and not to be changed.
	Learned(yield func(netip.Prefix, []netip.Addr) bool)
	// Stop ends all sessions. Graceful: peers keep our routes by RFC 4724; else they drop them at once.
	Stop(ctx context.Context, graceful bool) error
}

// Routes are the kernel routes of ours.
type Routes interface {
	Apply(ctx context.Context, desired route.Desired) (route.Result, error)
	// Host is what the kernel has besides: addresses and the routes of others.
	Host() (route.Host, error)
}

// Tunnels are what leads to egress gateways, and out of them.
type Tunnels interface {
	// Underlay is how tunnels that end at these addresses of the node fit the network.
	Underlay(local []netip.Addr) (route.Underlay, error)
	Apply(ctx context.Context, desired route.Tunnels) (route.TunnelResult, error)
}

// NAT is the source address backend.
type NAT interface {
	Apply(ctx context.Context, plan nat.Plan) (nat.Result, error)
}

// Paths is BFD, in a process of its own.
type Paths interface {
	// Set is all that is wanted.
	Set(config bfd.Config)
	// States is what the process says, and which run of it; connected is false while it is not there.
	States() (report bfd.Report, instance string, connected bool)
}

// Trigger says why to read, decide and apply again.
type Trigger uint32

// The triggers. What only changes the learned routes needs no new decision.
const (
	TriggerSource Trigger = 1 << iota
	TriggerPaths
	TriggerNAT
	TriggerKernel
	TriggerBGP
	TriggerTimer
)

const (
	retry  = 200 * time.Millisecond // after the node's addresses could not be read
	resync = 10 * time.Second       // everything is read and applied again, whether or not somebody said that it changed
	// settleLimit bounds how long routes of an earlier agent stay while peers have not told all they have (RFC 4724,
	// section 4.1: Selection_Deferral_Timer).
	settleLimit = 120 * time.Second
	natTimeout  = 5 * time.Second
	// tellTime is how long a peer that sends no End-of-RIB is given to tell all it has.
	tellTime = 10 * time.Second
)

// Agent keeps one node as its source wants it. The exported fields are set before Run.
type Agent struct {
	Node    string
	Version string // of the program, for its status
	Source  Source
	Speaker Speaker
	Routes  Routes
	Tunnels Tunnels
	// Forget removes the connections whose mark under the mask is mark, and says how many they were.
	Forget func(ctx context.Context, mark, mask uint32) (int, error)
	// ForgetPods removes the connections that these addresses have opened, and says how many they were.
	ForgetPods     func(ctx context.Context, pods []netip.Addr) (int, error)
	NAT            NAT
	Backend        string // which NAT is
	Paths          Paths
	Traffic        Traffic
	Memory         Memory
	WithdrawOnExit bool
	Log            *slog.Logger

	pending atomic.Uint32
	wake    chan struct{}
	once    sync.Once

	// The fields below belong to the goroutine of Run.
	snapshot  Snapshot
	plan      Plan // what is to be; what it does not decide is as in an earlier plan
	applied   *bgp.Config
	watched   *bfd.Config // nil: nothing was said yet
	failures  failures
	gateways  gateways
	inherited Remembered          // from the agent before this one
	marks     map[Way]uint16      // that connections may bear: those planned, and those whose connections are not forgotten yet
	known     []netip.Addr        // addresses of pods, in force
	forgot    map[uint16]bool     // marks whose connections are forgotten, because their gateway is dead
	tunnels   route.Tunnels       // as applied
	guard     nat.Tunnel          // of the source addresses, while there are tunnels
	chosen    map[uint32]Choice   // in force
	failovers map[uint32]Failover // the last of each VNI
	started   time.Time
	settling  time.Time // when all had been read, so that peers were waited for
	settled   bool
	draining  draining
	problems  map[string]bool
	later     *time.Timer // of lookAgain
	laterAt   time.Time

	mu     sync.Mutex
	status Status
}

// Notify asks for another pass. It never blocks and may be called before Run.
func (a *Agent) Notify(t Trigger) {
	a.pending.Or(uint32(t))
	select {
	case a.wakeup() <- struct{}{}:
	default:
	}
}

func (a *Agent) wakeup() chan struct{} {
	a.once.Do(func() { a.wake = make(chan struct{}, 1) })
	return a.wake
}

// Run applies until ctx ends, then stops the speaker: routes and source addresses stay, peers keep our routes by graceful
// restart, unless WithdrawOnExit.
func (a *Agent) Run(ctx context.Context) error {
	a.started = time.Now()
	remembered := a.Memory.Load()
	a.failures = failures{}
	a.inherited = remembered
	a.marks = map[Way]uint16{}
	for _, way := range remembered.Egress.Marks {
		a.marks[way.Way] = way.Mark
	}
	a.gateways = gateways{started: a.started, remember: remembered.Egress, resumed: remembered.Restarted}
	a.mu.Lock()
	a.status = Status{Node: a.Node, Version: a.Version, Started: a.started, Backend: a.Backend, Restarted: remembered.Restarted}
	a.mu.Unlock()
	ticker := time.NewTicker(resync)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return a.stop()
		case <-ticker.C:
			a.pending.Or(uint32(TriggerTimer))
			if a.draining.Phase == "" && a.status.Stages["drain"].Runs == 0 {
				a.stopCounting(ctx) // what an agent left that was killed while it drained
			}
		case <-a.wakeup():
		}
		begin := time.Now()
		a.pass(ctx, Trigger(a.pending.Swap(0)), remembered)
		a.pause(ctx, time.Since(begin))
	}
}

// pause lets changes gather: while a full table arrives, passes over what has come so far must not be most of the work. A
// longer pause lets the last routes wait; a shorter one takes the CPU from the speaker, which then keeps what peers send in a
// queue (100,000 routes at once on 2 CPUs, November 2026).
func (a *Agent) pause(ctx context.Context, last time.Duration) {
	if last < 5*time.Millisecond {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(min(last, 100*time.Millisecond)):
	}
}

func (a *Agent) stop() error {
	if !a.WithdrawOnExit {
		a.Log.Info("stopping: routes and source addresses stay, peers keep our prefixes by graceful restart")
		if a.applied != nil {
			_ = a.remember(time.Now())
		}
	} else {
		a.Log.Info("stopping: withdrawing what was announced")
		a.Memory.Forget()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return a.Speaker.Stop(ctx, !a.WithdrawOnExit)
}

// pass is one way through the house. Errors end in the log and in status; the next pass tries again.
func (a *Agent) pass(ctx context.Context, why Trigger, remembered Remembered) {
	a.working(true)
	defer a.working(false)
	var host route.Host
	if err := a.stage("host", func() (err error) {
		host, err = a.Routes.Host()
		return err
	}); err != nil {
		a.pending.Or(uint32(why))
		a.lookAgain(retry)
		return
	}
	if why&^(TriggerBGP|TriggerKernel) == 0 && a.applied != nil && a.plan.Gate.Reason != learning {
		a.routes(ctx, host)
		a.publish()
		return
	}
	snapshot := a.Source.Snapshot()
	if !snapshot.Synced && len(snapshot.Nodes) == 0 && len(snapshot.Problems) == 0 {
		return // nothing has been read yet; the source notifies when it has
	}
	a.snapshot = snapshot
	a.failures.observe(a.Paths)
	now := time.Now()
	a.observeGateways(now)
	a.drain(ctx, a.announced(remembered))
	a.follow(Decide(a.Node, a.snapshot, Facts{
		Restarting:   remembered.Restarted,
		Announced:    a.announced(remembered),
		BGP:          a.applied,
		Addresses:    host.Addresses,
		PathFailures: a.failures.byPeer,
		Drained:      a.draining.Phase == v1alpha1.Drained,
		Told:         a.told(),
		Egress:       a.egressFacts(now, remembered),
		Learned:      a.Speaker.Learned,
	}))
	if a.plan.Gate.Reason == learning && a.hasSession() {
		a.lookAgain(retry) // without one there is nothing to wait for: the speaker notifies when it has
	}
	a.report()
	a.apply(ctx, host, remembered)
	a.settleGateways()
	a.handOver(now)
	a.watchPaths() // after BGP has told a peer that it is removed: else the peer takes it for a failure of the path
	a.publish()
}

// lookAgain asks for one more pass after a while, or with one that was asked for before and comes earlier: if each pass began
// a wait of its own, those that others ask for would multiply.
func (a *Agent) lookAgain(after time.Duration) {
	at := time.Now().Add(after)
	if a.later != nil {
		if time.Now().Before(a.laterAt) && a.laterAt.Before(at) {
			return
		}
		a.later.Stop()
	}
	a.laterAt = at
	a.later = time.AfterFunc(after, func() { a.Notify(TriggerTimer) })
}

func (a *Agent) hasSession() bool {
	return slices.ContainsFunc(a.Speaker.Peers(), func(p bgp.PeerState) bool { return p.State == bgp.Established })
}

// told says that there is a session, and that all peers with one have told what they have.
func (a *Agent) told() bool {
	established := 0
	for _, p := range a.Speaker.Peers() {
		if p.State != bgp.Established {
			continue
		}
		if !p.EndOfRIB && time.Since(p.Since) < tellTime {
			return false
		}
		established++
	}
	return established > 0
}

// follow makes plan the one to apply. What it leaves open stays.
func (a *Agent) follow(plan Plan) {
	if plan.NAT == nil {
		plan.NAT, plan.Egress = a.plan.NAT, a.plan.Egress
	}
	if plan.BGP == nil {
		plan.BGP, plan.Routes, plan.BFD, plan.Waiting = a.plan.BGP, a.plan.Routes, a.plan.BFD, a.plan.Waiting
		if plan.Drained && plan.BGP != nil {
			config := *plan.BGP
			config.Announce = nil // a drain is obeyed, whatever else is undecidable
			plan.BGP = &config
		}
	}
	a.plan = plan
}

func (a *Agent) announced(remembered Remembered) []netip.Prefix {
	if a.applied == nil {
		return remembered.Announced
	}
	var prefixes []netip.Prefix
	for _, announcement := range a.applied.Announce {
		prefixes = append(prefixes, announcement.Prefix)
	}
	return prefixes
}

// watchPaths tells BFD which sessions to hold, when that has changed.
func (a *Agent) watchPaths() {
	config := a.paths()
	if a.plan.BGP == nil || a.watched != nil && equalPaths(*a.watched, config) || !a.snapshot.Synced && !a.keepsPaths(config) {
		return
	}
	a.watched = &config
	a.Paths.Set(config)
}

// paths is all that BFD is to hold: sessions with peers, and with gateways.
func (a *Agent) paths() bfd.Config {
	config := bfd.Config{Sessions: slices.Clone(a.plan.BFD)}
	if a.plan.Egress != nil {
		config.Sessions = append(config.Sessions, a.plan.Egress.Sessions...)
		config.Passive = a.plan.Egress.Passive
		config.PathDown = len(config.Passive) > 0 && a.gateways.self(time.Now()) == Returned
	}
	return config
}

func equalPaths(a, b bfd.Config) bool {
	return slices.Equal(a.Sessions, b.Sessions) && slices.Equal(a.Passive, b.Passive) && a.PathDown == b.PathDown
}

// keepsPaths says that the plan ends no session that BFD holds. A peer takes the end of one for a failure of the path.
func (a *Agent) keepsPaths(config bfd.Config) bool {
	held, _, connected := a.Paths.States()
	return connected && !slices.ContainsFunc(held.Sessions, func(s bfd.Status) bool {
		return !slices.ContainsFunc(config.Sessions, func(c bfd.SessionConfig) bool { return c.Key == s.Key })
	})
}

// apply makes the plan true in the order that loses no packet: withdraw, source addresses, routes, announce.
func (a *Agent) apply(ctx context.Context, host route.Host, remembered Remembered) {
	before := a.announced(remembered)
	a.withdraw(ctx)
	ready := errors.Join(a.leadOut(ctx), a.routes(ctx, host))
	if a.plan.BGP == nil {
		return
	}
	config := *a.plan.BGP
	if ready != nil {
		// The datapath is not in force: nothing new is announced, but what peers rely on stays.
		config.Announce = slices.DeleteFunc(slices.Clone(config.Announce), func(n bgp.Announcement) bool {
			return !slices.Contains(before, n.Prefix)
		})
	}
	a.stage("announce", func() error { return a.speak(ctx, config) })
}

// withdraw takes back what is announced and no longer planned, before anything under it is taken away.
func (a *Agent) withdraw(ctx context.Context) {
	if a.applied == nil || a.plan.BGP == nil {
		return
	}
	config := *a.applied
	config.Announce = slices.DeleteFunc(slices.Clone(config.Announce), func(old bgp.Announcement) bool {
		return !slices.ContainsFunc(a.plan.BGP.Announce, func(n bgp.Announcement) bool { return n.Prefix == old.Prefix })
	})
	if len(config.Announce) < len(a.applied.Announce) {
		a.stage("withdraw", func() error { return a.speak(ctx, config) })
	}
}

func (a *Agent) speak(ctx context.Context, config bgp.Config) error {
	err := a.Speaker.Apply(ctx, config)
	a.applied = &config
	_ = a.remember(time.Time{})
	return err
}

func (a *Agent) sourceAddresses(ctx context.Context, plan *nat.Plan) error {
	if plan == nil || !a.snapshot.Synced && len(plan.Policies) == 0 {
		return nil // what an earlier agent left stays until everything has been read
	}
	return a.stage("nat", func() error {
		// The backend runs a program of the system: if that hangs, BGP and routes must not.
		ctx, cancel := context.WithTimeout(ctx, natTimeout)
		defer cancel()
		result, err := a.NAT.Apply(ctx, *plan)
		if result.Repaired {
			a.repaired("nat", 1)
		}
		return err
	})
}

func (a *Agent) routes(ctx context.Context, host route.Host) error {
	if a.plan.Routes == nil {
		return nil
	}
	var peers []netip.Addr
	for _, peer := range a.plan.BGP.Peers {
		peers = append(peers, peer.Address)
	}
	return a.stage("routes", func() error {
		result, err := a.Routes.Apply(ctx, route.Desired{
			Table:    a.plan.Routes.Table,
			Metric:   a.plan.Routes.Metric,
			Rules:    route.NewRules(a.plan.Routes.Own, host, peers),
			Routes:   a.Speaker.Learned,
			Settling: !a.settle(),
		})
		if result.Repaired > 0 {
			a.repaired("routes", result.Repaired)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.status.Routes.Result = result
		return err
	})
}

// settle says whether all peers have told all they have, so that what an earlier agent has left over may go.
func (a *Agent) settle() bool {
	if a.settled {
		return true
	}
	if a.applied == nil || !a.snapshot.Synced {
		return false
	}
	if a.settling.IsZero() {
		a.settling = time.Now()
	}
	states := a.Speaker.Peers()
	silent := func(peer bgp.Peer) bool {
		i := slices.IndexFunc(states, func(p bgp.PeerState) bool { return p.Address == peer.Address })
		if i < 0 {
			return true // the speaker has not heard of it yet
		}
		p := states[i]
		// A peer without graceful restart owes no End-of-RIB (RFC 4724, section 2).
		return !p.EndOfRIB && (p.GracefulRestart || p.State != bgp.Established || time.Since(p.Since) < tellTime)
	}
	told := len(a.plan.Waiting) == 0 && !slices.ContainsFunc(a.plan.BGP.Peers, silent)
	a.settled = told || time.Since(a.settling) > settleLimit
	return a.settled
}
