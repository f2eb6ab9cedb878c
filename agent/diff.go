package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/nat"
)

// Change is something that is otherwise in one plan than in the plan before.
type Change struct {
	// Mark is "+" for what comes, "-" for what goes, "~" for what changes, "!" for what takes traffic away, or may.
	Mark string `json:"mark"`
	Kind string `json:"kind"` // session, prefix, policy, egress, routes, node, problem
	Name string `json:"name"` // of the kind; empty: the only one
	Text string `json:"text"` // what becomes of it
}

func (c Change) String() string {
	if c.Name == "" {
		return fmt.Sprintf("%s %s %s", c.Mark, c.Kind, c.Text)
	}
	return fmt.Sprintf("%s %s %s %s", c.Mark, c.Kind, c.Name, c.Text)
}

// Diff is what changes when after takes the place of before. What after leaves undecided stays as it is. It is pure.
func Diff(before, after Plan) []Change {
	var d difference
	d.drain(before, after)
	if after.BGP != nil {
		d.sessions(before, after)
		d.prefixes(before.BGP, after.BGP)
		d.routes(before, after)
	}
	if after.NAT != nil {
		d.policies(before.NAT, after.NAT)
	}
	if after.Egress != nil {
		d.egress(before.Egress, after.Egress)
	}
	d.problems(before.Problems, after.Problems)
	return d
}

type difference []Change

func (d *difference) add(mark, kind, name, format string, args ...any) {
	*d = append(*d, Change{Mark: mark, Kind: kind, Name: name, Text: fmt.Sprintf(format, args...)})
}

func (d *difference) drain(before, after Plan) {
	switch {
	case after.Drained && !before.Drained:
		d.add("!", "node", "", "drains: it withdraws all it announces, sessions stay")
	case before.Drained && !after.Drained:
		d.add("~", "node", "", "drains no longer")
	}
}

func (d *difference) sessions(before, after Plan) {
	old := before.BGP
	if old == nil {
		old = &bgp.Config{}
	}
	all := old.Restarts(after.BGP)
	ended := 0
	for i := range old.Peers {
		was := &old.Peers[i]
		now := peerAt(after.BGP, was.Address)
		if now == nil {
			ended++
			d.add("-", "session", was.Name, "with %s, AS %d, is removed", was.Address, was.ASN)
			continue
		}
		resets := append(slices.Clone(all), was.Restarts(now)...)
		others := append(was.Adapts(now), watching(before, after, was.Address)...)
		switch {
		case len(resets) > 0 && len(others) > 0:
			d.add("~", "session", now.Name, "is reset: %s; changes too: %s", strings.Join(resets, ", "), strings.Join(others, ", "))
		case len(resets) > 0:
			d.add("~", "session", now.Name, "is reset: %s", strings.Join(resets, ", "))
		case len(others) > 0:
			d.add("~", "session", now.Name, "changes without a reset: %s", strings.Join(others, ", "))
		}
		if len(resets) > 0 {
			ended++
		}
	}
	for i := range after.BGP.Peers {
		if now := &after.BGP.Peers[i]; peerAt(old, now.Address) == nil {
			d.add("+", "session", now.Name, "with %s, AS %d, is added", now.Address, now.ASN)
		}
	}
	if ended > 0 && ended == len(old.Peers) {
		d.add("!", "node", "", "loses all sessions that it has (%d), until new ones are up", ended)
	}
}

func peerAt(c *bgp.Config, address netip.Addr) *bgp.Peer {
	i := slices.IndexFunc(c.Peers, func(p bgp.Peer) bool { return p.Address == address })
	if i < 0 {
		return nil
	}
	return &c.Peers[i]
}

// watching names what becomes of the BFD session of a peer.
func watching(before, after Plan, address netip.Addr) []string {
	of := func(p Plan) *bfd.SessionConfig {
		i := slices.IndexFunc(p.BFD, func(s bfd.SessionConfig) bool { return peerOf(bfd.Status{Key: s.Key}) == address })
		if i < 0 {
			return nil
		}
		return &p.BFD[i]
	}
	was, now := of(before), of(after)
	switch {
	case was == nil && now == nil, was != nil && now != nil && *was == *now:
		return nil
	case now == nil:
		return []string{"bfd is removed, and a router with strict BFD ends the session if it still has it"}
	case was == nil:
		return []string{"bfd is added"}
	}
	return []string{"bfd"}
}

func (d *difference) prefixes(before, after *bgp.Config) {
	was := map[netip.Prefix]bgp.Announcement{}
	if before != nil {
		for _, a := range before.Announce {
			was[a.Prefix] = a
		}
	}
	for _, a := range after.Announce {
		old, announced := was[a.Prefix]
		delete(was, a.Prefix)
		if !announced {
			d.add("+", "prefix", a.Prefix.String(), "is announced")
			continue
		}
		if !slices.Equal(old.Communities, a.Communities) {
			d.add("~", "prefix", a.Prefix.String(), "is announced with communities %s, before %s", listed(a.Communities), listed(old.Communities))
		}
		if old.Rank != a.Rank {
			d.add("~", "prefix", a.Prefix.String(), "is announced with rank %d, before %d", a.Rank, old.Rank)
		}
	}
	if before == nil {
		return
	}
	for _, a := range before.Announce {
		if _, gone := was[a.Prefix]; gone {
			d.add("!", "prefix", a.Prefix.String(), "is withdrawn")
		}
	}
}

// routes are the rules by which routes are learned, and where they go.
func (d *difference) routes(before, after Plan) {
	var was []bgp.FilterRule
	if before.BGP != nil {
		was = before.BGP.Accept
	}
	for _, r := range after.BGP.Accept {
		if !slices.Contains(was, r) {
			d.add("+", "routes", "", "to %s of length %d..%d are learned", r.Prefix, r.MinLength, r.MaxLength)
		}
	}
	for _, r := range was {
		if !slices.Contains(after.BGP.Accept, r) {
			d.add("!", "routes", "", "to %s of length %d..%d are learned only if another rule says so", r.Prefix, r.MinLength, r.MaxLength)
		}
	}
	if b, a := before.Routes, after.Routes; b != nil && a != nil && (b.Table != a.Table || b.Metric != a.Metric) {
		d.add("~", "routes", "", "go to table %d with metric %d, before table %d, metric %d", a.Table, a.Metric, b.Table, b.Metric)
	}
}

func (d *difference) policies(before, after *nat.Plan) {
	was := map[string]nat.Policy{}
	if before != nil {
		for _, p := range before.Policies {
			was[p.Name] = p
		}
	}
	for _, p := range inOrder(after.Policies) {
		old, there := was[p.Name]
		delete(was, p.Name)
		if !there {
			d.add("+", "policy", p.Name, "is added: priority %d, source %s", p.Priority, p.Source)
		} else if changes := policyChanges(old, p); len(changes) > 0 {
			d.add("~", "policy", p.Name, "changes for new connections: %s", strings.Join(changes, "; "))
		}
	}
	if before == nil {
		return
	}
	for _, p := range inOrder(before.Policies) {
		if _, gone := was[p.Name]; gone {
			d.add("-", "policy", p.Name, "is removed: priority %d, source %s", p.Priority, p.Source)
		}
	}
}

// inOrder are policies as they are asked: lower priority first, ties by name.
func inOrder(policies []nat.Policy) []nat.Policy {
	return slices.SortedFunc(slices.Values(policies), func(a, b nat.Policy) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
}

func policyChanges(was, now nat.Policy) []string {
	var changes []string
	if was.Priority != now.Priority {
		changes = append(changes, fmt.Sprintf("priority %d, before %d", now.Priority, was.Priority))
	}
	if was.Source != now.Source {
		changes = append(changes, fmt.Sprintf("source %s, before %s", now.Source, was.Source))
	}
	if was.Source == now.Source && was.Fallback != now.Fallback {
		changes = append(changes, fmt.Sprintf("fallback %s, before %s", now.Fallback, was.Fallback))
	}
	changes = append(changes, listChange("destinations", "everything", was.Destinations, now.Destinations)...)
	changes = append(changes, listChange("excluded destinations", "none", was.Exclude, now.Exclude)...)
	switch more, fewer := lacking(now.Pods, was.Pods), lacking(was.Pods, now.Pods); {
	case was.Selects && !now.Selects:
		changes = append(changes, "all pods, before selected ones")
	case !was.Selects && now.Selects:
		changes = append(changes, "selected pods, before all")
	case len(more)+len(fewer) > 0:
		changes = append(changes, fmt.Sprintf("pod addresses: %d more, %d fewer", len(more), len(fewer)))
	}
	return changes
}

// listChange tells how a list has changed; without entries it has a name of its own.
func listChange(what, empty string, was, now []netip.Prefix) []string {
	more, fewer := lacking(now, was), lacking(was, now)
	var parts []string
	for _, p := range more {
		parts = append(parts, "+"+p.String())
	}
	for _, p := range fewer {
		parts = append(parts, "-"+p.String())
	}
	switch {
	case len(parts) == 0:
		return nil
	case len(now) == 0:
		return []string{what + ": " + empty}
	case len(was) == 0:
		return []string{fmt.Sprintf("%s: %s, before %s", what, strings.Join(parts, " "), empty)}
	}
	return []string{what + ": " + strings.Join(parts, " ")}
}

// lacking are those of a list that the other one lacks.
func lacking[T comparable](list, other []T) []T {
	if slices.Equal(list, other) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return slices.Contains(other, v) })
}

func listed(communities []bgp.Community) string {
	if len(communities) == 0 {
		return "none"
	}
	var texts []string
	for _, c := range communities {
		texts = append(texts, c.String())
	}
	return strings.Join(texts, " ")
}

func (d *difference) problems(before, after []Problem) {
	for _, p := range lacking(after, before) {
		d.add("!", "problem", "", "comes: %s", p)
	}
	for _, p := range lacking(before, after) {
		d.add("-", "problem", "", "goes: %s", p)
	}
}
