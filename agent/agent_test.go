package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/route"
)

// world is a node and its surroundings. It plays all the agent's neighbours and enforces the order of an apply: while a
// prefix is announced, its source addresses are in force, from before the first announcement to after the withdrawal.
type world struct {
	t *testing.T

	mu        sync.Mutex
	snapshot  Snapshot
	natErr    error
	hostErr   error
	pods      []netip.Prefix // whose source addresses are in force
	speaking  *bgp.Config    // nil: stopped
	stopped   string
	settling  bool
	packets   uint64
	watched   []bfd.SessionConfig
	sessions  []bfd.Status
	peers     []bgp.PeerState
	instance  string
	seen      string // the instance that the agent has read last
	inherited bool   // the world began with what an earlier agent left
}

func (w *world) Snapshot() Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.snapshot
}

func (w *world) Errors() uint64 { return 0 }

type fakeSpeaker struct{ *world }

func (s fakeSpeaker) Apply(_ context.Context, config bgp.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := config.Validate(); err != nil {
		s.t.Errorf("the agent asks for what a speaker refuses: %v", err)
	}
	s.speaking = &config
	s.check()
	return nil
}

func (w *world) check() {
	if w.speaking == nil || w.inherited {
		return
	}
	for _, a := range w.speaking.Announce {
		if !slices.Contains(w.pods, a.Prefix) {
			w.t.Errorf("%s is announced, but the source addresses in force are of %v", a.Prefix, w.pods)
		}
	}
}

func (s fakeSpeaker) Peers() []bgp.PeerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers
}

func (s fakeSpeaker) Learned(func(netip.Prefix, []netip.Addr) bool) {}

func (s fakeSpeaker) Stop(_ context.Context, graceful bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = fmt.Sprintf("graceful=%v", graceful)
	return nil
}

type fakeRoutes struct{ *world }

func (r fakeRoutes) Apply(_ context.Context, desired route.Desired) (route.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settling = desired.Settling
	return route.Result{}, nil
}

func (r fakeRoutes) Host() (route.Host, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return route.Host{}, r.hostErr
}

type fakeNAT struct{ *world }

func (n fakeNAT) Apply(_ context.Context, plan nat.Plan) (nat.Result, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.natErr != nil {
		return nat.Result{}, n.natErr
	}
	n.pods = plan.Pods
	n.check()
	return nat.Result{}, nil
}

type fakeTunnels struct{ *world }

func (f fakeTunnels) Underlay([]netip.Addr) (route.Underlay, error) { return route.Underlay{}, nil }

func (f fakeTunnels) Apply(context.Context, route.Tunnels) (route.TunnelResult, error) {
	return route.TunnelResult{}, nil
}

type fakeTraffic struct{ *world }

func (f fakeTraffic) Packets(context.Context, []netip.Prefix) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.packets += 10 // there always is some
	return f.packets, nil
}

func (f fakeTraffic) Stop(context.Context) error { return nil }

type fakePaths struct{ *world }

func (p fakePaths) Set(config bfd.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, old := range p.watched {
		ends := !slices.ContainsFunc(config.Sessions, func(c bfd.SessionConfig) bool { return c.Key == old.Key })
		if ends && slices.ContainsFunc(p.speaking.Peers, func(peer bgp.Peer) bool { return peer.Address == old.Peer }) {
			p.t.Errorf("BFD with %s ends while BGP with it goes on", old.Peer)
		}
	}
	p.watched = config.Sessions
}

func (p fakePaths) States() (bfd.Report, string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = p.instance
	return bfd.Report{Sessions: p.sessions}, p.instance, p.instance != ""
}

const manifests = `
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 10.132.2.21}]}
---
kind: BGPConfiguration
metadata: {name: default}
spec: {asn: 64513}
---
kind: BGPPeer
metadata: {name: rr1}
spec: {address: 10.132.2.254, asn: 64512, bfd: {}}
`

// start runs an agent in a world until the test ends; stop ends it earlier.
func start(t *testing.T, w *world, memory Memory, withdraw bool) (a *Agent, stop func()) {
	t.Helper()
	w.t = t
	a = &Agent{
		Node: "n1", Source: w, Speaker: fakeSpeaker{w}, Routes: fakeRoutes{w}, NAT: fakeNAT{w}, Tunnels: fakeTunnels{w}, Paths: fakePaths{w}, Traffic: fakeTraffic{w},
		Forget:     func(context.Context, uint32, uint32) (int, error) { return 0, nil },
		ForgetPods: func(context.Context, []netip.Addr) (int, error) { return 0, nil },
		Memory:     memory, WithdrawOnExit: withdraw, Log: slog.New(slog.DiscardHandler),
	}
	a.Notify(TriggerSource)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	t.Cleanup(stop)
	return a, stop
}

func newMemory(t *testing.T) Memory {
	return Memory{Path: filepath.Join(t.TempDir(), "agent.json"), BootID: "boot"}
}

// change alters the world and tells the agent.
func (w *world) change(a *Agent, trigger Trigger, change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	a.Notify(trigger)
}

func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	w.soon(what, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return holds()
	})
}

// soon is eventually for what the agent says: it publishes after the apply that the world sees, and asks the world itself. On
// a busy machine the file system may hold an apply for seconds.
func (w *world) soon(what string, holds func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("never: %s", what)
		}
	}
}

func (w *world) announces(prefix string) bool {
	return w.speaking != nil && slices.ContainsFunc(w.speaking.Announce, func(a bgp.Announcement) bool { return a.Prefix.String() == prefix })
}

func TestDatapathComesBeforeTheAnnouncementAndGoesAfterIt(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests)}
	a, _ := start(t, w, newMemory(t), false)
	w.eventually("the PodCIDR is announced", func() bool { return w.announces("10.244.1.0/24") })
	w.change(a, TriggerSource, func() { w.snapshot = snapshot(t, strings.Replace(manifests, "10.244.1.0", "10.244.9.0", 1)) })
	w.eventually("the new PodCIDR is announced", func() bool { return w.announces("10.244.9.0/24") && !w.announces("10.244.1.0/24") })
}

func TestNothingNewIsAnnouncedWhileSourceAddressesAreNotInForce(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests), natErr: errors.New("nft says no")}
	a, _ := start(t, w, newMemory(t), false)
	w.eventually("the speaker runs", func() bool { return w.speaking != nil })
	if w.announces("10.244.1.0/24") {
		t.Error("announced without source addresses")
	}
	if s := a.Status(); s.Ready {
		t.Error("ready without source addresses")
	}
	w.change(a, TriggerNAT, func() { w.natErr = nil })
	w.eventually("the PodCIDR is announced", func() bool { return w.announces("10.244.1.0/24") })
}

func TestWhatIsAnnouncedStaysWhenAnApplyFails(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests)}
	a, _ := start(t, w, newMemory(t), false)
	w.eventually("the PodCIDR is announced", func() bool { return w.announces("10.244.1.0/24") })
	w.change(a, TriggerNAT, func() { w.natErr = errors.New("nft says no") })
	w.change(a, TriggerSource, func() {
		w.snapshot = snapshot(t, strings.Replace(manifests, "[10.244.1.0/24]", "[10.244.1.0/24, 10.244.2.0/24]", 1))
	})
	w.soon("the apply fails", func() bool { return a.Status().Stages["nat"].Errors > 0 })
	if !w.announces("10.244.1.0/24") || w.announces("10.244.2.0/24") {
		t.Errorf("announced: %v, want 10.244.1.0/24 alone", w.speaking.Announce)
	}
}

func TestSnapshotThatIsNotSyncedRemovesNothing(t *testing.T) {
	w := &world{inherited: true, pods: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}}
	a, _ := start(t, w, newMemory(t), false)
	w.change(a, TriggerSource, func() { w.snapshot = snapshot(t, manifests); w.snapshot.Synced = false })
	w.eventually("the speaker runs", func() bool { return w.speaking != nil })
	w.change(a, TriggerKernel, func() {})
	w.eventually("routes of an earlier agent are kept", func() bool { return w.settling })
	if len(w.pods) != 1 {
		t.Error("source addresses of an earlier agent were taken away")
	}
}

func TestTheNextAgentKnowsWhatTheLastOneAnnounced(t *testing.T) {
	memory := newMemory(t)
	w := &world{snapshot: snapshot(t, manifests)}
	_, stop := start(t, w, memory, false)
	w.eventually("the PodCIDR is announced", func() bool { return w.announces("10.244.1.0/24") })
	stop()
	if w.stopped != "graceful=true" {
		t.Errorf("stopped %s", w.stopped)
	}
	if !memory.Load().Egress.Returned {
		t.Error("a node that has just come back takes itself for one that was there all the time after a restart of the agent")
	}
	w.speaking, w.natErr, w.inherited = nil, errors.New("nft says no"), true
	a, stop := start(t, w, memory, true)
	w.eventually("it is announced again at once", func() bool { return w.announces("10.244.1.0/24") })
	if !w.speaking.GracefulRestart.Restarting || !a.Status().Restarted {
		t.Error("the speaker is not told that forwarding went on")
	}
	stop()
	if w.stopped != "graceful=false" || memory.Load().Restarted {
		t.Errorf("withdrawing on exit: stopped %s, remembers %+v", w.stopped, memory.Load())
	}
	other := Memory{Path: memory.Path, BootID: "another boot"}
	if other.Load().Restarted {
		t.Error("what another boot has left is taken for ours")
	}
}

func TestPathFailureReachesTheSpeakerOnceAndOverRestartsOfBFD(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests), instance: "first"}
	peer := netip.MustParseAddr("10.132.2.254")
	w.sessions = []bfd.Status{{Key: bfd.Key{Peer: peer}, State: bfd.Up, Failures: 7}}
	a, _ := start(t, w, newMemory(t), false)
	failures := func(n uint64) func() bool {
		return func() bool { return w.speaking != nil && w.speaking.Peers[0].PathFailures == n }
	}
	w.eventually("old failures are old news", failures(0))
	w.eventually("BFD is asked for", func() bool { return len(w.watched) == 1 && w.watched[0].Peer == peer })
	w.change(a, TriggerPaths, func() { w.sessions = []bfd.Status{{Key: bfd.Key{Peer: peer}, Failures: 8}} })
	w.eventually("a failure is told", failures(1))
	w.change(a, TriggerPaths, func() {
		w.instance, w.sessions = "second", []bfd.Status{{Key: bfd.Key{Peer: peer}, State: bfd.Up}}
	})
	w.eventually("the restart of BFD is seen", func() bool { return w.seen == "second" })
	w.change(a, TriggerPaths, func() { w.sessions = []bfd.Status{{Key: bfd.Key{Peer: peer}, Failures: 1}} })
	w.eventually("a failure after the restart is told", failures(2))
}

func TestRoutesSettleWhenAllPeersHaveTold(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests), peers: []bgp.PeerState{{Name: "rr1", Address: netip.MustParseAddr("10.132.2.254")}}}
	a, _ := start(t, w, newMemory(t), false)
	w.eventually("settling", func() bool { return w.settling })
	w.change(a, TriggerBGP, func() {
		w.peers = []bgp.PeerState{{Name: "rr1", Address: netip.MustParseAddr("10.132.2.254"), EndOfRIB: true}}
	})
	w.eventually("settled", func() bool { return !w.settling })
}

func TestDrainIsObeyedWithoutAConfiguration(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests)}
	a, _ := start(t, w, newMemory(t), false)
	w.eventually("the PodCIDR is announced", func() bool { return w.announces("10.244.1.0/24") })
	w.change(a, TriggerSource, func() {
		w.snapshot = leavingNode(t, 0)
		w.snapshot.Configurations[0].Spec.ASN = 0
	})
	w.eventually("nothing is announced", func() bool { return len(w.speaking.Announce) == 0 && len(w.speaking.Peers) == 1 })
}

// leavingNode is a node with the drain label.
func leavingNode(t *testing.T, timeout time.Duration) Snapshot {
	s := snapshot(t, strings.Replace(manifests, "metadata: {name: n1}", "metadata: {name: n1, labels: {waymark.io/drain: ''}}", 1))
	s.Configurations[0].Spec.Drain.Timeout = &metav1.Duration{Duration: timeout}
	return s
}

func TestDrainTellsThePeersBeforeItWithdraws(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests)}
	memory := newMemory(t)
	a, stop := start(t, w, memory, false)
	w.eventually("the PodCIDR is announced", func() bool { return w.announces("10.244.1.0/24") })
	told := func() bool {
		return slices.Contains(w.speaking.Peers[0].Attributes.Communities, gracefulShutdown)
	}
	w.change(a, TriggerSource, func() { w.snapshot = leavingNode(t, time.Second) })
	w.eventually("peers are told", func() bool { return w.announces("10.244.1.0/24") && told() })
	w.soon("status says Draining", func() bool {
		d := a.Status().Drain
		return d != nil && d.Phase == v1alpha1.Draining
	})
	w.eventually("nothing is announced after the timeout", func() bool { return !w.announces("10.244.1.0/24") })
	w.soon("status says Drained after the timeout", func() bool {
		d := a.Status().Drain
		return d != nil && d.Phase == v1alpha1.Drained && strings.Contains(d.Message, "timeout of 1s")
	})

	// The next agent does not begin to announce, not even for the time of a drain.
	stop()
	w.change(a, TriggerSource, func() { w.speaking, w.snapshot = nil, leavingNode(t, time.Hour) })
	a, _ = start(t, w, memory, false)
	w.eventually("the next agent speaks", func() bool { return w.speaking != nil })
	w.mu.Lock()
	if w.announces("10.244.1.0/24") {
		t.Error("a drained node announces after a restart")
	}
	w.mu.Unlock()
	w.change(a, TriggerSource, func() { w.snapshot = snapshot(t, manifests) })
	w.eventually("the drain is over", func() bool { return w.announces("10.244.1.0/24") && !told() })
	w.soon("status says nothing of a drain", func() bool { return a.Status().Drain == nil })
}

// TestWaitingDoesNotMultiply: who waits looks again by himself, however many others make him look meanwhile.
func TestWaitingDoesNotMultiply(t *testing.T) {
	passes := func(a *Agent) uint64 { return a.Status().Stages["host"].Runs }
	prefix := "10.244.1.0/24"
	controlled := snapshot(t, manifests)
	controlled.Controlled = true
	controlled.State = &v1alpha1.NodeRoutingState{Spec: v1alpha1.NodeRoutingStateSpec{PodCIDRs: []v1alpha1.PrefixVerdict{{Prefix: prefix}}}}
	silent := bgp.PeerState{Name: "rr1", Address: netip.MustParseAddr("10.132.2.254"), State: bgp.Established, Since: time.Now()}
	draining := newMemory(t)
	if err := draining.Save([]netip.Prefix{netip.MustParsePrefix(prefix)}, Egress{}); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		world  *world
		memory Memory
	}{
		"for traffic to move": {&world{snapshot: leavingNode(t, time.Hour)}, draining},
		"for a peer to tell":  {&world{snapshot: controlled, peers: []bgp.PeerState{silent}}, newMemory(t)},
		"for a peer to come":  {&world{snapshot: controlled}, newMemory(t)},
		"for the host":        {&world{snapshot: snapshot(t, manifests), hostErr: errors.New("busy")}, newMemory(t)},
	} {
		t.Run(what, func(t *testing.T) {
			w := c.world
			w.inherited = true
			a, _ := start(t, w, c.memory, false)
			w.soon("a pass", func() bool { return passes(a) > 0 })
			const triggers = 100
			for range triggers {
				a.Notify(TriggerSource)
				time.Sleep(time.Millisecond)
			}
			before := passes(a)
			time.Sleep(2 * time.Second)
			if n := passes(a) - before; n > 20 {
				t.Errorf("%d passes in 2 s, after %d triggers before", n, triggers)
			}
		})
	}
}

func TestSnapshotThatIsNotSyncedEndsNoBFDSession(t *testing.T) {
	held := netip.MustParseAddr("10.132.2.253")
	w := &world{inherited: true, instance: "first", sessions: []bfd.Status{{Key: bfd.Key{Peer: held}, State: bfd.Up}}}
	a, _ := start(t, w, newMemory(t), false)
	w.change(a, TriggerSource, func() { w.snapshot = snapshot(t, manifests); w.snapshot.Synced = false })
	w.eventually("the speaker runs", func() bool { return w.speaking != nil })
	if w.watched != nil {
		t.Errorf("BFD was told %v, which ends the session with %s", w.watched, held)
	}
	w.change(a, TriggerSource, func() { w.snapshot.Synced = true })
	w.eventually("BFD is told when all has been read", func() bool { return len(w.watched) == 1 })
}

func TestBFDGoesAfterBGP(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests), instance: "first"}
	a, _ := start(t, w, newMemory(t), false)
	w.eventually("BFD is asked for", func() bool { return len(w.watched) == 1 })
	w.change(a, TriggerSource, func() { w.snapshot.Peers = nil })
	w.eventually("both are gone", func() bool { return len(w.watched) == 0 && len(w.speaking.Peers) == 0 })
}

func TestHostThatCannotBeReadForAWhile(t *testing.T) {
	w := &world{snapshot: snapshot(t, manifests), hostErr: errors.New("changed while it was read")}
	a, _ := start(t, w, newMemory(t), false)
	w.soon("the host cannot be read", func() bool { return a.Status().Stages["host"].Errors > 0 })
	w.mu.Lock()
	w.hostErr = nil
	w.mu.Unlock()
	w.eventually("it is tried again without being told", func() bool { return w.announces("10.244.1.0/24") })
	w.soon("status is without the error", func() bool { return a.Status().Stages["host"].LastError == "" })
}

func TestPeersThatWaitAreWaitedFor(t *testing.T) {
	w := &world{snapshot: snapshot(t, strings.Replace(manifests, "bfd: {}", "passwordSecret: {namespace: a, name: b, key: c}", 1))}
	a, _ := start(t, w, newMemory(t), false)
	w.eventually("routes of an earlier agent are kept", func() bool { return w.speaking != nil && w.settling })
	w.soon("not ready because of rr1", func() bool { s := a.Status(); return !s.Ready && strings.Contains(s.NotReady, "rr1") })
}
