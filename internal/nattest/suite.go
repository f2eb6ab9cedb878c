package nattest

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
)

// Backend is what the agent uses of a backend.
type Backend interface {
	Name() string
	Apply(ctx context.Context, plan nat.Plan) (nat.Result, error)
	Watch(ctx context.Context, notify func()) error
	Remove(ctx context.Context) error
}

// Suite runs all tests with backends that make returns, each as a process that has just started would have it.
func Suite(t *testing.T, start func() Backend) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, func() Backend)
	}{
		{"PodAddressWinsAgainstForeignMasquerade", podAddressWins},
		{"NeighboursKeepTheirTraffic", neighboursKeepTheirTraffic},
		{"PoliciesDecide", policiesDecide},
		{"SelectedPods", selectedPods},
		{"OnlyPodTrafficThatLeavesTheNodeIsTouched", onlyPodTraffic},
		{"KubeProxysMarkIsHonoured", markIsHonoured},
		{"ConnectionsKeepTheirSourceWhenPoliciesChange", connectionsKeepTheirSource},
		{"ChangesUnderTraffic", changesUnderTraffic},
		{"RepairWithinASecond", repairWithinASecond},
		{"RemoveLeavesNoTrace", removeLeavesNoTrace},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, start) })
	}
}

// Apply applies the plan; a failure ends the test.
func Apply(t testing.TB, b Backend, p nat.Plan) nat.Result {
	t.Helper()
	result, err := b.Apply(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// foreignMasquerades are the ways in which others masquerade all that leaves by eth0.
var foreignMasquerades = map[string]func(testing.TB){
	"nft":             nftMasquerade,
	"iptables-nft":    func(t testing.TB) { iptablesMasquerade(t, "nft") },
	"iptables-legacy": func(t testing.TB) { iptablesMasquerade(t, "legacy") },
}

func nftMasquerade(t testing.TB) {
	for _, family := range []string{"ip", "ip6"} {
		nettest.Run(t, "nft", fmt.Sprintf("table %s foreign { chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }", family))
	}
}

func iptablesMasquerade(t testing.TB, variant string) {
	for _, family := range []string{"iptables", "ip6tables"} {
		nettest.Run(t, family+"-"+variant, "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
	}
}

// beatable is a way to masquerade that the backend wins against: iptables-legacy loses to nftables tables that are younger than it.
func beatable(b Backend) string {
	if b.Name() == "iptables-legacy" {
		return b.Name()
	}
	return "nft"
}

func podAddressWins(t *testing.T, start func() Backend) {
	keep := Plan(nat.Policy{Name: "keep", Source: nat.SourcePod, Destinations: Prefixes(Outside4+"/32", Outside6+"/128")})
	for name, masquerade := range foreignMasquerades {
		for _, order := range []string{"before", "after"} {
			t.Run(name+" "+order, func(t *testing.T) {
				l := NewLab(t)
				if order == "before" {
					masquerade(t)
				}
				b := start()
				Apply(t, b, keep)
				if order == "after" {
					masquerade(t)
				}
				kept4, kept6 := Pod4, Pod6
				if beaten(t, b) {
					kept4, kept6 = Node4, Node6
				}
				for _, c := range []struct{ to, want string }{
					{Outside4, kept4}, {Outside6, kept6},
					{Elsewhere4, Node4}, {Elsewhere6, Node6}, // no policy: the foreign rule decides
				} {
					WantSource(t, l.Pod, c.to, c.want)
					l.WantPingSource(t, c.to, c.want)
				}
			})
		}
	}
}

// beaten asks the backend whether others decide before it, in both families. One that cannot be beaten has no answer.
func beaten(t testing.TB, b Backend) bool {
	t.Helper()
	asked, ok := b.(interface {
		Beaten(ctx context.Context) ([]string, error)
	})
	if !ok {
		return false
	}
	by, err := asked.Beaten(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, sentence := range by {
		t.Log(sentence)
	}
	return len(by) > 0
}

func policiesDecide(t *testing.T, start func() Backend) {
	everything := nat.Policy{Name: "everything", Priority: 9, Source: nat.SourceNode}
	for _, test := range []struct {
		name               string
		policies           []nat.Policy
		outside, elsewhere string // "pod" or "node"
	}{
		{"none", nil, "pod", "pod"},
		{"masquerade", []nat.Policy{everything}, "node", "node"},
		{
			"the lower number first",
			[]nat.Policy{everything, {Name: "z", Priority: 1, Source: nat.SourcePod, Destinations: Prefixes(Outside4+"/24", Outside6+"/64")}},
			"pod", "node",
		},
		{
			"a tie goes by name",
			[]nat.Policy{everything, {Name: "a", Priority: 9, Source: nat.SourcePod, Destinations: Prefixes(Elsewhere4+"/24", Elsewhere6+"/64")}},
			"node", "pod",
		},
		{
			"what is excluded goes on to the next",
			[]nat.Policy{
				{Name: "a", Priority: 1, Source: nat.SourcePod, Exclude: Prefixes(Outside4+"/25", Outside6+"/48")},
				{Name: "b", Priority: 2, Source: nat.SourceNode, Destinations: Prefixes("0.0.0.0/0", "::/0")},
			},
			"node", "pod",
		},
		{
			"excluded by the only policy",
			[]nat.Policy{{Name: "a", Source: nat.SourceNode, Exclude: Prefixes(Outside4+"/32", Outside6+"/128")}},
			"pod", "node",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := NewLab(t)
			Apply(t, start(), Plan(test.policies...))
			addrs4, addrs6 := map[string]string{"pod": Pod4, "node": Node4}, map[string]string{"pod": Pod6, "node": Node6}
			WantSource(t, l.Pod, Outside4, addrs4[test.outside])
			WantSource(t, l.Pod, Outside6, addrs6[test.outside])
			WantSource(t, l.Pod, Elsewhere4, addrs4[test.elsewhere])
			WantSource(t, l.Pod, Elsewhere6, addrs6[test.elsewhere])
			l.WantPingSource(t, Outside4, addrs4[test.outside])
			l.WantPingSource(t, Elsewhere6, addrs6[test.elsewhere])
		})
	}
}

func selectedPods(t *testing.T, start func() Backend) {
	l := NewLab(t)
	selects := func(name string, priority int, source nat.Source, pods ...string) nat.Policy {
		p := nat.Policy{Name: name, Priority: priority, Source: source, Selects: true}
		for _, pod := range pods {
			p.Pods = append(p.Pods, netip.MustParseAddr(pod))
		}
		return p
	}
	all := nat.Policy{Name: "all", Priority: 5, Source: nat.SourcePod}
	b := start()
	for _, test := range []struct {
		name           string
		policies       []nat.Policy
		pod, neighbour bool // whether it leaves with the node's address
	}{
		{"one pod", []nat.Policy{selects("a", 1, nat.SourceNode, Pod4, Pod6)}, true, false},
		{"the other", []nat.Policy{selects("a", 1, nat.SourceNode, Neighbour4, Neighbour6), all}, false, true},
		{"a policy about all comes first", []nat.Policy{selects("a", 9, nat.SourceNode, Pod4, Pod6), all}, false, false},
		{"nobody is selected", []nat.Policy{selects("a", 1, nat.SourceNode)}, false, false},
		{"each his own", []nat.Policy{
			selects("a", 1, nat.SourceNode, Pod4, Pod6),
			selects("b", 2, nat.SourcePod, Pod4, Pod6, Neighbour4, Neighbour6),
			{Name: "all", Priority: 3, Source: nat.SourceNode},
		}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			Apply(t, b, Plan(test.policies...))
			for _, c := range []struct {
				ns                       nettest.NS
				behindNode               bool
				to, address, nodeAddress string
			}{
				{l.Pod, test.pod, Outside4, Pod4, Node4},
				{l.Pod, test.pod, Outside6, Pod6, Node6},
				{l.Neighbour, test.neighbour, Outside4, Neighbour4, Node4},
				{l.Neighbour, test.neighbour, Outside6, Neighbour6, Node6},
			} {
				want := c.address
				if c.behindNode {
					want = c.nodeAddress
				}
				WantSource(t, c.ns, c.to, want)
			}
		})
	}
}

func onlyPodTraffic(t *testing.T, start func() Backend) {
	l := NewLab(t)
	Apply(t, start(), Plan(nat.Policy{Name: "everything", Source: nat.SourceNode}))
	WantSource(t, l.Pod, Outside4, Node4)
	t.Run("pod to pod", func(t *testing.T) {
		WantSource(t, l.Pod, Neighbour4, Pod4)
		WantSource(t, l.Pod, Neighbour6, Pod6)
	})
	t.Run("the node's own", func(t *testing.T) {
		WantSourceFrom(t, nettest.Self, "192.0.2.77", Outside4, "192.0.2.77") // masqueraded it would be the first address
		WantSource(t, nettest.Self, Outside6, Node6)
	})
	t.Run("a machine that is no pod", func(t *testing.T) {
		WantSource(t, l.Machine, Outside4, Machine4)
		WantSource(t, l.Machine, Outside6, Machine6)
	})
}

func markIsHonoured(t *testing.T, start func() Backend) {
	l := NewLab(t)
	Apply(t, start(), Plan(nat.Policy{Name: "keep", Source: nat.SourcePod}))
	for _, family := range []string{"ip", "ip6"} {
		nettest.Run(t, "nft", "table "+family+" kube-proxy {"+
			" chain forward { type filter hook forward priority filter; "+family+" daddr { "+map[string]string{"ip": Outside4, "ip6": Outside6}[family]+" } meta mark set mark or 0x4000; };"+
			" chain post { type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade; }; }")
	}
	WantSource(t, l.Pod, Outside4, Node4)
	WantSource(t, l.Pod, Outside6, Node6)
	WantSource(t, l.Pod, Elsewhere4, Pod4)
	WantSource(t, l.Pod, Elsewhere6, Pod6)
}

func connectionsKeepTheirSource(t *testing.T, start func() Backend) {
	l := NewLab(t)
	b := start()
	node := Plan(nat.Policy{Name: "a", Source: nat.SourceNode})
	pod := Plan(nat.Policy{Name: "a", Source: nat.SourcePod})
	for _, network := range []string{"tcp", "udp"} {
		for _, c := range []struct {
			before, after nat.Plan
			to, then, now string
		}{
			{pod, node, Outside4, Pod4, Node4},
			{pod, node, Outside6, Pod6, Node6},
			{node, pod, Outside4, Node4, Pod4},
			{node, pod, Outside6, Node6, Pod6},
		} {
			Apply(t, b, c.before)
			conn, err := Dial(l.Pod, network, "", c.to)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got, err := Ask(conn); err != nil || got != c.then {
				t.Fatalf("%s to %s: source %q, want %s; %v", network, c.to, got, c.then, err)
			}
			Apply(t, b, c.after)
			if got, err := Ask(conn); err != nil || got != c.then {
				t.Errorf("%s to %s, connected before the change: source %q, want %s; %v", network, c.to, got, c.then, err)
			}
			WantSource(t, l.Pod, c.to, c.now)
		}
	}
}

// changesUnderTraffic opens new flows all the time while the plan changes around their destination, whose policy stays the
// same, and while new processes take the table over, also from another version. A packet that saw a half-made table would be masqueraded.
func changesUnderTraffic(t *testing.T, start func() Backend) {
	l := NewLab(t)
	b := start()
	foreignMasquerades[beatable(b)](t)
	keep := func(priority int, destinations ...string) nat.Policy {
		return nat.Policy{Name: fmt.Sprint("keep", priority), Priority: priority, Source: nat.SourcePod, Destinations: Prefixes(destinations...)}
	}
	node := func(priority int, destinations ...string) nat.Policy {
		return nat.Policy{Name: fmt.Sprint("node", priority), Priority: priority, Source: nat.SourceNode, Destinations: Prefixes(destinations...)}
	}
	plans := []nat.Plan{
		Plan(keep(1, Outside4+"/32", Outside6+"/128")),
		Plan(keep(1, Outside4+"/24", Outside6+"/64"), node(2, "0.0.0.0/0", "::/0")),
		Plan(node(1, "198.51.100.0/32", "198.51.100.2/32", "2001:db8:51::/128"), keep(2)),
		Plan(keep(1, "198.51.100.0/31", "2001:db8:51::/127"), keep(2, "198.51.100.128/25"), node(3)),
		Plan(keep(1)),
	}
	Apply(t, b, plans[0])

	done := make(chan struct{})
	var flows atomic.Int64
	var workers sync.WaitGroup
	for _, c := range []struct{ to, want string }{{Outside4, Pod4}, {Outside6, Pod6}} {
		workers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got, err := Seen(l.Pod, "udp", "", c.to); err != nil || got != c.want {
					t.Errorf("flow %d to %s: source %q, want %s; %v", flows.Load(), c.to, got, c.want, err)
					return
				}
				flows.Add(1)
			}
		})
	}
	for i := range 200 {
		switch i % 10 {
		case 4: // as an older version might have left it
			if b.Name() != "nftables" {
				continue
			}
			nettest.Run(t, "nft", "add chain inet waymark old; add rule inet waymark old accept; add set inet waymark older { type ipv4_addr ; }")
		case 9:
			b = start()
		}
		Apply(t, b, plans[(i+1)%len(plans)])
	}
	close(done)
	workers.Wait()
	t.Logf("%d flows during 200 changes", flows.Load())
	if flows.Load() < 200 {
		t.Errorf("%d flows are too few to have met the changes", flows.Load())
	}
}

func repairWithinASecond(t *testing.T, start func() Backend) {
	l := NewLab(t)
	b := start()
	foreignMasquerades[beatable(b)](t)
	p := Plan(nat.Policy{Name: "keep", Source: nat.SourcePod})
	Apply(t, b, p)
	noticed := Watch(t, b, p)
	WantSource(t, l.Pod, Outside4, Pod4)

	flushed := time.Now()
	flushRules(t)
	foreignMasquerades[beatable(b)](t)
	select {
	case <-noticed:
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was noticed in 5 s")
	}
	Apply(t, b, p)
	took := time.Since(flushed)
	t.Logf("repaired in %v", took)
	if took > time.Second {
		t.Errorf("repaired after %v, want at most 1 s", took)
	}
	WantSource(t, l.Pod, Outside4, Pod4)
	WantSource(t, l.Pod, Outside6, Pod6)
}

// flushRules does what operators do in despair. Sets of ipset stay.
func flushRules(t testing.TB) {
	t.Helper()
	nettest.Run(t, "nft", "flush", "ruleset")
	for _, iptables := range []string{"iptables-legacy", "ip6tables-legacy"} {
		nettest.Run(t, iptables, "-t", "nat", "-F")
		nettest.Run(t, iptables, "-t", "nat", "-X")
	}
}

// makeChains makes the chains that everybody has, as iptables does when it first needs them.
func makeChains(t testing.TB, ns nettest.NS) {
	t.Helper()
	for _, family := range []string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"} {
		for _, chain := range [][2]string{{"nat", "PREROUTING"}, {"nat", "POSTROUTING"}, {"mangle", "PREROUTING"}, {"filter", "INPUT"}, {"filter", "FORWARD"}} {
			ns.Run(t, family, "-t", chain[0], "-P", chain[1], "ACCEPT")
		}
	}
}

func removeLeavesNoTrace(t *testing.T, start func() Backend) {
	t.Cleanup(func() { Flush(t) })
	state := func() string {
		var all strings.Builder
		for _, family := range []string{"iptables", "ip6tables"} {
			for _, table := range []string{"nat", "mangle", "filter"} {
				all.WriteString(nettest.Run(t, family+"-legacy", "-t", table, "-S"))
			}
		}
		all.WriteString(nettest.Run(t, "nft", "list", "ruleset"))
		all.WriteString(nettest.Run(t, "ipset", "list", "-name"))
		return all.String()
	}
	nettest.Run(t, "nft", "add", "table", "inet", "other")
	nettest.Run(t, "ipset", "create", "other", "hash:net")
	makeChains(t, nettest.Self)
	before := state()
	b := start()
	for range 2 { // also when there is nothing to remove
		if err := b.Remove(context.Background()); err != nil {
			t.Fatal(err)
		}
		if after := state(); after != before {
			t.Errorf("left behind:\n%s", after)
		}
		Apply(t, b, Plan(nat.Policy{Name: "keep", Source: nat.SourcePod, Destinations: Prefixes(Outside4+"/32", Outside6+"/128")}))
		if after := state(); after == before {
			t.Error("nothing was written")
		}
	}
}

// Watch runs Watch until the test ends. It flushes the rules and applies the plan: when it returns, the backend's Watch has had its first look and lives by events.
func Watch(t *testing.T, b Backend, p nat.Plan) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	noticed, ended := make(chan struct{}, 1000), make(chan error, 1)
	go func() { ended <- b.Watch(ctx, func() { noticed <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	flushRules(t)
	select {
	case <-noticed:
	case <-time.After(5 * time.Second):
		t.Fatal("the first edit was not noticed in 5 s")
	}
	Apply(t, b, p)
	return noticed
}
