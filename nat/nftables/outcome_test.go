package nftables_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

func apply(t testing.TB, b *nftables.Backend, p nat.Plan) nat.Result {
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

func TestPodAddressWinsAgainstForeignMasquerade(t *testing.T) {
	keep := plan(nat.Policy{Name: "keep", Source: nat.SourcePod, Destinations: prefixes(outside4+"/32", outside6+"/128")})
	for name, masquerade := range foreignMasquerades {
		for _, order := range []string{"before", "after"} {
			t.Run(name+" "+order, func(t *testing.T) {
				l := newLab(t)
				if order == "before" {
					masquerade(t)
				}
				apply(t, nftables.New(), keep)
				if order == "after" {
					masquerade(t)
				}
				for _, c := range []struct{ to, want string }{
					{outside4, pod4}, {outside6, pod6},
					{elsewhere4, node4}, {elsewhere6, node6}, // no policy: the foreign rule decides
				} {
					wantSource(t, l.pod, c.to, c.want)
					wantPingSource(t, l, c.to, c.want)
				}
			})
		}
	}
}

func TestPoliciesDecide(t *testing.T) {
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
			[]nat.Policy{everything, {Name: "z", Priority: 1, Source: nat.SourcePod, Destinations: prefixes(outside4+"/24", outside6+"/64")}},
			"pod", "node",
		},
		{
			"a tie goes by name",
			[]nat.Policy{everything, {Name: "a", Priority: 9, Source: nat.SourcePod, Destinations: prefixes(elsewhere4+"/24", elsewhere6+"/64")}},
			"node", "pod",
		},
		{
			"what is excluded goes on to the next",
			[]nat.Policy{
				{Name: "a", Priority: 1, Source: nat.SourcePod, Exclude: prefixes(outside4+"/25", outside6+"/48")},
				{Name: "b", Priority: 2, Source: nat.SourceNode, Destinations: prefixes("0.0.0.0/0", "::/0")},
			},
			"node", "pod",
		},
		{
			"excluded by the only policy",
			[]nat.Policy{{Name: "a", Source: nat.SourceNode, Exclude: prefixes(outside4+"/32", outside6+"/128")}},
			"pod", "node",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			apply(t, nftables.New(), plan(test.policies...))
			addrs4, addrs6 := map[string]string{"pod": pod4, "node": node4}, map[string]string{"pod": pod6, "node": node6}
			wantSource(t, l.pod, outside4, addrs4[test.outside])
			wantSource(t, l.pod, outside6, addrs6[test.outside])
			wantSource(t, l.pod, elsewhere4, addrs4[test.elsewhere])
			wantSource(t, l.pod, elsewhere6, addrs6[test.elsewhere])
			wantPingSource(t, l, outside4, addrs4[test.outside])
			wantPingSource(t, l, elsewhere6, addrs6[test.elsewhere])
		})
	}
}

func TestOnlyPodTrafficThatLeavesTheNodeIsTouched(t *testing.T) {
	l := newLab(t)
	apply(t, nftables.New(), plan(nat.Policy{Name: "everything", Source: nat.SourceNode}))
	wantSource(t, l.pod, outside4, node4)
	t.Run("pod to pod", func(t *testing.T) {
		wantSource(t, l.pod, neighbour4, pod4)
		wantSource(t, l.pod, neighbour6, pod6)
	})
	t.Run("the node's own", func(t *testing.T) {
		wantSourceFrom(t, nettest.Self, "192.0.2.77", outside4, "192.0.2.77") // masqueraded it would be the first address
		wantSource(t, nettest.Self, outside6, node6)
	})
	t.Run("a machine that is no pod", func(t *testing.T) {
		wantSource(t, l.machine, outside4, machine4)
		wantSource(t, l.machine, outside6, machine6)
	})
}

func TestKubeProxysMarkIsHonoured(t *testing.T) {
	l := newLab(t)
	apply(t, nftables.New(), plan(nat.Policy{Name: "keep", Source: nat.SourcePod}))
	for _, family := range []string{"ip", "ip6"} {
		nettest.Run(t, "nft", "table "+family+" kube-proxy {"+
			" chain forward { type filter hook forward priority filter; "+family+" daddr { "+map[string]string{"ip": outside4, "ip6": outside6}[family]+" } meta mark set mark or 0x4000; };"+
			" chain post { type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade; }; }")
	}
	wantSource(t, l.pod, outside4, node4)
	wantSource(t, l.pod, outside6, node6)
	wantSource(t, l.pod, elsewhere4, pod4)
	wantSource(t, l.pod, elsewhere6, pod6)
}

func TestConnectionsKeepTheirSourceWhenPoliciesChange(t *testing.T) {
	l := newLab(t)
	b := nftables.New()
	node := plan(nat.Policy{Name: "a", Source: nat.SourceNode})
	pod := plan(nat.Policy{Name: "a", Source: nat.SourcePod})
	for _, network := range []string{"tcp", "udp"} {
		for _, c := range []struct {
			before, after nat.Plan
			to, then, now string
		}{
			{pod, node, outside4, pod4, node4},
			{pod, node, outside6, pod6, node6},
			{node, pod, outside4, node4, pod4},
			{node, pod, outside6, node6, pod6},
		} {
			apply(t, b, c.before)
			conn, err := dial(l.pod, network, "", c.to)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got, err := ask(conn); err != nil || got != c.then {
				t.Fatalf("%s to %s: source %q, want %s; %v", network, c.to, got, c.then, err)
			}
			apply(t, b, c.after)
			if got, err := ask(conn); err != nil || got != c.then {
				t.Errorf("%s to %s, connected before the change: source %q, want %s; %v", network, c.to, got, c.then, err)
			}
			wantSource(t, l.pod, c.to, c.now)
		}
	}
}

// TestChangesUnderTraffic opens new flows all the time while the plan changes around their destination, whose policy stays the
// same, and while new processes take the table over, also from another version. A packet that saw a half-made table would be masqueraded.
func TestChangesUnderTraffic(t *testing.T) {
	l := newLab(t)
	nftMasquerade(t)
	keep := func(priority int, destinations ...string) nat.Policy {
		return nat.Policy{Name: fmt.Sprint("keep", priority), Priority: priority, Source: nat.SourcePod, Destinations: prefixes(destinations...)}
	}
	node := func(priority int, destinations ...string) nat.Policy {
		return nat.Policy{Name: fmt.Sprint("node", priority), Priority: priority, Source: nat.SourceNode, Destinations: prefixes(destinations...)}
	}
	plans := []nat.Plan{
		plan(keep(1, outside4+"/32", outside6+"/128")),
		plan(keep(1, outside4+"/24", outside6+"/64"), node(2, "0.0.0.0/0", "::/0")),
		plan(node(1, "198.51.100.0/32", "198.51.100.2/32", "2001:db8:51::/128"), keep(2)),
		plan(keep(1, "198.51.100.0/31", "2001:db8:51::/127"), keep(2, "198.51.100.128/25"), node(3)),
		plan(keep(1)),
	}
	b := nftables.New()
	apply(t, b, plans[0])

	done := make(chan struct{})
	var flows atomic.Int64
	var workers sync.WaitGroup
	for _, c := range []struct{ to, want string }{{outside4, pod4}, {outside6, pod6}} {
		workers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got, err := seen(l.pod, "udp", "", c.to); err != nil || got != c.want {
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
			nettest.Run(t, "nft", "add chain inet waymark old; add rule inet waymark old accept; add set inet waymark older { type ipv4_addr ; }")
		case 9:
			b = nftables.New()
		}
		apply(t, b, plans[(i+1)%len(plans)])
	}
	close(done)
	workers.Wait()
	t.Logf("%d flows during 200 changes", flows.Load())
	if flows.Load() < 200 {
		t.Errorf("%d flows are too few to have met the changes", flows.Load())
	}
}

func TestRepairWithinASecond(t *testing.T) {
	l := newLab(t)
	nftMasquerade(t)
	b := nftables.New()
	p := plan(nat.Policy{Name: "keep", Source: nat.SourcePod})
	apply(t, b, p)
	noticed := watch(t, b, p)
	wantSource(t, l.pod, outside4, pod4)

	start := time.Now()
	nettest.Run(t, "nft", "flush", "ruleset")
	nftMasquerade(t)
	select {
	case <-noticed:
	case <-time.After(5 * time.Second):
		t.Fatal("nothing was noticed in 5 s")
	}
	apply(t, b, p)
	took := time.Since(start)
	t.Logf("repaired in %v", took)
	if took > time.Second {
		t.Errorf("repaired after %v, want at most 1 s", took)
	}
	wantSource(t, l.pod, outside4, pod4)
	wantSource(t, l.pod, outside6, pod6)
}

// watch runs Watch until the test ends. When it returns, Watch has had its first look and lives by events.
func watch(t *testing.T, b *nftables.Backend, p nat.Plan) <-chan struct{} {
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
	nettest.Run(t, "nft", "delete", "table", "inet", "waymark")
	select {
	case <-noticed:
	case <-time.After(5 * time.Second):
		t.Fatal("the first edit was not noticed in 5 s")
	}
	apply(t, b, p)
	return noticed
}
