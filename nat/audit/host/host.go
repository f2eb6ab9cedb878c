// Package host asks this machine with which source address a packet of a pod would leave: it puts the rules that the
// packet meets and the routes that it takes together.
package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/audit"
	"github.com/waymark-bgp/waymark/nat/audit/command"
	"github.com/waymark-bgp/waymark/nat/audit/iptables"
	"github.com/waymark-bgp/waymark/nat/audit/nft"
)

// Rules are what decides over source addresses, for one IP version.
type Rules struct {
	Paths       audit.Ruleset // Waymark's choice of an egress gateway, by a mark
	Services    audit.Ruleset // translations of destinations; empty if they were not asked for
	Forward     audit.Ruleset // what Waymark drops, where it works by iptables
	Sources     audit.Ruleset
	NotFollowed []string // base chains that a packet meets besides, which might mark or drop it
}

const ownTable = "waymark"

// Read finds the rules for IPv4 or IPv6. Most of them are read while questions are asked and a packet comes to them, so ctx
// is to last until then.
func Read(ctx context.Context, version int, services bool) Rules {
	r := reader{ctx: ctx, family: map[int]string{4: "ip", 6: "ip6"}[version], tables: map[audit.ChainName]table{}}
	rules := Rules{
		Paths:    audit.Ruleset{Prerouting: true, Load: r.load},
		Services: audit.Ruleset{Prerouting: true, Load: r.load},
		Forward:  audit.Ruleset{Load: r.load},
		Sources:  audit.Ruleset{Load: r.load},
	}
	of := map[string]*audit.Ruleset{"postrouting": &rules.Sources}
	if services {
		of["prerouting"] = &rules.Services
	}
	chains, err := nft.Chains(ctx)
	switch {
	case errors.Is(err, command.Missing):
		rules.Sources.Unread = append(rules.Sources.Unread, "the rules of nftables cannot be read: there is no nft command here")
	case err != nil:
		rules.Sources.Unread = append(rules.Sources.Unread, err.Error())
	}
	for _, c := range chains {
		ruleset := of[c.Hook]
		switch {
		case c.Hook == "" || c.Family != r.family && c.Family != "inet":
		case c.Table == ownTable && c.Hook == "prerouting" && c.Type == "filter":
			rules.Paths.Base = append(rules.Paths.Base, r.nft(c))
		case c.Type == "nat" && ruleset != nil:
			ruleset.Base = append(ruleset.Base, r.base(c))
		case c.Type == "nat" && c.Hook == "prerouting" && c.Table == "nat":
			addOwn(&rules.Paths, r.base(c))
		case c.Table == "filter" && c.Name == "FORWARD" && c.Hook == "forward":
			addOwn(&rules.Forward, r.base(c))
			fallthrough
		case c.Type != "nat" && slices.Contains([]string{"prerouting", "forward", "postrouting"}, c.Hook):
			rules.NotFollowed = append(rules.NotFollowed, fmt.Sprintf("%s table %s chain %s (%s, priority %d)", c.Family, c.Table, c.Name, c.Hook, c.Priority))
		}
	}
	if forward := r.legacy("filter", "FORWARD", &rules.Forward); forward != nil {
		addOwn(&rules.Forward, forward)
		rules.NotFollowed = append(rules.NotFollowed, forward.Name.String())
	}
	for hook, ruleset := range of {
		if base := r.legacy("nat", strings.ToUpper(hook), ruleset); base != nil {
			ruleset.Base = append(ruleset.Base, base)
		}
	}
	if base := r.legacy("nat", "PREROUTING", &rules.Paths); base != nil && !services {
		addOwn(&rules.Paths, base)
	}
	return rules
}

// legacy gives a built-in chain of legacy iptables; nil: its table is not in use, or it cannot be read, which the ruleset notes.
func (r *reader) legacy(name, chain string, into *audit.Ruleset) *audit.Chain {
	id := audit.ChainName{Tool: "legacy", Family: r.family, Table: name}
	if r.tables[id] == nil {
		t, err := iptables.Legacy(r.ctx, r.family, name)
		if err != nil {
			into.Unread = append(into.Unread, err.Error())
		}
		if t == nil {
			return nil
		}
		r.tables[id] = t
		id.Tool = t.Tool()
		r.tables[id] = t
		id.Tool = "legacy"
	}
	return r.tables[id].(*iptables.Table).Base(chain)
}

// addOwn adds of a chain what is Waymark's, which chooses egress gateways and drops what has none there if it works by iptables.
func addOwn(r *audit.Ruleset, c *audit.Chain) {
	own := *c
	own.Rules = slices.DeleteFunc(slices.Clone(c.Rules), func(rule audit.Rule) bool { return rule.Owner() != ownTable })
	if len(own.Rules) > 0 {
		r.Base = append(r.Base, &own)
	}
}

// table reads chains.
type table interface {
	Chain(name string) *audit.Chain
}

type reader struct {
	ctx    context.Context
	family string
	tables map[audit.ChainName]table // by the name of a chain without the chain
}

func (r *reader) load(name audit.ChainName) *audit.Chain {
	chain := name.Chain
	name.Chain = ""
	if t := r.tables[name]; t != nil {
		return t.Chain(chain)
	}
	return nil
}

// base reads a chain by iptables if that has made it, because nft does not understand all of what that writes.
func (r *reader) base(c nft.Chain) *audit.Chain {
	if c.Family == "inet" || c.Table != "nat" && c.Table != "filter" || c.Name != strings.ToUpper(c.Hook) {
		return r.nft(c)
	}
	t := iptables.NFT(r.ctx, c.Family, c.Table)
	base := t.Base(c.Name)
	if base.Unread != "" {
		return r.nft(c) // there is no iptables here, or another program has written rules that iptables does not understand
	}
	base.Priority = c.Priority
	r.tables[audit.ChainName{Tool: t.Tool(), Family: c.Family, Table: c.Table}] = t
	return base
}

func (r *reader) nft(c nft.Chain) *audit.Chain {
	id := audit.ChainName{Tool: nft.Tool, Family: c.Family, Table: c.Table}
	t, ok := r.tables[id].(*nft.Table)
	if !ok {
		t = nft.NewTable(r.ctx, c.Family, c.Table)
		r.tables[id] = t
	}
	return t.Base(c)
}

// AskAll reads the rules and answers all questions. What cannot be answered is Unknown, and says why.
func AskAll(ctx context.Context, questions []audit.Question) []audit.Answer {
	rules := map[int]Rules{}
	answers := make([]audit.Answer, len(questions))
	for i, q := range questions {
		version := q.Version()
		if _, read := rules[version]; !read {
			rules[version] = Read(ctx, version, false)
		}
		answer, err := Ask(rules[version], q)
		switch {
		case unroutable(err):
			answer.Result = audit.Result{Outcome: audit.Outcome{Kind: audit.Stays}}
		case err != nil:
			answer.Result = audit.Result{Outcome: audit.Outcome{Kind: audit.Unknown, Why: err.Error()}}
		}
		answers[i] = answer
	}
	return answers
}

// Ask evaluates the rules and routes that a packet meets, in the order in which it meets them.
func Ask(rules Rules, q audit.Question) (audit.Answer, error) {
	a := audit.Answer{To: q.To, Port: q.Port}
	in, err := device(q.Pod)
	if err != nil {
		a.Notes = append(a.Notes, err.Error())
	}
	a.In = in
	p := audit.Packet{Source: q.Pod, Destination: q.To, Protocol: q.Protocol, Port: q.Port, In: in}
	p.ConnectionMarkKnown = ^uint32(0) // it is new
	for _, before := range []audit.Ruleset{rules.Services, rules.Paths} {
		if t, err := typeOf(p.Destination); err == nil {
			p.DestinationType = t
		}
		precede(&a, before, &p)
		if a.Kind == audit.Unknown || a.Kind == audit.Dropped {
			return a, nil
		}
	}
	// Waymark gives packet and connection the same bits. Of the others nothing is known after other chains.
	p.ConnectionMark, p.ConnectionMarkKnown = p.Mark&nat.MarkMask, nat.MarkMask
	a.To, a.Port = p.Destination, p.Port
	way, err := wayOf(p)
	if err != nil {
		return a, err
	}
	p.Out, p.DestinationType = way.out, way.kind
	a.Out, a.Gateway = way.out, way.gateway
	steps := append(a.Steps, audit.Step{Where: "routing", What: way.String()})
	if way.kind == "local" {
		a.Result = audit.Result{Outcome: audit.Outcome{Kind: audit.Stays}, Steps: steps}
		a.Source = q.Pod
		a.Notes = append(a.Notes, fmt.Sprintf("%s is an address of this node: the packet does not leave it", p.Destination))
		return a, nil
	}
	a.Result = audit.Result{}
	if len(rules.Forward.Base) > 0 || len(rules.Forward.Unread) > 0 {
		a.Result = audit.Evaluate(rules.Forward, p)
		steps = append(steps, a.Steps...)
	}
	if a.Kind != audit.Unknown && a.Kind != audit.Dropped {
		a.Result = audit.Evaluate(rules.Sources, p)
		steps = append(steps, a.Steps...)
	}
	a.Steps = steps
	switch a.Kind {
	case audit.Masqueraded:
		a.Source, err = masquerade(way, p.Destination)
		if err != nil {
			return a, err
		}
	case audit.Unchanged, audit.Translated:
		if !a.Last.IsValid() {
			a.Source = a.Address
		}
	}
	return a, nil
}

// precede follows what happens before routing. Of several ways the first is followed, with a note.
func precede(a *audit.Answer, rules audit.Ruleset, p *audit.Packet) {
	if len(rules.Base) == 0 && len(rules.Unread) == 0 {
		return
	}
	result := audit.Evaluate(rules, *p)
	outcome := result.Outcome
	if result.Kind == audit.Unknown {
		// Of a Service's endpoints one is chosen at random, of several gateways by a hash: that is no reason not to know.
		known := slices.DeleteFunc(slices.Clone(result.Possible), func(o audit.Outcome) bool { return o.Kind == audit.Unknown })
		if len(known) == 0 || len(known) < len(result.Possible) {
			a.Result, a.Steps = result, append(a.Steps, result.Steps...)
			return
		}
		i := slices.IndexFunc(known, func(o audit.Outcome) bool { return o.Kind == audit.Translated || o.Mark != p.Mark })
		outcome = known[max(i, 0)]
		a.Notes = append(a.Notes, fmt.Sprintf("what happens before routing has %d outcomes; this is for one of them: destination %s, mark 0x%x", len(known), outcome, outcome.Mark))
	}
	a.Steps = append(a.Steps, result.Steps...)
	if outcome.Kind == audit.Dropped {
		a.Result = audit.Result{Outcome: outcome, Steps: a.Steps}
		return
	}
	if outcome.Kind == audit.Translated {
		a.Notes = append(a.Notes, fmt.Sprintf("%s is translated first; what follows is for %s", p.Destination, outcome))
		p.Destination, p.Translated = outcome.Address, true
		if outcome.Port != 0 {
			p.Port = outcome.Port
		}
	}
	p.Mark = outcome.Mark
}
