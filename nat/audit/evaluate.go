package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxRuns   = 256 // of one evaluation: each uncertain match doubles them
	maxDepth  = 32  // of jumps; the kernel allows 16
	maxOrders = 24  // of base chains that have the same priority
)

// Evaluate says what becomes of a packet in the base chains. Those of one priority run in the order of their registration,
// the last first (kernel 6.18), and nothing tells that order: all orders are tried.
func Evaluate(rules Ruleset, p Packet) Result {
	base := slices.DeleteFunc(slices.Clone(rules.Base), func(c *Chain) bool { return !c.sees(p) })
	slices.SortStableFunc(base, func(a, b *Chain) int { return cmp.Compare(a.Priority, b.Priority) })
	if len(rules.Unread) > 0 {
		return Result{Outcome: Outcome{Kind: Unknown, Why: strings.Join(rules.Unread, "; ")}}
	}
	var result Result
	for i, order := range orders(base) {
		this := explore(rules, order, p)
		switch {
		case i == 0:
			result = this
		case !result.same(this.Outcome):
			possible := append(alternatives(result), alternatives(this)...)
			result.Possible = slices.CompactFunc(possible, Outcome.same)
			result.Outcome = Outcome{Kind: Unknown, Rule: cmp.Or(result.Rule, this.Rule),
				Why: "tables of the same priority disagree, and the kernel does not tell which of them is first"}
			return result
		}
	}
	return result
}

func alternatives(r Result) []Outcome {
	if len(r.Possible) > 0 {
		return r.Possible
	}
	return []Outcome{r.Outcome}
}

// sees tells whether packets of the version come to the chain.
func (c *Chain) sees(p Packet) bool {
	return c.Name.Family == "inet" || c.Name.Family == "ip" == p.Source.Is4()
}

// orders gives all orders of sorted chains that keep the priorities; the number is bounded.
func orders(base []*Chain) [][]*Chain {
	all := [][]*Chain{{}}
	for len(base) > 0 {
		n := 1
		for n < len(base) && base[n].Priority == base[0].Priority {
			n++
		}
		var longer [][]*Chain
		for _, begin := range all {
			for _, group := range permutations(base[:n]) {
				if len(longer) < maxOrders {
					longer = append(longer, slices.Concat(begin, group))
				}
			}
		}
		all, base = longer, base[n:]
	}
	return all
}

func permutations(list []*Chain) [][]*Chain {
	if len(list) < 2 {
		return [][]*Chain{list}
	}
	var all [][]*Chain
	for i := range list {
		for _, rest := range permutations(slices.Delete(slices.Clone(list), i, i+1)) {
			if all = append(all, append([]*Chain{list[i]}, rest...)); len(all) >= maxOrders {
				return all
			}
		}
	}
	return all
}

// explore follows every way through the chains that uncertain matches leave open.
func explore(rules Ruleset, base []*Chain, p Packet) Result {
	var result Result
	var first *walk
	open := [][]int{nil}
	for runs := 0; len(open) > 0; runs++ {
		way := open[len(open)-1]
		open = open[:len(open)-1]
		w := &walk{rules: rules, packet: p, way: way}
		w.run(base)
		if first == nil {
			first, result = w, Result{Outcome: w.outcome, Steps: w.steps, Possible: []Outcome{w.outcome}}
		}
		if !slices.ContainsFunc(result.Possible, w.outcome.same) {
			result.Possible = append(result.Possible, w.outcome)
		}
		if result.Kind != Unknown && !w.outcome.same(first.outcome) {
			result.Outcome = Outcome{Kind: Unknown, Rule: w.met[len(way)-1].rule, Why: "it depends on what cannot be told here"}
			if w.outcome.Kind == Unknown {
				result.Outcome = w.outcome
			}
		}
		if runs == maxRuns {
			result.Outcome = Outcome{Kind: Unknown, Rule: first.met[0].rule, Why: "too many matches that cannot be told here"}
			break
		}
		for i := len(way); i < len(w.met); i++ {
			for c := 1; c < w.met[i].ways; c++ {
				open = append(open, append(append(slices.Clone(way), make([]int, i-len(way))...), c))
			}
		}
	}
	if result.Kind != Unknown {
		result.Possible = nil
	}
	return result
}

// doubt is a place where the way divides.
type doubt struct {
	rule *Rule
	ways int
}

// walk is one way through the chains.
type walk struct {
	rules    Ruleset
	packet   Packet
	markLost bool  // what the mark is cannot be told
	way      []int // which to take at the first doubts; at later ones the first
	met      []doubt
	steps    []Step
	outcome  Outcome
	ended    bool // NAT has ended for the packet
}

func (w *walk) choose(rule *Rule, ways int) int {
	i := len(w.met)
	w.met = append(w.met, doubt{rule, ways})
	if i < len(w.way) {
		return w.way[i]
	}
	return 0
}

func (w *walk) step(where, rule, format string, args ...any) {
	w.steps = append(w.steps, Step{Where: where, What: fmt.Sprintf(format, args...), Rule: rule})
}

func (w *walk) end(rule *Rule, o Outcome) {
	o.Rule, w.ended = rule, true
	if w.rules.Prerouting {
		o.Mark = w.packet.Mark
	}
	if w.rules.Prerouting && w.markLost {
		o = Outcome{Kind: Unknown, Rule: rule, Why: "what mark it gets cannot be told"}
	}
	w.outcome = o
}

func (w *walk) run(base []*Chain) {
	for _, c := range base {
		w.step(c.Name.String(), "", "enters, priority %d", c.Priority)
		control := w.chain(c, 0)
		if w.ended {
			return
		}
		if control != accepted && c.Drops {
			w.step(c.Name.String(), "", "comes to the end and is dropped by the policy of the chain")
			w.end(nil, Outcome{Kind: Dropped})
			return
		}
	}
	address := w.packet.Source
	if w.rules.Prerouting {
		address = w.packet.Destination
	}
	w.end(nil, Outcome{Kind: Unchanged, Address: address})
}

// control is how a chain was left.
type control int

const (
	fellThrough control = iota
	accepted            // the base chain has ended
)

func (w *walk) chain(c *Chain, depth int) control {
	switch {
	case c.Unread != "":
		w.end(&Rule{Chain: c.Name, Text: c.Unread}, Outcome{Kind: Unknown, Why: c.Unread})
		return accepted
	case depth > maxDepth:
		w.end(nil, Outcome{Kind: Unknown, Why: "the jumps do not end"})
		return accepted
	}
	for i := range c.Rules {
		rule := &c.Rules[i]
		verdict := w.rule(rule)
		if w.ended {
			return accepted
		}
		switch verdict.Do {
		case Accept:
			w.step(c.Name.String(), rule.inChain(), "accepted: ends this base chain, not NAT")
			return accepted
		case Drop:
			w.step(c.Name.String(), rule.inChain(), "dropped")
			w.end(rule, Outcome{Kind: Dropped})
			return accepted
		case Return:
			w.step(c.Name.String(), rule.inChain(), "returns")
			return fellThrough
		case Jump, Goto:
			w.step(c.Name.String(), rule.inChain(), "goes to chain %s", verdict.Chain)
			name := c.Name
			name.Chain = verdict.Chain
			next := w.rules.Load(name)
			if next == nil {
				w.end(rule, Outcome{Kind: Unknown, Why: "chain " + verdict.Chain + " was not read"})
				return accepted
			}
			if left := w.chain(next, depth+1); left == accepted || verdict.Do == Goto {
				return left
			}
		}
	}
	return fellThrough
}

// rule gives the verdict of a rule; Continue if it has none for the packet.
func (w *walk) rule(r *Rule) Verdict {
	for i, statement := range r.Statements {
		switch s := statement.(type) {
		case Match, Uncertain:
			switch w.holds(s) {
			case no:
				return Verdict{Do: Continue}
			case maybe:
				if w.fails(r.Statements[i+1:]) || w.choose(r, 2) == 0 {
					return Verdict{Do: Continue}
				}
				w.step(r.Chain.String(), r.inChain(), "supposing that it matches, which cannot be told here")
			}
		case Lookup:
			if verdict := w.lookup(r, s); verdict.Do != Continue {
				return verdict
			}
			return Verdict{Do: Continue} // as a match that fails
		case SetMark:
			w.setMark(r, s)
		case Translate:
			if s.Version != 0 && s.Version != w.packet.version() {
				return Verdict{Do: Continue}
			}
			if !w.translate(r, s) {
				return Verdict{Do: Continue}
			}
			return Verdict{Do: Accept}
		case Verdict:
			return s
		case Opaque:
			w.end(r, Outcome{Kind: Unknown, Why: "the rule has a part that is not understood"})
			w.step(r.Chain.String(), r.inChain(), "not understood")
			return Verdict{Do: Continue}
		}
	}
	return Verdict{Do: Continue}
}

func (w *walk) setMark(r *Rule, s SetMark) {
	p := &w.packet
	from, lost := p.Mark, w.markLost
	if s.FromConnection {
		from, lost = p.ConnectionMark, s.And&^p.ConnectionMarkKnown != 0
	}
	mark, lost := from&s.And^s.Xor, lost && s.And != 0 || s.Unknown
	if s.Connection {
		p.ConnectionMark, p.ConnectionMarkKnown = mark, ^uint32(0)
		if lost {
			p.ConnectionMarkKnown = 0
		}
		return
	}
	if w.packet.Mark, w.markLost = mark, lost; lost {
		w.step(r.Chain.String(), r.inChain(), "changes the mark, to what cannot be told here")
	} else {
		w.step(r.Chain.String(), r.inChain(), "mark becomes 0x%x", mark)
	}
}

// fails tells whether one of the matches that follow does not hold for sure.
func (w *walk) fails(following []Statement) bool {
	for _, s := range following {
		switch s.(type) {
		case Match, Uncertain:
			if w.holds(s) == no {
				return true
			}
		default:
			return false
		}
	}
	return false
}

func (w *walk) lookup(r *Rule, s Lookup) Verdict {
	possible := []Verdict{}
	for _, e := range s.Entries {
		switch w.within(s.Keys, e.Key) {
		case yes:
			possible = append(possible, e.Verdict)
			return possible[w.pick(r, len(possible))]
		case maybe:
			possible = append(possible, e.Verdict)
		}
	}
	if len(possible) == 0 {
		return Verdict{Do: Continue}
	}
	if len(s.Keys) != 1 || s.Keys[0].Modulus == 0 || len(possible) < s.Keys[0].Modulus {
		possible = append(possible, Verdict{Do: Continue}) // it may be in none of them
	}
	return possible[w.pick(r, len(possible))]
}

// pick is choose where there may be no doubt.
func (w *walk) pick(r *Rule, ways int) int {
	if ways == 1 {
		return 0
	}
	return w.choose(r, ways)
}

// translate ends NAT, unless none of the targets is for the packet.
func (w *walk) translate(r *Rule, s Translate) bool {
	if s.Masquerade {
		w.end(r, Outcome{Kind: Masqueraded, Interface: w.packet.Out})
		w.step(r.Chain.String(), r.inChain(), "masqueraded: %s", w.outcome)
		return true
	}
	var possible []Target
	sure := false
	for _, target := range s.Targets {
		held := w.within(s.Keys, target.Key)
		if held != no {
			possible = append(possible, target)
		}
		if sure = held == yes; sure {
			break
		}
	}
	if len(possible) == 0 {
		return false
	}
	ways := len(possible)
	if !sure {
		ways++
	}
	i := w.pick(r, ways)
	if i == len(possible) {
		return false
	}
	was := w.packet.Source
	if w.rules.Prerouting {
		was = w.packet.Destination
	}
	w.end(r, possible[i].of(was))
	switch {
	case w.rules.Prerouting:
		w.step(r.Chain.String(), r.inChain(), "destination becomes %s", w.outcome)
	case w.outcome.Kind == Unchanged:
		w.step(r.Chain.String(), r.inChain(), "keeps %s by a mapping to itself, which ends NAT", was)
	default:
		w.step(r.Chain.String(), r.inChain(), "source becomes %s", w.outcome)
	}
	return true
}

// of applies the target to an address.
func (t Target) of(a netip.Addr) Outcome {
	o := Outcome{Kind: Translated, Address: t.First, Last: t.Last, Port: t.Port}
	switch {
	case t.Network.IsValid() && t.Network.Addr().BitLen() == a.BitLen():
		o.Address = graft(t.Network, a)
	case !t.First.IsValid():
		o.Address = a
	}
	if o.Last == o.Address {
		o.Last = netip.Addr{}
	}
	if o.Address == a && !o.Last.IsValid() && t.Port == 0 {
		o.Kind = Unchanged
	}
	return o
}

// graft puts the host part of an address into a network.
func graft(network netip.Prefix, a netip.Addr) netip.Addr {
	n, h := network.Masked().Addr().AsSlice(), a.AsSlice()
	for bit := network.Bits(); bit < len(n)*8; bit++ {
		n[bit/8] |= h[bit/8] & (0x80 >> (bit % 8))
	}
	addr, _ := netip.AddrFromSlice(n)
	return addr
}
