package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is an Egress in which policies keep what they are given.
type world struct {
	Egress
	leases map[string][]Lease
}

func newWorld(nodes int, wants ...Want) *world {
	w := &world{Egress: Egress{Wants: wants, Gateways: map[string]Gateway{}, Reports: map[Place]Report{}, Over: map[Place]bool{}}}
	for i := range nodes {
		w.Gateways[fmt.Sprint("n", i+1)] = Gateway{Usable: true, IPv4: true, IPv6: true}
	}
	return w
}

func (w *world) change(node string, change func(*Gateway)) {
	if g, ok := w.Gateways[node]; ok {
		change(&g)
		w.Gateways[node] = g
	}
}

// pass assigns; what comes out is what the policies hold from then on.
func (w *world) pass(t testing.TB) Assignment {
	t.Helper()
	for i := range w.Wants {
		w.Wants[i].Held = w.leases[w.Wants[i].Policy]
	}
	a := w.Assign()
	for _, l := range a.Leases {
		for _, lease := range l {
			if lease.VNI < 1 || lease.VNI > MaxVNI || lease.Term < 1 {
				t.Fatalf("lease %+v", lease)
			}
		}
	}
	w.leases = a.Leases
	return a
}

func want(policy string, nodes ...string) Want {
	return Want{Policy: policy, Created: old, Nodes: nodes, Selector: strings.Join(nodes, ",")}
}

func (w Want) at(addresses ...string) Want {
	for _, a := range addresses {
		w.Addresses = append(w.Addresses, netip.MustParseAddr(a))
	}
	return w
}

func (w Want) of(pool ...string) Want {
	for _, p := range pool {
		w.Pool = append(w.Pool, netip.MustParsePrefix(p))
	}
	return w
}

func (w Want) since(created time.Time) Want {
	w.Created = created
	return w
}

// list is a lease's list: "2: n1 n2-" is of term 2, and n2 leaves.
func list(l Lease) string {
	names := []string{fmt.Sprintf("%d:", l.Term)}
	for _, m := range l.Gateways {
		name := m.Node
		if m.Leaving {
			name += "-"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// TestLists follows one address through what becomes of its gateways.
func TestLists(t *testing.T) {
	dead := func(n string) func(*world) {
		return func(w *world) { w.change(n, func(g *Gateway) { g.Usable = false }) }
	}
	alive := func(n string) func(*world) {
		return func(w *world) { w.change(n, func(g *Gateway) { g.Usable = true }) }
	}
	drains := func(n string, is bool) func(*world) {
		return func(w *world) { w.change(n, func(g *Gateway) { g.Leaving = is }) }
	}
	gone := func(n string) func(*world) { return func(w *world) { delete(w.Gateways, n) } }
	selects := func(nodes ...string) func(*world) { return func(w *world) { w.Wants[0].Nodes = nodes } }
	place := func(w *world, n string) Place {
		l := w.leases["p"][0]
		return Place{n, l.VNI, l.Term}
	}
	owns := func(n string, nodes int) func(*world) {
		return func(w *world) { w.Reports[place(w, n)] = Report{Self: nodes > 0, Nodes: nodes} }
	}
	over := func(n string) func(*world) { return func(w *world) { w.Over[place(w, n)] = true } }
	type step struct {
		do   func(*world)
		want string // and " > " with the move, if there is one
	}
	for name, steps := range map[string][]step{
		"a standby dies and comes back": {{dead("n2"), "1: n1 n2 n3"}, {alive("n2"), "1: n1 n2 n3"}},
		"the owner dies and comes back": {{dead("n1"), "2: n2 n1 n3 > n1 n2 dead"}, {alive("n1"), "2: n2 n1 n3"}, {dead("n2"), "3: n1 n2 n3 > n2 n1 dead"}},
		"all die, the last comes back":  {{dead("n1"), "2: n2 n1 n3 > n1 n2 dead"}, {dead("n2"), "3: n3 n2 n1 > n2 n3 dead"}, {dead("n3"), "3: n3 n2 n1"}, {alive("n1"), "4: n1 n3 n2 > n3 n1 dead"}},
		"the owner drains":              {{drains("n1", true), "2: n2 n1- n3 > n1 n2 departing"}, {over("n1"), "2: n2 n3"}, {drains("n1", false), "2: n2 n3 n1"}},
		"a drain is called off":         {{drains("n1", true), "2: n2 n1- n3 > n1 n2 departing"}, {drains("n1", false), "2: n2 n1 n3"}},
		"a standby drains":              {{drains("n3", true), "1: n1 n2 n3-"}, {over("n3"), "1: n1 n2"}},
		"all drain, one after another": {{drains("n1", true), "2: n2 n1- n3 > n1 n2 departing"}, {drains("n2", true), "3: n3 n2- n1- > n2 n3 departing"},
			{drains("n3", true), "3: n3- n2- n1-"}, {over("n3"), "3: n3- n2- n1-"}, {over("n1"), "3: n3- n2-"}, {drains("n2", false), "4: n2 n3- > n3 n2 departing"}},
		"the owner dies while others drain": {{drains("n2", true), "1: n1 n2- n3"}, {dead("n1"), "2: n3 n1 n2- > n1 n3 dead"}},
		"a node dies while it drains":       {{drains("n1", true), "2: n2 n1- n3 > n1 n2 departing"}, {dead("n1"), "2: n2 n1- n3"}, {over("n1"), "2: n2 n3"}},
		"the owner is no longer selected":   {{selects("n2", "n3"), "2: n2 n1- n3 > n1 n2 departing"}, {over("n1"), "2: n2 n3"}, {selects("n1", "n2", "n3"), "2: n2 n3 n1"}},
		"nobody is selected any more":       {{selects(), "1: n1- n2- n3-"}, {over("n1"), "2: n2- n3- > n1 n2 departing"}, {over("n3"), "2: n2-"}, {over("n2"), "3: > n2  departing"}, {selects("n1"), "4: n1"}},
		"the owner's Node is deleted":       {{gone("n1"), "2: n2 n3 > n1 n2 gone"}},
		"another node is selected":          {{selects("n1", "n2", "n3", "n4"), "1: n1 n2 n3 n4"}},
		"all are others":                    {{selects("n4"), "2: n4 n1- n2- n3- > n1 n4 departing"}},
		"nodes have failed over":            {{owns("n3", 1), "2: n3 n1 n2 > n1 n3 failover"}, {owns("n1", 0), "2: n3 n1 n2"}},
		"the first says that it owns": {{func(w *world) { owns("n1", 1)(w); owns("n3", 1)(w) }, "1: n1 n2 n3"},
			{dead("n1"), "2: n3 n1 n2 > n1 n3 failover"}},
		"a dead owner's last report":     {{func(w *world) { owns("n1", 1)(w); owns("n3", 2)(w) }, "2: n3 n1 n2 > n1 n3 failover"}},
		"a node that is cut off":         {{func(w *world) { owns("n1", 3)(w); owns("n3", 1)(w) }, "1: n1 n2 n3"}},
		"others say so, it does not yet": {{func(w *world) { w.Reports[place(w, "n3")] = Report{Nodes: 4} }, "1: n1 n2 n3"}},
		"a report of an old term":        {{func(w *world) { owns("n3", 2)(w); w.leases["p"][0].Term++ }, "2: n1 n2 n3"}},
		"a dead node's report":           {{func(w *world) { dead("n3")(w); owns("n3", 1)(w) }, "1: n1 n2 n3"}},
		"a draining node's report":       {{func(w *world) { drains("n3", true)(w); owns("n3", 1)(w) }, "1: n1 n2 n3-"}},
		"no address of the family":       {{func(w *world) { w.change("n1", func(g *Gateway) { g.IPv4 = false }) }, "2: n2 n3 > n1 n2 departing"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(4, want("p", "n1", "n2", "n3").at("192.0.2.1"))
			w.leases = map[string][]Lease{"p": {{Address: netip.MustParseAddr("192.0.2.1"), VNI: 7, Term: 1, Gateways: []Member{{Node: "n1"}, {Node: "n2"}, {Node: "n3"}}}}}
			for i, s := range steps {
				s.do(w)
				a := w.pass(t)
				lease := w.leases["p"][0]
				got := list(lease)
				for _, m := range a.Moves {
					got += fmt.Sprintf(" > %s %s %s", m.From, m.To, m.Cause)
				}
				if got != s.want || lease.VNI != 7 {
					t.Fatalf("step %d: %s, VNI %d, want %s, 7", i+1, got, lease.VNI, s.want)
				}
				if again := w.pass(t); list(w.leases["p"][0]) != list(lease) || len(again.Moves) > 0 {
					t.Fatalf("step %d: once more: %s", i+1, list(w.leases["p"][0]))
				}
			}
		})
	}
}

// addresses of a policy, each with who else has it refused: "192.0.2.1 192.0.2.2" or "Taken 192.0.2.1".
func outcome(a Assignment, policy string) string {
	var words []string
	for _, l := range a.Leases[policy] {
		words = append(words, l.Address.String())
	}
	for _, r := range a.Refusals {
		if r.Policy == policy {
			words = append(words, string(r.Reason)+":", r.String())
		}
	}
	return strings.Join(words, " ")
}

func TestAddresses(t *testing.T) {
	one := Lease{Address: netip.MustParseAddr("192.0.2.1"), VNI: 1, Term: 1}
	two := Lease{Address: netip.MustParseAddr("192.0.2.2"), VNI: 2, Term: 1}
	holds := func(w Want, leases ...Lease) Want {
		w.Held = leases
		return w
	}
	pool := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/30")}
	for name, tt := range map[string]struct {
		wants []Want
		pools []netip.Prefix
		used  []Claim
		want  map[string]string
	}{
		"its own":  {[]Want{want("p", "n1")}, pool, nil, map[string]string{"p": "invalid IP"}},
		"explicit": {[]Want{want("p", "n1").at("192.0.2.1", "2001:db8::1", "192.0.2.1")}, nil, nil, map[string]string{"p": "192.0.2.1 2001:db8::1"}},
		"shared":   {[]Want{want("p", "n1").at("192.0.2.1"), want("q", "n1").at("192.0.2.1")}, nil, nil, map[string]string{"p": "192.0.2.1", "q": "192.0.2.1"}},
		"the older keeps it": {[]Want{want("p", "n1").at("192.0.2.1").since(young), want("q", "n2").at("192.0.2.1", "192.0.2.2")}, nil, nil,
			map[string]string{"q": "192.0.2.1 192.0.2.2", "p": "Taken: 192.0.2.1 is of EgressPolicy q, which has another gateway.nodeSelector and goes first by age and name: not in force here"}},
		"in no pool": {[]Want{want("p", "n1").at("192.0.2.1", "192.0.2.4")}, pool, nil,
			map[string]string{"p": "192.0.2.1 OutsidePools: 192.0.2.4 is in no AddressPool with use: Egress: not in force"}},
		"of a node": {[]Want{want("p", "n1").at("192.0.2.1")}, nil, []Claim{claim(NodeAddress, "n7", "192.0.2.1/32", old)},
			map[string]string{"p": "InUse: 192.0.2.1 is of node address n7: not in force"}},
		"of a PodCIDR": {[]Want{want("p", "n1").at("192.0.2.1")}, nil, []Claim{claim(Node, "n7", "192.0.2.0/24", old)},
			map[string]string{"p": "InUse: 192.0.2.1 is of Node n7: not in force"}},
		"of a Service that came later": {[]Want{holds(want("p", "n1").at("192.0.2.1"), one)}, nil, []Claim{claim(Service, "web/front", "192.0.2.1/32", old)},
			map[string]string{"p": "192.0.2.1 InUse: 192.0.2.1 is of Service web/front now: it stays in force, because it was there before"}},
		"no gateway":        {[]Want{want("p").at("192.0.2.1")}, nil, nil, map[string]string{"p": "192.0.2.1 NoGateway: no node matches gateway.nodeSelector: the fallback is in force"}},
		"no IPv6 gateway":   {[]Want{want("p", "n4").at("192.0.2.1", "2001:db8::1")}, nil, nil, map[string]string{"p": "192.0.2.1 2001:db8::1 NoFamily: 2001:db8::1: no node that matches gateway.nodeSelector has an IPv6 address: the fallback is in force"}},
		"no IPv4 gateway":   {[]Want{want("p", "n6").at("192.0.2.1")}, nil, nil, map[string]string{"p": "192.0.2.1 NoFamily: 192.0.2.1: no node that matches gateway.nodeSelector has an IPv4 address: the fallback is in force"}},
		"no address at all": {[]Want{want("p", "n7")}, nil, nil, map[string]string{"p": "invalid IP NoFamily: no node that matches gateway.nodeSelector has an address: the fallback is in force"}},
		"the pool is full":  {[]Want{want("p", "n1").of("192.0.2.1/32"), want("q", "n1").of("192.0.2.1/32")}, nil, nil, map[string]string{"p": "192.0.2.1", "q": "Exhausted: the pool has no IPv4 address left"}},
		"both families":     {[]Want{want("p", "n1").of("192.0.2.1/32", "2001:db8::5/128")}, nil, nil, map[string]string{"p": "192.0.2.1 2001:db8::5"}},
		"what it has stays": {[]Want{holds(want("p", "n1").of("192.0.2.0/29"), two)}, nil, nil, map[string]string{"p": "192.0.2.2"}},
		"two have the same": {[]Want{holds(want("p", "n1").of("192.0.2.2/31"), two), holds(want("q", "n1").of("192.0.2.2/31"), two)}, nil, nil, map[string]string{"p": "192.0.2.2", "q": "192.0.2.3"}},
		"not what others want, hold or use": {[]Want{want("a", "n1").of("192.0.2.0/29"), want("p", "n2").at("192.0.2.1").since(young), holds(want("q", "n1").of("192.0.2.0/29").since(young), two)}, nil,
			[]Claim{claim(Service, "a/b", "192.0.2.3/32", old), claim(Node, "n1", "192.0.2.4/31", old), claim(NodeAddress, "n2", "192.0.2.6/32", old)},
			map[string]string{"a": "192.0.2.7", "p": "192.0.2.1", "q": "192.0.2.2"}},
		"an older policy takes what a younger has of the pool": {[]Want{want("p", "n2").at("192.0.2.2"), holds(want("q", "n1").of("192.0.2.2/31").since(young), two)}, nil, nil,
			map[string]string{"p": "192.0.2.2", "q": "192.0.2.3"}},
		"a younger one does not": {[]Want{want("p", "n2").at("192.0.2.2").since(young), holds(want("q", "n1").of("192.0.2.2/31"), two)}, nil, nil,
			map[string]string{"q": "192.0.2.2", "p": "Taken: 192.0.2.2 is of EgressPolicy q, which has another gateway.nodeSelector and goes first by age and name: not in force here"}},
		"the pool has moved": {[]Want{holds(want("p", "n1").of("192.0.2.9/32"), two)}, nil, nil, map[string]string{"p": "192.0.2.9"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(3, tt.wants...)
			w.Gateways["n4"] = Gateway{Usable: true, IPv4: true}
			w.Gateways["n6"] = Gateway{Usable: true, IPv6: true}
			w.Gateways["n7"] = Gateway{Usable: true}
			w.Pools, w.Used = tt.pools, tt.used
			a := w.Assign()
			for policy, want := range tt.want {
				if got := outcome(a, policy); got != want {
					t.Errorf("%s: %s, want %s", policy, got, want)
				}
			}
			if name == "shared" && list(a.Leases["p"][0]) != list(a.Leases["q"][0]) {
				t.Errorf("they share an address and have %v and %v", a.Leases["p"], a.Leases["q"])
			}
		})
	}
	w := newWorld(0, want("p").at("192.0.2.1"))
	if a := w.Assign(); len(a.Refusals) > 0 {
		t.Errorf("no node is known, and yet: %v", a.Refusals)
	}
}

// TestPoolsHandOut takes all addresses of some prefixes.
func TestPoolsHandOut(t *testing.T) {
	for _, tt := range []struct {
		pool        string
		first, last string
		count       int
	}{
		{"192.0.2.240/29", "192.0.2.240", "192.0.2.247", 8},
		{"192.0.2.0/24", "192.0.2.1", "192.0.2.254", 254},
		{"192.0.2.255/32", "192.0.2.255", "192.0.2.255", 1},
		{"2001:db8::/124", "2001:db8::1", "2001:db8::f", 15},
		{"2001:db8::/127", "2001:db8::", "2001:db8::1", 2},
		{"2001:db8::ffff:ffff:ffff:fff8/125", "2001:db8::ffff:ffff:ffff:fff9", "2001:db8::ffff:ffff:ffff:ffff", 7},
	} {
		var wants []Want
		for i := range tt.count + 3 {
			wants = append(wants, want(fmt.Sprint("p", i), "n1").of(tt.pool))
		}
		w := newWorld(1, wants...)
		a := w.pass(t)
		var got []netip.Addr
		for _, leases := range a.Leases {
			got = append(got, leases[0].Address)
		}
		slices.SortFunc(got, netip.Addr.Compare)
		if len(got) != tt.count || len(slices.Compact(got)) != tt.count || got[0].String() != tt.first || got[len(got)-1].String() != tt.last {
			t.Errorf("%s: %v", tt.pool, got)
		}
		if len(a.Refusals) != 3 || a.Refusals[0].Reason != Exhausted {
			t.Errorf("%s: %v", tt.pool, a.Refusals)
		}
	}
	large := newWorld(1, want("p", "n1").of("2001:db8::/32", "10.0.0.0/8"))
	if a := large.pass(t); len(a.Leases["p"]) != 2 {
		t.Errorf("large pools: %+v", a)
	}
	used := newWorld(1, want("p", "n1").of("10.0.0.0/8"))
	used.Used = []Claim{claim(Node, "n1", "10.0.0.0/8", old)}
	if a := used.pass(t); outcome(a, "p") != "Exhausted: the pool has no IPv4 address left" {
		t.Errorf("a pool that others use: %s", outcome(a, "p"))
	}
}

func TestCover(t *testing.T) {
	for addresses, want := range map[string]string{
		"":                                       "",
		"10.0.0.1":                               "10.0.0.1/32",
		"10.0.0.1 10.0.0.2":                      "10.0.0.1/32 10.0.0.2/32",
		"10.0.0.3 10.0.0.2 10.0.0.2":             "10.0.0.2/31",
		"10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7":    "10.0.0.4/30",
		"10.0.0.4 10.0.0.5 10.0.0.7 2001:db8::1": "10.0.0.4/31 10.0.0.7/32 2001:db8::1/128",
		"2001:db8::1 2001:db8::3 2001:db8:: 10.0.0.0 2001:db8::2": "10.0.0.0/32 2001:db8::/126",
	} {
		var all []netip.Addr
		for _, a := range strings.Fields(addresses) {
			all = append(all, netip.MustParseAddr(a))
		}
		var got []string
		for _, p := range Cover(append(all, netip.Addr{})) {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", addresses, got, want)
		}
	}
}
