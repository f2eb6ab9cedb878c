package nat_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/nat"
)

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func addrs(list ...string) []netip.Addr {
	var as []netip.Addr
	for _, s := range list {
		as = append(as, netip.MustParseAddr(s))
	}
	return as
}

func show(t nat.Table) string {
	var b strings.Builder
	for _, group := range t.Groups {
		fmt.Fprintf(&b, "group %s %v\n", group.Name, group.Marks)
	}
	for i, class := range t.Classes {
		if i > 0 {
			fmt.Fprintf(&b, "class %s\n", class.Name)
		}
		for _, r := range class.Pods {
			fmt.Fprintf(&b, "pods %s-%s\n", r.First, r.Last)
		}
		for _, d := range class.Decisions {
			fmt.Fprintf(&b, "%s-%s %s\n", d.First, d.Last, d.Source)
			if d.Source == nat.SourceGateway {
				fmt.Fprintf(&b, "  by group %s\n", t.Groups[d.Group].Name)
			}
		}
	}
	return b.String()
}

func TestCompile(t *testing.T) {
	pods := prefixes("10.244.1.0/24", "fd00:1::/64")
	const shownPods = "pods 10.244.1.0-10.244.1.255\npods fd00:1::-fd00:1::ffff:ffff:ffff:ffff\n"
	tunnel := nat.Tunnel{Prefix: "w", MTU: 1450}
	for _, test := range []struct {
		name string
		plan nat.Plan
		want string
	}{
		{"nothing", nat.Plan{}, ""},
		{"pods alone", nat.Plan{Pods: pods}, shownPods},
		{
			"host bits, duplicates, overlaps and neighbours become one range",
			nat.Plan{Pods: prefixes("10.244.1.7/24", "10.244.1.0/25"), Policies: []nat.Policy{{
				Name: "a", Source: nat.SourcePod, Destinations: prefixes("10.1.2.3/16", "10.0.0.0/16", "10.1.0.0/16", "10.1.9.0/24"),
			}}},
			"pods 10.244.1.0-10.244.1.255\n10.0.0.0-10.1.255.255 Pod\n",
		},
		{
			"both families in one list",
			nat.Plan{Policies: []nat.Policy{{Name: "a", Source: nat.SourceNode, Destinations: prefixes("2001:db8::/32", "192.0.2.0/24")}}},
			"192.0.2.0-192.0.2.255 Node\n2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff Node\n",
		},
		{
			"the lower priority number decides, whatever the order",
			nat.Plan{Policies: []nat.Policy{
				{Name: "a", Priority: 20, Source: nat.SourceNode, Destinations: prefixes("10.0.0.0/8")},
				{Name: "b", Priority: 10, Source: nat.SourcePod, Destinations: prefixes("10.1.0.0/16")},
			}},
			"10.0.0.0-10.0.255.255 Node\n10.1.0.0-10.1.255.255 Pod\n10.2.0.0-10.255.255.255 Node\n",
		},
		{
			"the name breaks a tie",
			nat.Plan{Policies: []nat.Policy{
				{Name: "b", Source: nat.SourceNode, Destinations: prefixes("10.0.0.0/8")},
				{Name: "a", Source: nat.SourcePod, Destinations: prefixes("10.0.0.0/8")},
			}},
			"10.0.0.0-10.255.255.255 Pod\n",
		},
		{
			"what one policy excludes a later one may match",
			nat.Plan{Policies: []nat.Policy{
				{Name: "a", Priority: 1, Source: nat.SourcePod, Destinations: prefixes("10.0.0.0/8"), Exclude: prefixes("10.96.0.0/12", "10.200.0.0/16")},
				{Name: "b", Priority: 2, Source: nat.SourceNode, Destinations: prefixes("10.200.0.0/24")},
			}},
			"10.0.0.0-10.95.255.255 Pod\n10.112.0.0-10.199.255.255 Pod\n10.200.0.0-10.200.0.255 Node\n10.201.0.0-10.255.255.255 Pod\n",
		},
		{
			"no destinations: everything but this node's pods and the excluded",
			nat.Plan{Pods: pods, Policies: []nat.Policy{{Name: "a", Source: nat.SourceNode, Exclude: prefixes("10.244.0.0/16", "fd00::/8", "128.0.0.0/1")}}},
			shownPods + "0.0.0.0-10.243.255.255 Node\n10.245.0.0-127.255.255.255 Node\n" +
				"::-fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff Node\nfe00::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff Node\n",
		},
		{
			"destinations that name this node's pods are taken at their word",
			nat.Plan{Pods: prefixes("10.244.1.0/24"), Policies: []nat.Policy{{Name: "a", Source: nat.SourcePod, Destinations: prefixes("10.244.0.0/16")}}},
			"pods 10.244.1.0-10.244.1.255\n10.244.0.0-10.244.255.255 Pod\n",
		},
		{
			"selected pods are classes of their own, by the policies that select them",
			nat.Plan{Pods: prefixes("10.244.1.0/30"), Policies: []nat.Policy{
				{Name: "all", Priority: 30, Source: nat.SourcePod, Destinations: prefixes("10.0.0.0/8")},
				{Name: "pay", Priority: 10, Source: nat.SourceNode, Destinations: prefixes("10.1.0.0/16"), Selects: true, Pods: addrs("10.244.1.1", "10.244.1.2")},
				{Name: "web", Priority: 20, Source: nat.SourceNode, Destinations: prefixes("10.0.0.0/15"), Selects: true, Pods: addrs("10.244.1.2")},
				{Name: "none", Priority: 1, Source: nat.SourceNode, Selects: true},
			}},
			"pods 10.244.1.0-10.244.1.0\npods 10.244.1.3-10.244.1.3\n10.0.0.0-10.255.255.255 Pod\n" +
				"class pay\npods 10.244.1.1-10.244.1.1\n10.1.0.0-10.1.255.255 Node\n" +
				"class pay,web\npods 10.244.1.2-10.244.1.2\n10.0.0.0-10.1.255.255 Node\n",
		},
		{
			"the whole of both families",
			nat.Plan{Policies: []nat.Policy{{Name: "a", Source: nat.SourcePod}}},
			"0.0.0.0-255.255.255.255 Pod\n::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff Pod\n",
		},
		{
			"a family without a path gets the fallback",
			nat.Plan{Tunnel: tunnel, Policies: []nat.Policy{{
				Name: "a", Source: nat.SourceGateway, Fallback: nat.SourceDrop, Via: []nat.Path{{Mark: 5, IPv4: true}},
				Destinations: prefixes("192.0.2.0/24", "2001:db8::/128"),
			}}},
			"group a4 [5]\n192.0.2.0-192.0.2.255 Gateway\n  by group a4\n2001:db8::-2001:db8:: Drop\n",
		},
		{
			"what goes to a gateway's own address is left to the next policy",
			nat.Plan{
				Tunnel: nat.Tunnel{Prefix: "w", MTU: 1450, Gateways: addrs("192.0.2.1")},
				Policies: []nat.Policy{
					{Name: "a", Source: nat.SourceGateway, Fallback: nat.SourceDrop, Destinations: prefixes("192.0.2.0/30")},
					{Name: "b", Source: nat.SourceNode, Destinations: prefixes("192.0.2.0/30")},
				},
			},
			"192.0.2.0-192.0.2.0 Drop\n192.0.2.1-192.0.2.1 Node\n192.0.2.2-192.0.2.3 Drop\n",
		},
		{
			"groups by family, each once, in the order of the policies",
			nat.Plan{Tunnel: tunnel, Policies: []nat.Policy{
				{
					Name: "z", Priority: 1, Source: nat.SourceGateway, Fallback: nat.SourceNode, Destinations: prefixes("192.0.2.0/25", "2001:db8::/128"),
					Via: []nat.Path{{Mark: 9, IPv4: true, IPv6: true}, {Mark: 5, IPv4: true}},
				},
				{
					Name: "a", Priority: 2, Source: nat.SourceGateway, Fallback: nat.SourcePod, Destinations: prefixes("192.0.2.128/25", "2001:db8::1/128"),
					Via: []nat.Path{{Mark: 9, IPv4: true}, {Mark: 5, IPv4: true}},
				},
				{
					Name: "b", Priority: 3, Source: nat.SourceGateway, Fallback: nat.SourcePod, Destinations: prefixes("192.0.3.0/24"),
					Via: []nat.Path{{Mark: 5, IPv4: true}, {Mark: 9, IPv4: true}},
				},
			}},
			"group a4 [9 5]\ngroup z6 [9]\ngroup b4 [5 9]\n192.0.2.0-192.0.2.255 Gateway\n  by group a4\n192.0.3.0-192.0.3.255 Gateway\n  by group b4\n" +
				"2001:db8::-2001:db8:: Gateway\n  by group z6\n2001:db8::1-2001:db8::1 Pod\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			table, err := nat.Compile(test.plan)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(table); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
		})
	}
}

// TestStrangersWait: what a pod sends of which nothing is known yet goes where every pod's goes, or nowhere.
func TestStrangersWait(t *testing.T) {
	plan := nat.Plan{
		Pods: prefixes("10.244.1.0/29"), Wary: true, Known: addrs("10.244.1.1", "10.244.1.2"), Tunnel: nat.Tunnel{Prefix: "w", MTU: 1450},
		Policies: []nat.Policy{
			{Name: "bank", Priority: 1, Selects: true, Pods: addrs("10.244.1.1"), Destinations: prefixes("203.0.113.0/24"), Source: nat.SourceGateway, Fallback: nat.SourceNode, Via: []nat.Path{{Mark: 1, IPv4: true}}},
			{Name: "first", Priority: 0, Destinations: prefixes("203.0.113.0/25"), Source: nat.SourcePod},
			{Name: "rest", Priority: 2, Destinations: prefixes("192.0.2.0/24"), Source: nat.SourceNode},
		},
	}
	table, err := nat.Compile(plan)
	if err != nil {
		t.Fatal(err)
	}
	const want = `group bank4 [1]
pods 10.244.1.2-10.244.1.2
192.0.2.0-192.0.2.255 Node
203.0.113.0-203.0.113.127 Pod
class ?
pods 10.244.1.0-10.244.1.0
pods 10.244.1.3-10.244.1.7
203.0.113.128-203.0.113.255 Drop
class bank
pods 10.244.1.1-10.244.1.1
203.0.113.128-203.0.113.255 Gateway
  by group bank4
`
	if got := show(table); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	plan.Policies[0].Source, plan.Policies[0].Via, plan.Policies[0].Fallback = nat.SourceNode, nil, ""
	if table, err = nat.Compile(plan); err != nil || len(table.Classes) != 2 {
		t.Errorf("nobody waits for a policy without a gateway: %v %s", err, show(table))
	}
}

// TestClassesAddUp: many policies about some pods do not hold what is decided for all pods many times.
func TestClassesAddUp(t *testing.T) {
	plan := nat.Plan{Pods: prefixes("10.244.0.0/16")}
	pod := netip.MustParseAddr("10.244.1.0")
	for i := range 1000 {
		policy := nat.Policy{Name: fmt.Sprint(i), Priority: i, Source: nat.SourcePod}
		for k := range 10 {
			policy.Destinations = append(policy.Destinations, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 3), byte(i<<5 + 2*k), 0}), 24))
		}
		for range 50 * (i % 2) {
			policy.Selects, policy.Source = true, nat.SourceNode
			policy.Pods = append(policy.Pods, pod)
			pod = pod.Next()
		}
		plan.Policies = append(plan.Policies, policy)
	}
	table, err := nat.Compile(plan)
	if err != nil {
		t.Fatal(err)
	}
	decisions := 0
	for _, class := range table.Classes {
		decisions += len(class.Decisions)
	}
	if len(table.Classes) != 501 || decisions != 10_000 {
		t.Errorf("%d classes with %d decisions, want 501 with 10,000, one for each prefix", len(table.Classes), decisions)
	}
}

func TestCompileRefuses(t *testing.T) {
	mapped := netip.MustParsePrefix("::ffff:10.0.0.0/104")
	for _, test := range []struct {
		plan nat.Plan
		want []string
	}{
		{nat.Plan{Pods: []netip.Prefix{{}}}, []string{`pod prefix: "invalid Prefix" is not a prefix`}},
		{nat.Plan{Pods: []netip.Prefix{mapped}}, []string{"pod prefix: ::ffff:10.0.0.0/104 is an IPv4-mapped address, write it as IPv4"}},
		{nat.Plan{Policies: []nat.Policy{{Source: nat.SourcePod}}}, []string{`egress policy "": no name`}},
		{
			nat.Plan{Policies: []nat.Policy{{Name: "a", Source: "Host", Destinations: []netip.Prefix{mapped}, Exclude: []netip.Prefix{{}}}}},
			[]string{`egress policy "a": source "Host" is none of Pod, Node and Gateway`, "destination: ::ffff:10.0.0.0/104", `excluded destination: "invalid Prefix"`},
		},
		{
			nat.Plan{Policies: []nat.Policy{{Name: "a", Source: nat.SourcePod}, {Name: "a", Source: nat.SourceNode}}},
			[]string{`egress policy "a" is there twice`},
		},
		{
			nat.Plan{Policies: []nat.Policy{{Name: "a", Source: nat.SourceGateway, Via: []nat.Path{{IPv4: true}, {Mark: 1024, IPv6: true}, {Mark: 2}, {Mark: 2, IPv4: true}}}}},
			[]string{
				`egress policy "a": fallback "" is none of Drop, Node and Pod`, "path: mark 0 is not in 1-1023", "path: mark 1024", "path 2 is of no family",
				"path 2 is there twice",
				`egress policy "a": paths without tunnels`,
			},
		},
		{
			nat.Plan{Policies: []nat.Policy{{Name: "a", Source: nat.SourceGateway, Fallback: nat.SourceGateway}, {Name: "b", Source: nat.SourceDrop}}},
			[]string{`fallback "Gateway" is none`, `source "Drop" is none`},
		},
		{
			nat.Plan{Policies: []nat.Policy{{Name: "a", Source: nat.SourcePod, Via: []nat.Path{{Mark: 1, IPv4: true}}}, {Name: "b", Source: nat.SourceNode, Fallback: nat.SourceDrop}}},
			[]string{`egress policy "a": paths or a fallback with source Pod`, `egress policy "b": paths or a fallback with source Node`},
		},
		{
			nat.Plan{Tunnel: nat.Tunnel{Prefix: "w"}, Exits: []nat.Exit{
				{Mark: 0, Device: "eth0", Address: netip.MustParseAddr("127.0.0.1"), First: 5, Last: 4},
				{Mark: 7, Device: "w234567890123456", Address: netip.MustParseAddr("::ffff:10.0.0.1"), Last: 9},
				{Mark: 7, Device: "w\" accept", First: 1, Last: 1},
			}},
			[]string{
				"exit 0: mark 0 is not in 1-1023", `device "eth0" does not begin with the prefix of tunnels, "w"`, "127.0.0.1 cannot be an egress address", "5-4 is no range of ports",
				`exit 7: device: "w234567890123456" is not a name`, "::ffff:10.0.0.1 cannot be", "0-9 is no range", "exit 7: another exit has 7 too", `"w\" accept" is not a name`,
			},
		},
		{
			nat.Plan{Tunnel: nat.Tunnel{Prefix: "w"}, Exits: []nat.Exit{
				{Mark: 1, Device: "w1", Address: netip.MustParseAddr("10.0.0.1"), First: 1, Last: 1}, {Mark: 2, Device: "w1", Address: netip.MustParseAddr("10.0.0.1"), First: 1, Last: 1},
			}},
			[]string{"exit 2: another exit has w1 too", "exit 2: another exit has 10.0.0.1 too"},
		},
		{
			nat.Plan{Tunnel: nat.Tunnel{Port: 8479, Peers: []netip.Prefix{mapped}, Gateways: []netip.Addr{{}}, MTU: 100}},
			[]string{"gateway: ", `tunnels: prefix of devices: "" is not a name`, "MTU 100 is not in 576-65535", "peer: ::ffff:10.0.0.0/104 is an IPv4-mapped"},
		},
	} {
		_, err := nat.Compile(test.plan)
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q in it", err, want)
			}
		}
	}
}

// TestCompiledEqualsFirstMatch and FuzzCompile hold the compiled table against the definition of a policy.
func TestCompiledEqualsFirstMatch(t *testing.T) {
	for seed := range uint64(2000) {
		checkFirstMatch(t, rand.New(rand.NewPCG(seed, 1)))
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte("32 bytes of chance, and then more"))
	f.Fuzz(func(t *testing.T, chance []byte) {
		checkFirstMatch(t, rand.New(rand.NewChaCha8([32]byte(append(chance, make([]byte, 32)...)))))
	})
}

func checkFirstMatch(t *testing.T, r *rand.Rand) {
	t.Helper()
	plan := randomPlan(r)
	before := fmt.Sprint(plan)
	table, err := nat.Compile(plan)
	if err != nil {
		t.Fatalf("%v: %v", plan, err)
	}
	if after := fmt.Sprint(plan); after != before {
		t.Fatalf("plan changed from %v to %v", before, after)
	}
	for _, class := range table.Classes {
		for i, d := range class.Decisions {
			if d.Last.Less(d.First) || d.First.BitLen() != d.Last.BitLen() {
				t.Fatalf("%v: bad range %v", plan, d)
			}
			if i == 0 {
				continue
			}
			last := class.Decisions[i-1]
			if !last.Last.Less(d.First) || last.Target == d.Target && last.Last.Next() == d.First {
				t.Fatalf("%v: %v and %v overlap or should be one", plan, last, d)
			}
		}
	}
	for _, pod := range podsOf(r, plan) {
		for _, addr := range interesting(r, plan) {
			if got, want := lookup(table, pod, addr), firstMatch(plan, pod, addr); got != want {
				t.Fatalf("%v: from %s to %s has %q, want %q, in\n%s", plan, pod, addr, got, want, show(table))
			}
		}
	}
}

// podsOf are addresses that are pods, selected or not, and some that are not.
func podsOf(r *rand.Rand, plan nat.Plan) []netip.Addr {
	pods := []netip.Addr{randomPrefix(r).Addr()}
	for _, p := range plan.Pods {
		pods = append(pods, p.Addr(), p.Masked().Addr())
	}
	for _, p := range plan.Policies {
		pods = append(pods, p.Pods...)
	}
	return pods
}

func firstMatch(plan nat.Plan, pod, dst netip.Addr) string {
	in := func(list []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if !in(plan.Pods, pod) && !slices.ContainsFunc(plan.Policies, func(p nat.Policy) bool { return p.Selects && slices.Contains(p.Pods, pod) }) {
		return ""
	}
	ordered := slices.SortedFunc(slices.Values(plan.Policies), func(a, b nat.Policy) int {
		return cmp.Or(a.Priority-b.Priority, strings.Compare(a.Name, b.Name))
	})
	for _, p := range ordered {
		switch {
		case p.Selects && !slices.Contains(p.Pods, pod):
		case len(p.Destinations) == 0 && in(plan.Pods, dst):
		case len(p.Destinations) > 0 && !in(p.Destinations, dst), in(p.Exclude, dst):
		case p.Source == nat.SourceGateway && slices.Contains(plan.Tunnel.Gateways, dst):
		case p.Source != nat.SourceGateway:
			return string(p.Source)
		default:
			var marks []uint16
			for _, path := range p.Via {
				if path.IPv4 && dst.Is4() || path.IPv6 && dst.Is6() {
					marks = append(marks, path.Mark)
				}
			}
			if len(marks) == 0 {
				return string(p.Fallback)
			}
			return fmt.Sprint(marks)
		}
	}
	return ""
}

func lookup(table nat.Table, pod, dst netip.Addr) string {
	has := func(r nat.Range, a netip.Addr) bool { return !a.Less(r.First) && !r.Last.Less(a) }
	source, found := "", 0
	for _, class := range table.Classes {
		if !slices.ContainsFunc(class.Pods, func(r nat.Range) bool { return has(r, pod) }) {
			continue
		}
		found++
		// What is not otherwise for the class is as for all.
		for _, d := range slices.Concat(table.Classes[0].Decisions, class.Decisions) {
			if has(d.Range, dst) {
				source = string(d.Source)
				if d.Source == nat.SourceGateway {
					source = fmt.Sprint(table.Groups[d.Group].Marks)
				}
			}
		}
	}
	if found > 1 {
		return "in two classes"
	}
	return source
}

// randomPlan draws from few addresses, so that prefixes nest, touch and repeat.
func randomPlan(r *rand.Rand) nat.Plan {
	list := func(n int) (ps []netip.Prefix) {
		for range r.IntN(n) {
			ps = append(ps, randomPrefix(r))
		}
		return ps
	}
	plan := nat.Plan{Pods: list(3), Tunnel: nat.Tunnel{Prefix: "w", MTU: 1450, Gateways: []netip.Addr{randomPrefix(r).Addr()}}}
	for i := range r.IntN(8) {
		policy := nat.Policy{
			Name: fmt.Sprint("p", i), Priority: r.IntN(3), Source: []nat.Source{nat.SourcePod, nat.SourceNode, nat.SourceGateway}[r.IntN(3)],
			Destinations: list(5), Exclude: list(4), Selects: r.IntN(3) == 0,
		}
		if policy.Source == nat.SourceGateway {
			policy.Fallback = []nat.Source{nat.SourceDrop, nat.SourceNode, nat.SourcePod}[r.IntN(3)]
			for mark := range r.IntN(3) {
				family := r.IntN(3)
				policy.Via = append(policy.Via, nat.Path{Mark: uint16(mark + 1), IPv4: family != 0, IPv6: family != 1})
			}
		}
		for range r.IntN(4) {
			pod := randomPrefix(r)
			policy.Pods = append(policy.Pods, pod.Addr(), pod.Masked().Addr())
		}
		plan.Policies = append(plan.Policies, policy)
	}
	return plan
}

func randomPrefix(r *rand.Rand) netip.Prefix {
	edge := []byte{0, 10, 255}[r.IntN(3)]
	if r.IntN(2) == 0 {
		bits := []int{0, 1, 8, 28, 29, 30, 31, 32}[r.IntN(8)]
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{edge, edge, edge, byte(r.Uint32())}), bits)
	}
	addr := [16]byte{0: edge, 1: edge, 14: edge, 15: byte(r.Uint32())}
	return netip.PrefixFrom(netip.AddrFrom16(addr), []int{0, 1, 8, 124, 126, 127, 128}[r.IntN(7)])
}

// interesting addresses lie at and around every end of a prefix.
func interesting(r *rand.Rand, plan nat.Plan) []netip.Addr {
	all := slices.Clone(plan.Pods)
	for _, gateway := range plan.Tunnel.Gateways {
		all = append(all, netip.PrefixFrom(gateway, gateway.BitLen()))
	}
	for _, p := range plan.Policies {
		all = slices.Concat(all, p.Destinations, p.Exclude)
	}
	var addrs []netip.Addr
	for _, p := range append(all, randomPrefix(r), randomPrefix(r)) {
		first := p.Masked().Addr()
		last := first.AsSlice()
		for i := p.Bits(); i < len(last)*8; i++ {
			last[i/8] |= 1 << (7 - i%8)
		}
		end, _ := netip.AddrFromSlice(last)
		addrs = append(addrs, first, first.Prev(), end, end.Next(), p.Addr())
	}
	return slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() })
}

func BenchmarkCompile(b *testing.B) {
	for _, size := range []struct{ policies, prefixes int }{{10, 10}, {100, 10}, {1000, 10}, {1, 10000}} {
		b.Run(fmt.Sprintf("%dx%d", size.policies, size.prefixes), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			plan := nat.Plan{Pods: prefixes("10.244.1.0/24")}
			for i := range size.policies {
				p := nat.Policy{Name: fmt.Sprint(i), Priority: r.IntN(50), Source: []nat.Source{nat.SourcePod, nat.SourceNode}[i%2]}
				for range size.prefixes {
					addr := netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), 0})
					p.Destinations = append(p.Destinations, netip.PrefixFrom(addr, 16+r.IntN(9)))
				}
				plan.Policies = append(plan.Policies, p)
			}
			for b.Loop() {
				if _, err := nat.Compile(plan); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
