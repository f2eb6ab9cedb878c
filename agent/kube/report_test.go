package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

// told is a status that a test changes.
type told struct {
	mu     sync.Mutex
	status agent.Status
}

func (s *told) get() agent.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *told) change(f func(*agent.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.status)
}

func session(name string, state bgp.SessionState, why string) agent.PeerStatus {
	return agent.PeerStatus{PeerState: bgp.PeerState{Name: name, Address: netip.MustParseAddr("10.0.0.2"), State: state,
		Since: time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC), LastError: why}}
}

func nodeState(k *nettest.Kube) (v1alpha1.NodeRoutingState, error) {
	var state v1alpha1.NodeRoutingState
	out, err := k.Kubectl("get", "nrs", "node-1", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &state)
	}
	return state, err
}

// TestReport follows what the API server is told through the life of a node.
func TestReport(t *testing.T) {
	k := startKube(t)
	k.Apply(t, base)
	kubectl(t, k, "delete nrs node-1")
	r := start(t, k.Admin, t.TempDir())
	r.until(t, synced)
	status := &told{status: agent.Status{
		Version: "v1", Synced: true, ASN: 64513, RouterID: netip.MustParseAddr("10.0.0.1"), Backend: "nftables",
		Peers:     []agent.PeerStatus{session("rr1", bgp.Connect, "TCP: refused")},
		Waiting:   []string{"rr2"},
		Announced: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
		Gate:      agent.Gate{Open: true, Reason: "Open"},
		Policies:  []nat.Policy{{Name: "bank"}}, Generations: map[string]int64{"bank": 3, "other": 1},
		Repairs: map[string]uint64{"nat": 2},
	}}
	for i := range 60 {
		status.status.Problems = append(status.status.Problems, agent.Problem{Object: fmt.Sprintf("BGPPeer/x%d", i), Reason: "Invalid", Message: "m"},
			agent.Problem{Where: apiServer, Reason: "Unreachable", Message: "of this machine"})
	}
	looked := metav1.Now()
	sights := func() []v1alpha1.SightReport {
		return []v1alpha1.SightReport{{Check: "shop", Pod: "shop/cart-0", Server: "192.0.2.1:2181", Seen: "10.244.1.7", Time: looked}}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = (&Reporter{Source: r.Source, Status: status.get, Sights: sights}).Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })

	var state v1alpha1.NodeRoutingState
	until := func(what string, limit time.Duration, check func(v1alpha1.NodeRoutingStateStatus) error) {
		t.Helper()
		nettest.Eventually(t, limit, func() (err error) {
			if state, err = nodeState(k); err == nil {
				if err = check(state.Status); err != nil {
					err = fmt.Errorf("%s: %w in %+v", what, err, state.Status)
				}
			}
			return err
		})
	}
	established := func(want int32) func(v1alpha1.NodeRoutingStateStatus) error {
		return func(s v1alpha1.NodeRoutingStateStatus) error {
			if s.Established != want {
				return errors.New("sessions established")
			}
			return nil
		}
	}
	created := func() {
		t.Helper()
		k.Apply(t, "apiVersion: waymark.io/v1alpha1\nkind: NodeRoutingState\nmetadata: {name: node-1}\nspec: {podCIDRs: [{prefix: 10.244.1.0/24}], "+
			"sights: [{check: shop, pod: shop/cart-0, addresses: [10.244.1.7], servers: ['192.0.2.1:2181'], timeout: 3s, interval: 5m}]}\n")
	}

	created()
	until("all of it, once there is an object", 5*time.Second, func(s v1alpha1.NodeRoutingStateStatus) error {
		sessions := fmt.Sprint(s.Sessions)
		switch {
		case s.Version != "v1" || s.ASN != 64513 || s.RouterID != "10.0.0.1" || s.NATBackend != "nftables" || s.Reported.IsZero():
			return errors.New("of the node")
		case s.Wanted != 2 || s.Established != 0 || len(s.Sessions) != 2 || s.Sessions[0].LastError != "TCP: refused" || s.Sessions[1].State != "Waiting":
			return fmt.Errorf("sessions %s", sessions)
		case s.AnnouncedCount != 1 || s.Announced[0] != "10.244.1.0/24" || !s.Gate.Open || s.Drain != nil:
			return errors.New("of announcements")
		case len(s.Policies) != 1 || s.Policies[0] != v1alpha1.PolicyStatus{Name: "bank", Generation: 3} || s.Repairs["nat"] != 2:
			return errors.New("policies and repairs")
		case len(s.Problems) != 50 || s.Problems[1].Object != "BGPPeer/x1":
			return fmt.Errorf("%d problems", len(s.Problems))
		case len(s.Sights) != 1 || s.Sights[0].Seen != "10.244.1.7":
			return fmt.Errorf("sights %+v", s.Sights)
		}
		return nil
	})
	notified := r.notified.Load()

	// What changes in kind is told within a second; the bound leaves room for a machine that is busy.
	status.change(func(s *agent.Status) {
		s.Peers = []agent.PeerStatus{session("rr1", bgp.Established, "")}
		s.Drain = &agent.Drain{Phase: v1alpha1.Draining, Since: time.Now()}
	})
	until("a session", 4*time.Second, established(1))
	urgent := state.Status.Reported

	// What is not urgent waits for its time, and goes out with what is.
	status.change(func(s *agent.Status) { s.Routes.Installed = 1000 })
	until("learned routes", 15*time.Second, func(s v1alpha1.NodeRoutingStateStatus) error {
		if s.LearnedCount != 1000 {
			return errors.New("learned")
		}
		return nil
	})
	if waited := state.Status.Reported.Sub(urgent.Time); waited < 9*time.Second { // whole seconds in the object
		t.Errorf("learned routes were told after %v, want 10s", waited)
	}

	// Policies that could not be applied are not in force: those before them are. A drain that is over is gone.
	status.change(func(s *agent.Status) {
		s.Stages = map[string]agent.Stage{"nat": {LastError: "nft: broken"}}
		s.Policies, s.Drain = []nat.Policy{{Name: "other"}}, nil
		s.Gate = agent.Gate{Reason: "NAT", Message: "nft: broken"}
	})
	until("a closed gate", 4*time.Second, func(s v1alpha1.NodeRoutingStateStatus) error {
		if s.Gate.Open || s.Gate.Reason != "NAT" || s.Drain != nil || len(s.Policies) != 1 || s.Policies[0].Name != "bank" {
			return errors.New("gate, drain, policies")
		}
		return nil
	})

	// Another owner of an egress address is told at once, that a standby is dead with the next report.
	address := agent.EgressState{
		Address: netip.MustParseAddr("198.51.100.7"), VNI: 7, Uses: true, Choice: agent.Choice{Gateway: "node-2", Term: 3},
		Gateways: []agent.GatewayState{{Node: "node-2", Health: agent.Alive}, {Node: "node-3", Health: agent.Alive}},
	}
	owned := func(want v1alpha1.EgressState) func(v1alpha1.NodeRoutingStateStatus) error {
		return func(s v1alpha1.NodeRoutingStateStatus) error {
			if len(s.Egress) != 1 || !reflect.DeepEqual(s.Egress[0], want) {
				return fmt.Errorf("egress address: want %+v", want)
			}
			return nil
		}
	}
	told := v1alpha1.EgressState{Address: "198.51.100.7", VNI: 7, Term: 3, Owner: "node-2", Uses: true}
	status.change(func(s *agent.Status) { s.Egress = []agent.EgressState{address} })
	until("an egress address", 4*time.Second, owned(told))
	at := time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC)
	address.Gateway, address.Failovers, address.LastFailover = "node-3", 1, &agent.Failover{At: at, Outage: 550 * time.Millisecond}
	address.Gateways = []agent.GatewayState{{Node: "node-2", Health: agent.Dead}, {Node: "node-3", Health: agent.Alive}}
	told.Owner, told.Failovers, told.LastFailover, told.LastOutage, told.Dead = "node-3", 1, metav1.NewTime(at.Local()), 550, []string{"node-2"}
	status.change(func(s *agent.Status) { s.Egress = []agent.EgressState{address} })
	until("a failover", 4*time.Second, owned(told))
	urgent = state.Status.Reported
	address.Gateways = nil
	told.Dead = nil
	status.change(func(s *agent.Status) { s.Egress = []agent.EgressState{address} })
	until("a gateway that is back", 15*time.Second, owned(told))
	if waited := state.Status.Reported.Sub(urgent.Time); waited < 9*time.Second { // whole seconds in the object
		t.Errorf("the health of a gateway was told after %v, want 10s", waited)
	}

	// A peer that cannot be reached goes on trying: that is no news. Reports have no clock of their own.
	status.change(func(s *agent.Status) { s.Peers = []agent.PeerStatus{session("rr1", bgp.Active, "TCP: refused")} })
	until("a session that is down", 4*time.Second, established(0))
	version := state.ResourceVersion
	for i := range 24 {
		time.Sleep(500 * time.Millisecond) // longer than the interval between reports
		status.change(func(s *agent.Status) {
			s.Peers = []agent.PeerStatus{session("rr1", []bgp.SessionState{bgp.Idle, bgp.Connect, bgp.Active}[i%3], "TCP: refused")}
		})
	}
	if state, err := nodeState(k); err != nil || state.ResourceVersion != version {
		t.Errorf("a report without news: %+v, %v", state.Status, err)
	}
	if n := r.notified.Load() - notified; n != 0 {
		t.Errorf("the reports have told the agent %d times to look again", n)
	}

	// An object that was made anew is told again. An outage is got over.
	kubectl(t, k, "delete nrs node-1")
	created()
	until("a new object", 5*time.Second, func(s v1alpha1.NodeRoutingStateStatus) error {
		if s.Version != "v1" {
			return errors.New("version")
		}
		return nil
	})
	k.StopAPI()
	status.change(func(s *agent.Status) { s.Peers = []agent.PeerStatus{session("rr1", bgp.Established, "")} })
	r.until(t, func(s agent.Snapshot) error { return problem(s, apiServer, "Unreachable") })
	k.StartAPI(t)
	until("after an outage", 40*time.Second, established(1))
}
