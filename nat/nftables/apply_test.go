package nftables_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

var update = flag.Bool("update", false, "write the goldens")

// ruleset is our table as nft prints it.
func ruleset(t testing.TB) string {
	t.Helper()
	return nettest.Run(t, "nft", "list", "table", "inet", "waymark")
}

func flushed(t testing.TB) {
	t.Helper()
	nettest.Run(t, "nft", "flush", "ruleset")
	t.Cleanup(func() { nettest.Run(t, "nft", "flush", "ruleset") })
}

var registries = plan(
	nat.Policy{Name: "registries", Priority: 100, Source: nat.SourcePod, Destinations: prefixes("10.132.0.0/16", "10.133.0.0/16", "2001:db8:132::/48")},
	nat.Policy{Name: "internet", Priority: 200, Source: nat.SourceNode, Exclude: prefixes("10.0.0.0/8", "fd00::/8")},
)

func TestGoldenRuleset(t *testing.T) {
	flushed(t)
	apply(t, nftables.New(), registries)
	wantGolden(t, "testdata/ruleset.nft")
}

func wantGolden(t *testing.T, golden string) {
	t.Helper()
	got := ruleset(t)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	nettest.Run(t, "nft", "flush", "ruleset")
	nettest.Run(t, "nft", "-f", golden)
	if loaded := ruleset(t); loaded != string(want) {
		t.Errorf("the kernel holds of the golden\n%s", loaded)
	}
}

func TestTheSamePlanWritesNothing(t *testing.T) {
	flushed(t)
	b := nftables.New()
	if result := apply(t, b, registries); !result.Changed || result.Repaired {
		t.Errorf("first apply: %+v, want changed, not repaired", result)
	}
	monitor := nettest.Self.Start(t, "nft", "monitor")
	n := 0
	sentinel := func() {
		t.Helper()
		nettest.Eventually(t, 5*time.Second, func() error {
			n++
			table := fmt.Sprintf("other%d", n)
			nettest.Run(t, "nft", "add", "table", "inet", table)
			if !strings.Contains(monitor.Output(), table) {
				return fmt.Errorf("nft monitor does not show table %s: %s", table, monitor.Output())
			}
			return nil
		})
	}
	sentinel() // from here on the monitor sees all
	for range 3 {
		if result := apply(t, b, registries); result != (nat.Result{}) {
			t.Errorf("same plan: %+v, want nothing done", result)
		}
		sentinel() // somebody else's change does not matter
	}
	if strings.Contains(monitor.Output(), "waymark") {
		t.Errorf("something was written:\n%s", monitor.Output())
	}
}

// TestOnlyElementsChange holds what any sequence of applies leaves against a table made from scratch, and the handles of
// everything but elements against what they were.
func TestOnlyElementsChange(t *testing.T) {
	flushed(t)
	b := nftables.New()
	apply(t, b, plan())
	frame := frameWithHandles(t)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 100 {
		p := randomPlan(r)
		apply(t, b, p)
		if i%10 == 0 {
			b = nftables.New() // a crash: the next process takes over what is there
			apply(t, b, p)
			frame = frameWithHandles(t)
		}
		if now := frameWithHandles(t); now != frame {
			t.Fatalf("plan %d: more than elements changed, from\n%sto\n%s", i, frame, now)
		}
		incremental := ruleset(t)
		nettest.Run(t, "nft", "delete table inet waymark")
		apply(t, nftables.New(), p)
		if scratch := ruleset(t); scratch != incremental {
			t.Fatalf("plan %d, %v: incremental\n%sfrom scratch\n%s", i, p, incremental, scratch)
		}
		if result := apply(t, b, p); !result.Repaired {
			t.Fatalf("plan %d: %+v, want the replaced table to be seen", i, result)
		}
		frame = frameWithHandles(t)
	}
}

// TestClassesComeAndGo holds plans with selected pods, which take chains and maps, against a table made from scratch.
func TestClassesComeAndGo(t *testing.T) {
	flushed(t)
	b := nftables.New()
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 100 {
		p := randomPlan(r)
		for j := range p.Policies {
			p.Policies[j].Selects = r.IntN(2) == 0
			for range r.IntN(4) {
				p.Policies[j].Pods = append(p.Policies[j].Pods, netip.AddrFrom4([4]byte{10, 244, 1, byte(r.IntN(4))}))
			}
		}
		if result := apply(t, b, p); result.Repaired {
			t.Fatalf("plan %d: repaired, but nobody else was there", i)
		}
		incremental := ruleset(t)
		nettest.Run(t, "nft", "delete table inet waymark")
		apply(t, nftables.New(), p)
		if scratch := ruleset(t); objects(scratch) != objects(incremental) {
			t.Fatalf("plan %d, %v: incremental\n%sfrom scratch\n%s", i, p, incremental, scratch)
		}
		if i%10 == 0 {
			b = nftables.New() // a crash: the next process takes over what is there
		}
		apply(t, b, p)
	}
}

func frameWithHandles(t testing.TB) string {
	t.Helper()
	return nettest.Run(t, "nft", "-a", "-t", "list", "table", "inet", "waymark")
}

func randomPlan(r *rand.Rand) nat.Plan {
	list := func(n int) (ps []netip.Prefix) {
		for range r.IntN(n) {
			edge := []byte{0, 10, 255}[r.IntN(3)]
			if r.IntN(2) == 0 {
				ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{edge, edge, edge, byte(r.Uint32())}), []int{0, 1, 8, 28, 31, 32}[r.IntN(6)]))
			} else {
				ps = append(ps, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: edge, 15: byte(r.Uint32())}), []int{0, 1, 8, 124, 127, 128}[r.IntN(6)]))
			}
		}
		return ps
	}
	p := nat.Plan{Pods: list(4)}
	for i := range r.IntN(5) {
		p.Policies = append(p.Policies, nat.Policy{
			Name: fmt.Sprint(i), Source: []nat.Source{nat.SourcePod, nat.SourceNode}[r.IntN(2)], Destinations: list(6), Exclude: list(3),
		})
	}
	return p
}

// TestForeignEditsAreNoticedAndRepaired does to the table what operators and scripts do to tables.
func TestForeignEditsAreNoticedAndRepaired(t *testing.T) {
	for _, edit := range []string{
		"flush ruleset",
		"delete table inet waymark",
		"flush table inet waymark",
		"flush chain inet waymark postrouting",
		"delete rule inet waymark postrouting handle $RULE",
		"replace rule inet waymark postrouting handle $RULE accept",
		"insert rule inet waymark postrouting accept",
		"add rule inet waymark node accept",
		"flush map inet waymark class0_egress4",
		"delete element inet waymark class0_egress4 { 10.132.0.0-10.133.255.255 }",
		"add element inet waymark class0_egress6 { fd00:7::/32 : goto pod }",
		"add element inet waymark pods4 { 172.16.0.0/16 : goto class0 }",
		"add element inet waymark class0_egress4 { 10.134.0.0/16 : accept }",
		"add chain inet waymark postrouting { policy drop ; }",
		"add table inet waymark { flags dormant ; }",
		"add chain inet waymark other { type nat hook postrouting priority 50 ; }",
		"add set inet waymark other { type ipv4_addr ; }",
		"add chain inet waymark other; add rule inet waymark other accept; insert rule inet waymark postrouting jump other",
		"add chain inet waymark other; add map inet waymark more { type ipv4_addr : verdict ; }; add element inet waymark more { 192.0.2.1 : jump other }",
		"rename chain inet waymark pod other",
		"delete table inet waymark; add table inet waymark; add set inet waymark pods4 { type inet_service ; }",
		"delete table inet waymark; add table inet waymark; add chain inet waymark postrouting { type filter hook input priority 0 ; }",
		"delete table inet waymark; add table inet waymark; add chain inet waymark postrouting { type nat hook postrouting priority 100 ; }",
	} {
		t.Run(edit, func(t *testing.T) {
			flushed(t)
			b := nftables.New()
			apply(t, b, registries)
			want := ruleset(t)
			noticed := nattest.Watch(t, b, registries)

			nettest.Run(t, "nft", strings.ReplaceAll(edit, "$RULE", aRule(t)))
			select {
			case <-noticed:
			case <-time.After(time.Second):
				t.Error("not noticed within a second")
			}
			if result := apply(t, b, registries); !result.Repaired || !result.Changed {
				t.Errorf("apply: %+v, want repaired and changed", result)
			}
			if got := ruleset(t); objects(got) != objects(want) {
				t.Errorf("repaired to\n%swant\n%s", got, want)
			}
			if result := apply(t, b, registries); result != (nat.Result{}) {
				t.Errorf("apply again: %+v, want nothing done", result)
			}
		})
	}
}

// objects puts chains and sets, which nft lists in the order of their creation, in another order.
func objects(ruleset string) string {
	list := strings.Split(strings.TrimSuffix(ruleset, "\n}\n"), "\n\n")
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// aRule is the handle of a rule in the base chain.
func aRule(t testing.TB) string {
	t.Helper()
	for line := range strings.Lines(nettest.Run(t, "nft", "-a", "list", "chain", "inet", "waymark", "postrouting")) {
		if rule, handle, found := strings.Cut(strings.TrimSpace(line), " # handle "); found && strings.Contains(rule, "@pods4") {
			return handle
		}
	}
	t.Fatal("no rule in the base chain")
	return ""
}

func TestWatchIsSilentForOthersAndOurselves(t *testing.T) {
	flushed(t)
	b := nftables.New()
	apply(t, b, registries)
	noticed := nattest.Watch(t, b, registries)
	for i := range 50 {
		nettest.Run(t, "nft", fmt.Sprintf("add table inet kube-proxy; add chain inet kube-proxy c%d; flush table inet kube-proxy; add table ip waymark", i))
		apply(t, b, plan(nat.Policy{Name: "a", Source: nat.SourcePod, Destinations: prefixes(fmt.Sprintf("10.%d.0.0/16", i))}))
	}
	// Events come in order: once this edit is noticed, all before it have been seen.
	nettest.Run(t, "nft", "flush chain inet waymark postrouting")
	select {
	case <-noticed:
	case <-time.After(time.Second):
		t.Error("a foreign edit was not noticed within a second")
	}
	apply(t, b, registries)
	if n := len(noticed); n > 0 {
		t.Errorf("%d calls more than the one", n)
	}
}

func TestTakeOverLeavesElementsAlone(t *testing.T) {
	flushed(t)
	apply(t, nftables.New(), registries)
	want := ruleset(t)
	monitor := nettest.Self.Start(t, "nft", "monitor")
	nettest.Eventually(t, 5*time.Second, func() error {
		nettest.Run(t, "nft", "add table inet other; delete table inet other")
		if !strings.Contains(monitor.Output(), "other") {
			return fmt.Errorf("nft monitor does not listen yet")
		}
		return nil
	})
	if result := apply(t, nftables.New(), registries); result.Repaired {
		t.Errorf("take over: %+v, want no repair: nothing is known to compare with", result)
	}
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(monitor.Output(), "masquerade") {
			return fmt.Errorf("nft monitor does not show the rules yet: %s", monitor.Output())
		}
		return nil
	})
	for _, word := range []string{"element", "delete chain", "delete map", "delete set", "delete table inet waymark"} {
		if strings.Contains(monitor.Output(), word) {
			t.Errorf("%q in what was written:\n%s", word, monitor.Output())
		}
	}
	if got := ruleset(t); got != want {
		t.Errorf("taken over as\n%swant\n%s", got, want)
	}
}

func TestTheRulesetDoesNotGrowWithThePlan(t *testing.T) {
	flushed(t)
	b := nftables.New()
	apply(t, b, plan())
	small := frameWithHandles(t)
	apply(t, b, manyPrefixes(10_000, 0))
	if large := frameWithHandles(t); large != small {
		t.Errorf("from\n%sto\n%s", small, large)
	}
	if n := strings.Count(ruleset(t), "goto pod"); n != 10_000 {
		t.Errorf("%d elements, want 10000", n)
	}
}

// manyPrefixes is a plan with n ranges that do not merge. Plans with another shift have one other range.
func manyPrefixes(n, shift int) nat.Plan {
	policy := nat.Policy{Name: "many", Source: nat.SourcePod}
	for i := range n {
		if i == n-1 {
			i += shift
		}
		policy.Destinations = append(policy.Destinations, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 7), byte(i << 1), 0}), 24))
	}
	return plan(policy)
}

func TestCheck(t *testing.T) {
	flushed(t)
	b := nftables.New()
	before := nettest.Run(t, "nft", "list ruleset")
	if err := b.Check(context.Background()); err != nil {
		t.Errorf("check: %v, want this kernel to be good enough", err)
	}
	if after := nettest.Run(t, "nft", "list ruleset"); after != before {
		t.Errorf("the check left\n%s", after)
	}
	t.Setenv("PATH", t.TempDir())
	if err := nftables.New().Check(context.Background()); err == nil || !strings.Contains(err.Error(), `"nft": executable file not found`) {
		t.Errorf("check without nft: %v, want that nft is missing", err)
	}
}

func TestABadPlanLeavesTheTableAlone(t *testing.T) {
	flushed(t)
	b := nftables.New()
	apply(t, b, registries)
	before := ruleset(t)
	_, err := b.Apply(context.Background(), plan(nat.Policy{Name: "bad", Source: "Host"}))
	if err == nil || !strings.Contains(err.Error(), `egress policy "bad"`) {
		t.Errorf("error %v, want one about the policy", err)
	}
	if after := ruleset(t); after != before {
		t.Errorf("the table changed to\n%s", after)
	}
}
