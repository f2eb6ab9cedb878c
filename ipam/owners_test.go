package ipam

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// large is a world of many addresses of all sorts, on all of the gateways.
func large(gateways, policies int) *world {
	w := newWorld(gateways)
	nodes := slices.Sorted(maps.Keys(w.Gateways))
	for i := range policies {
		p := want(fmt.Sprint("p", i), nodes...).since(old.Add(time.Duration(i%7) * time.Hour))
		switch i % 3 {
		case 0:
			p = p.of("10.9.0.0/16")
		case 1:
			p = p.at(fmt.Sprintf("10.8.%d.%d", i/256, i%256))
		}
		w.Wants = append(w.Wants, p)
	}
	return w
}

// firsts are the owners by policy.
func (w *world) firsts() map[string]string {
	owners := map[string]string{}
	for policy, leases := range w.leases {
		owners[policy] = firstOf(leases[0].Gateways)
	}
	return owners
}

// load is how many addresses the most and the least loaded of some nodes own.
func load(owners map[string]string, nodes []string) (most, least int) {
	count := map[string]int{}
	for _, n := range owners {
		count[n]++
	}
	least = len(owners)
	for _, n := range nodes {
		most, least = max(most, count[n]), min(least, count[n])
	}
	return most, least
}

func TestFreshStartIsEven(t *testing.T) {
	for gateways := 1; gateways <= 12; gateways++ {
		w := large(gateways, 100)
		w.pass(t)
		if most, least := load(w.firsts(), slices.Collect(maps.Keys(w.Gateways))); most-least > 1 {
			t.Errorf("%d gateways: between %d and %d addresses each", gateways, least, most)
		}
		seen := map[uint32]bool{}
		for policy, leases := range w.leases {
			if n := len(leases[0].Gateways); n != min(gateways, maxGateways) || seen[leases[0].VNI] {
				t.Errorf("%d gateways: %s has %d, VNI %d", gateways, policy, n, leases[0].VNI)
			}
			seen[leases[0].VNI] = true
		}
		second := map[string]int{} // who takes over from n1
		for _, leases := range w.leases {
			if g := leases[0].Gateways; g[0].Node == "n1" && len(g) > 1 {
				second[g[1].Node]++
			}
		}
		if gateways == 4 && len(second) != 3 {
			t.Errorf("all that n1 has goes to the same: %v", second)
		}
	}
}

// TestMovement lets gateways come, go, die and drain at random. What an address has that is still good stays.
func TestMovement(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 5))
	w := large(12, 60)
	w.pass(t)
	all := slices.Sorted(maps.Keys(w.Gateways))
	for step := range 2000 {
		node := all[random.IntN(len(all))]
		what := random.IntN(5)
		switch what {
		case 0:
			w.change(node, func(g *Gateway) { g.Usable = !g.Usable })
		case 1:
			w.change(node, func(g *Gateway) { g.Leaving = !g.Leaving })
		case 2:
			if _, there := w.Gateways[node]; there {
				delete(w.Gateways, node)
			} else {
				w.Gateways[node] = Gateway{Usable: true, IPv4: true, IPv6: true}
			}
		case 3:
			for i := range w.Wants {
				if at := slices.Index(w.Wants[i].Nodes, node); at >= 0 {
					w.Wants[i].Nodes = slices.Delete(slices.Clone(w.Wants[i].Nodes), at, at+1)
				} else {
					w.Wants[i].Nodes = append(slices.Clone(w.Wants[i].Nodes), node)
				}
			}
		case 4:
			for _, leases := range w.leases {
				w.Over[Place{node, leases[0].VNI, leases[0].Term}] = true
			}
		}
		before, firsts := w.leases, w.firsts()
		a := w.pass(t)
		moved := 0
		for policy, leases := range w.leases {
			was, is := before[policy][0], leases[0]
			if was.VNI != is.VNI || was.Address != is.Address {
				t.Fatalf("step %d: %s had %v with VNI %d, now %v with %d", step, policy, was.Address, was.VNI, is.Address, is.VNI)
			}
			i := slices.IndexFunc(w.Wants, func(x Want) bool { return x.Policy == policy })
			able := func(node string) bool {
				g := w.Gateways[node]
				return g.Usable && !g.Leaving && slices.Contains(w.Wants[i].Nodes, node)
			}
			first := firstOf(is.Gateways)
			if first != firsts[policy] {
				if firsts[policy] != "" {
					moved++
				}
				if able(firsts[policy]) {
					t.Fatalf("step %d: %s moved from %s, which is as good as before, to %s", step, policy, firsts[policy], first)
				}
			}
			if (first != firsts[policy]) != (is.Term == was.Term+1) || first == firsts[policy] && is.Term != was.Term {
				t.Fatalf("step %d: %s: %s, then %s", step, policy, list(was), list(is))
			}
			if !able(first) && slices.ContainsFunc(w.Wants[i].Nodes, able) {
				t.Fatalf("step %d: %s is owned by %q, which cannot: %s", step, policy, first, list(is))
			}
			staying := 0
			seen := map[string]bool{}
			for _, m := range is.Gateways {
				if !m.Leaving {
					staying++
				}
				if _, there := w.Gateways[m.Node]; !there || seen[m.Node] {
					t.Fatalf("step %d: %s: %s", step, policy, list(is))
				}
				seen[m.Node] = true
			}
			if staying > maxGateways || len(is.Gateways) > maxGateways+maxLeaving {
				t.Fatalf("step %d: %s: %s", step, policy, list(is))
			}
			// Those who stay do so in the same order, but for the one that has become first.
			rest := func(members []Member, others []Member) []string {
				var names []string
				for _, m := range members {
					if m.Node != first && slices.ContainsFunc(others, func(o Member) bool { return o.Node == m.Node }) {
						names = append(names, m.Node)
					}
				}
				return names
			}
			if x, y := rest(was.Gateways, is.Gateways), rest(is.Gateways, was.Gateways); !slices.Equal(x, y) {
				t.Fatalf("step %d: %s: %s, then %s", step, policy, list(was), list(is))
			}
		}
		if len(a.Moves) != moved {
			t.Fatalf("step %d: %d moves told of, %d made", step, len(a.Moves), moved)
		}
	}
}

// TestComingBack takes each gateway away and puts it back: nothing moves back to it.
func TestComingBack(t *testing.T) {
	for _, away := range []struct {
		name string
		do   func(*world, string, bool)
	}{
		{"dead", func(w *world, n string, back bool) { w.change(n, func(g *Gateway) { g.Usable = back }) }},
		{"drained", func(w *world, n string, back bool) { w.change(n, func(g *Gateway) { g.Leaving = !back }) }},
		{"deleted", func(w *world, n string, back bool) {
			delete(w.Gateways, n)
			if back {
				w.Gateways[n] = Gateway{Usable: true, IPv4: true, IPv6: true}
			}
		}},
	} {
		w := large(5, 50)
		w.pass(t)
		for _, n := range []string{"n1", "n2", "n3", "n4", "n5"} {
			before := w.firsts()
			away.do(w, n, false)
			w.pass(t)
			without := w.firsts()
			for policy, owner := range without {
				if before[policy] != n && before[policy] != owner || owner == n {
					t.Errorf("%s %s: %s moved from %s to %s", n, away.name, policy, before[policy], owner)
				}
			}
			away.do(w, n, true)
			w.pass(t)
			if back := w.firsts(); !maps.Equal(back, without) {
				t.Errorf("%s was %s and came back: %v, then %v", n, away.name, without, back)
			}
		}
	}
}

// TestLossOfState forgets everything that some policies hold, and removes others: the rest stays as it is, and what begins
// anew gets the same address and VNI.
func TestLossOfState(t *testing.T) {
	w := large(4, 90)
	w.pass(t)
	before := w.leases
	fresh := large(4, 90)
	slices.Reverse(fresh.Wants)
	fresh.pass(t)
	for policy, leases := range before {
		if got := fresh.leases[policy][0]; got.Address != leases[0].Address || got.VNI != leases[0].VNI || list(got) != list(leases[0]) {
			t.Errorf("from nothing, in another order: %s has %v, and had %v", policy, got, leases[0])
		}
	}
	w.Wants = slices.DeleteFunc(w.Wants, func(x Want) bool { return x.Policy == "p30" || x.Policy == "p31" || x.Policy == "p32" })
	w.leases = maps.Clone(before)
	for i := range 30 {
		delete(w.leases, fmt.Sprint("p", 60+i))
	}
	w.pass(t)
	for policy, leases := range w.leases {
		if was := before[policy][0]; leases[0].Address != was.Address || leases[0].VNI != was.VNI {
			t.Errorf("%s has %v with VNI %d, and had %v with %d", policy, leases[0].Address, leases[0].VNI, was.Address, was.VNI)
		}
	}
}

// TestFullLists has more candidates than places: those dead give theirs away only when too few are left.
func TestFullLists(t *testing.T) {
	w := large(10, 1)
	w.pass(t)
	members := slices.Clone(w.leases["p0"][0].Gateways)
	for i, m := range members {
		w.change(m.Node, func(g *Gateway) { g.Usable = false })
		w.pass(t)
		usable := 0
		for _, m := range w.leases["p0"][0].Gateways {
			if w.Gateways[m.Node].Usable {
				usable++
			}
		}
		if want := max(7-i, 2); usable != want || len(w.leases["p0"][0].Gateways) != 8 {
			t.Errorf("%d of 8 are dead: %s", i+1, list(w.leases["p0"][0]))
		}
	}
	many := newWorld(30, want("p").at("192.0.2.1"))
	for i := range 30 { // all others are selected, again and again, while those before still leave
		many.Wants[0].Nodes = nil
		for j := range 8 {
			many.Wants[0].Nodes = append(many.Wants[0].Nodes, fmt.Sprint("n", (8*i+j)%30+1))
		}
		many.pass(t)
		if l := many.leases["p"][0]; len(l.Gateways) > maxGateways+maxLeaving || !slices.Contains(many.Wants[0].Nodes, l.Gateways[0].Node) {
			t.Fatalf("%s of %v", list(l), many.Wants[0].Nodes)
		}
	}
	two := newWorld(1, want("p", "n1").at("192.0.2.1"), want("q", "n1").at("192.0.2.2"))
	two.leases = map[string][]Lease{"p": {{Address: two.Wants[0].Addresses[0], VNI: 5, Term: 3}}, "q": {{Address: two.Wants[1].Addresses[0], VNI: 5, Term: 3}}}
	two.pass(t)
	if p, q := two.leases["p"][0], two.leases["q"][0]; p.VNI != 5 || q.VNI == 5 || q.Term != 4 {
		t.Errorf("one VNI twice in the state: %+v, %+v", p, q)
	}
}
