package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

var (
	soakTime = flag.Duration("soak", 40*time.Second, "how long TestSoak has events for")
	soakSeed = flag.Uint64("seed", 1, "of the events of TestSoak")
)

const (
	// failoverLimit is how long a pod on a sound node may be without new connections when a gateway has died. `make bench`
	// measures it; here four nodes, a router and all probers share the machine.
	failoverLimit = 2 * time.Second
	// takenLimit is how long something may be missing that somebody else has taken away.
	takenLimit = 2 * time.Second
	// returnLimit is how long all takes until it is as if nothing had happened: sessions, routes, owners.
	returnLimit = 40 * time.Second
	// paceTime is how long BFD sessions that are up take to run at their own pace (RFC 5880, section 6.8.3).
	paceTime = 2 * time.Second
	editTime = 3 * time.Second // until an edited policy is in force everywhere, and nothing of the one before
)

// TestSoak does random things to four nodes, one or two at a time, and watches what pods of all nodes reach with which source
// address. What must hold all the time: traffic has the source that its policy says, or it is lost. What must hold after
// each event: service is back in time, all nodes agree on the owner of each address, the router sends to it, and nobody else
// answers for it. In the end, without policies, the nodes are as before.
func TestSoak(t *testing.T) {
	s := newSoak(t, *soakSeed)
	t.Logf("seed %d, for %v", *soakSeed, *soakTime)
	for end := time.Now().Add(*soakTime); time.Now().Before(end); {
		s.step(t)
	}
	t.Log(s.figures())
	s.leave(t)
}

// soak is a lab with what goes on in it.
type soak struct {
	*egresslab.Lab
	rand       *rand.Rand
	seed       uint64
	steps      int
	neighbours *egresslab.Neighbours
	watchers   []*watcher
	talkers    []*talker
	capture    *nettest.Process
	captured   int // bytes of its output that have been judged
	moving     policy
	was        policy // before the last edit
	edited     time.Time
	followed   time.Time         // when all follow the last edit at the latest
	before     map[string]string // states of the kernels, by node
	happened   []string
	measured   map[string][]time.Duration
}

// newSoak starts the nodes, then the policies, then all that watches.
func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	s := &soak{
		Lab: newEgressLab(t), rand: rand.New(rand.NewPCG(seed, 0)), seed: seed, measured: map[string][]time.Duration{},
	}
	for _, address := range soakPartners {
		s.Partner.IP(t, "addr add "+address+"/24 dev eth0")
		nattest.TellSource(t, s.Partner, address)
	}
	s.Describe(t, soakGateways)
	// The address on the shared network is not announced: neighbours have to ask for it.
	s.Write(t, "objects.yaml", strings.Replace(egresslab.Objects, "allowOwnAS: 1", "allowOwnAS: 1\n  export: [{prefix: "+lanAddress+"/32, action: Reject}]", 1))
	for _, n := range s.Nodes {
		n.Start(t, "--source", "dir:"+s.Manifests)
	}
	s.settled(t)
	s.before = kernelStates(t, s.Lab)
	s.Write(t, "policies.yaml", s.policies(10, ""))
	s.moving = policy{priority: 20, fallback: "Drop", addresses: []string{"198.51.100.8"}}
	s.Write(t, "moving.yaml", s.moving.yaml(s.Lab))
	s.settled(t)
	s.neighbours = s.WatchNeighbours(t)
	s.watch(t)
	time.Sleep(paceTime)
	return s
}

// The policies, by the partner's addresses that they are for.
const (
	soakGateways = "n2 n3 n4"

	bankAddress4, bankAddress6 = "198.51.100.7", "2001:db8:51::7" // to the lab's partner
	lanPartner, lanAddress     = "203.0.113.10", "198.18.1.240"
	movingPartner              = "203.0.113.11" // its policy is edited
	podPartner                 = "203.0.113.12" // sees the pods
)

var soakPartners = []string{lanPartner, movingPartner, podPartner}

// policies are those whose sources stay what they are, with what edits may change.
func (s *soak) policies(priority int, more string) string {
	text := s.Policy("bank", egresslab.Partner4+"/32, \""+egresslab.Partner6+"/128\""+more, `addresses: [`+bankAddress4+`, "`+bankAddress6+`"]`) +
		strings.Replace(s.Policy("lan", lanPartner+"/32", "addresses: ["+lanAddress+"]"), "cluster.k8s/egress: enabled", `lan: "1"`, 1) + `---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: pods}
spec: {priority: 10, destinations: [` + podPartner + `/32], source: Pod}
`
	return strings.ReplaceAll(text, "priority: 10", fmt.Sprintf("priority: %d", priority))
}

// policy is the one that is edited.
type policy struct {
	addresses []string // none: there is no such policy
	priority  int
	fallback  string
	more      string // destinations
}

func (p policy) yaml(l *egresslab.Lab) string {
	if len(p.addresses) == 0 {
		return ""
	}
	text := l.Policy("moving", movingPartner+"/32"+p.more, "addresses: ["+strings.Join(p.addresses, ", ")+"]", "fallback: "+p.fallback)
	return strings.Replace(text, "priority: 10", fmt.Sprintf("priority: %d", p.priority), 1)
}

// right says which sources a pod may have. Where a gateway may be missing, the fallback is right too.
func (p policy) right(n *egresslab.Node, missing bool) []string {
	right := slices.Clone(p.addresses)
	switch {
	case len(p.addresses) == 0, missing && p.fallback == "Node":
		right = append(right, n.Address)
	case missing && p.fallback == "Pod":
		right = append(right, n.Pod4)
	}
	return right
}

// step is one event, or two at once, to the end of what it causes.
func (s *soak) step(t *testing.T) {
	t.Helper()
	s.steps++
	events := []event{s.event()}
	if second := s.event(); s.rand.IntN(4) == 0 && second.node != events[0].node {
		events = append(events, second)
	}
	hold := time.Second + time.Duration(s.rand.Int64N(int64(4*time.Second)))
	var names []string
	for _, e := range events {
		names = append(names, e.String())
	}
	what := fmt.Sprintf("step %d: %s, for %v", s.steps, strings.Join(names, " and "), hold.Round(time.Millisecond))
	s.talk()
	began := time.Now()
	s.happened = append(s.happened, began.Format(time.StampMicro)+" "+what)
	t.Log(what)
	for _, e := range events {
		e.begin(t)
	}
	time.Sleep(hold)
	mended := time.Now()
	for _, e := range events {
		if e.end != nil {
			e.end(t)
		}
	}
	s.settled(t)
	ended := time.Now()
	over := time.After(max(paceTime, 2*egresslab.ProbeTimeout) + 100*time.Millisecond)
	s.note("all as before after", events, ended.Sub(mended))
	s.owners(t)
	<-over
	s.judge(t, events, span{began, mended, ended})
	if t.Failed() {
		s.fail(t, "see above")
	}
}

// span of a step: the event begins, it ends, and all is as before.
type span struct{ began, mended, ended time.Time }

// fail ends the test with all that helps to see why.
func (s *soak) fail(t *testing.T, format string, args ...any) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d, step %d: %s\nthe last events:\n  %s\n", s.seed, s.steps, fmt.Sprintf(format, args...),
		strings.Join(s.happened[max(0, len(s.happened)-10):], "\n  "))
	for _, n := range s.Nodes {
		status, err := n.Status(t)
		egress, _ := json.Marshal(status.Egress)
		fmt.Fprintf(&text, "%s: ready %v %s, problems %v, repairs %v, %v\n  %s\n", n.Name, status.Ready, status.NotReady, status.Problems, status.Repairs, err, egress)
	}
	t.Fatal(text.String())
}

// settled waits until all nodes are sound, agree on the owner of each address, and the router sends to it; and until gateways
// know the way back to all pods.
func (s *soak) settled(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(returnLimit); ; time.Sleep(50 * time.Millisecond) {
		err := s.unsettled(t)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.fail(t, "not within %v: %v", returnLimit, err)
		}
	}
}

func (s *soak) unsettled(t *testing.T) error {
	addresses := 0
	if s.moving.priority > 0 {
		addresses = 3 + len(s.moving.addresses)
	}
	owners, owning := map[netip.Addr]string{}, map[netip.Addr][]string{}
	for _, n := range s.Nodes {
		if err := n.Settled(t, addresses); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		status, err := n.Status(t)
		if err != nil {
			return err
		}
		if status.Drain != nil || !status.Gate.Open {
			return fmt.Errorf("%s: drains, or its gate is closed: %+v", n.Name, status.Gate)
		}
		for _, e := range status.Egress {
			if owner := owners[e.Address]; owner != "" && owner != e.Gateway {
				return fmt.Errorf("%v: %s sends to %s, others to %s", e.Address, n.Name, e.Gateway, owner)
			}
			owners[e.Address] = e.Gateway
			if e.Owns {
				owning[e.Address] = append(owning[e.Address], n.Name)
			}
		}
	}
	var errs []error
	for address, owner := range owners {
		if !slices.Equal(owning[address], []string{owner}) {
			errs = append(errs, fmt.Errorf("%v: all send to %s, and %v own it", address, owner, owning[address]))
		}
		if route := s.Router.IP(t, "route show "+address.String()); address.Is4() && address.String() != lanAddress && !strings.Contains(route, "via "+s.Node(t, owner).Address+" ") {
			errs = append(errs, fmt.Errorf("%v: all send to %s, and the router to %q", address, owner, route))
		}
	}
	for _, n := range s.Nodes {
		if route := s.Router.IP(t, "route show "+n.Network4()); !strings.Contains(route, "via "+n.Address+" ") {
			errs = append(errs, fmt.Errorf("the router's route to %s is %q", n.Name, route))
		}
		learned := n.NS.IP(t, "route show proto 179") + n.NS.IP(t, "-6 route show proto 179")
		for _, other := range s.Nodes {
			if other != n && !(strings.Contains(learned, other.Network4()+" ") && strings.Contains(learned, other.Network6()+" ")) {
				errs = append(errs, fmt.Errorf("%s has no route to the pods of %s: %s", n.Name, other.Name, learned))
			}
		}
	}
	return errors.Join(errs...)
}

// owners asks the shared network who answers for the address on it.
func (s *soak) owners(t *testing.T) {
	t.Helper()
	wantAnswer(t, s.Lab, s.neighbours, lanAddress, s.Nodes[0].Owner(t, lanAddress))
}

// note keeps a figure for the end.
func (s *soak) note(what string, events []event, took time.Duration) {
	kind := "two events at once"
	if len(events) == 1 {
		kind = events[0].kind
	}
	key := kind + ": " + what
	s.measured[key] = append(s.measured[key], took)
}

// figures are all that was measured.
func (s *soak) figures() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d steps\n", s.steps)
	for _, key := range slices.Sorted(maps.Keys(s.measured)) {
		took := slices.Sorted(slices.Values(s.measured[key]))
		fmt.Fprintf(&text, "%-70s %3d times, median %7.3f s, most %7.3f s\n", key, len(took), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	}
	return text.String()
}

// leave takes the policies away: the nodes are as they were before them.
func (s *soak) leave(t *testing.T) {
	t.Helper()
	s.stopWatching()
	s.Remove(t, "policies.yaml")
	s.Remove(t, "moving.yaml")
	wantStates(t, s.Lab, s.before)
}
