package nftables

import (
	"fmt"
	"slices"

	"sigs.k8s.io/knftables"

	"github.com/waymark-bgp/waymark/nat"
)

// The names of what is there only with egress gateways, besides those that end in a number.
const (
	prerouting = "prerouting"
	forward    = "forward"
	input      = "input"

	restore   = "restore"
	refuse    = "refuse"
	undecided = "undecided"
	usual     = "usual"

	arrivals   = "arrivals"
	departures = "departures"
	exits      = "exits"
)

func group(g nat.Group) string     { return named("group", g.Name) }
func classVia(c nat.Class) string  { return classChain(c) + "_via" }
func path(mark uint16) string      { return fmt.Sprintf("path%d", mark) }
func arrival(mark uint16) string   { return fmt.Sprintf("arrival%d", mark) }
func departure(mark uint16) string { return fmt.Sprintf("departure%d", mark) }

func (f family) podsVia() string        { return "via" + f.number }
func (f family) via(c nat.Class) string { return classVia(c) + f.number }
func (f family) peers() string          { return "peers" + f.number }
func (f family) exits() string          { return exits + f.number }

// ourBits are the bits of marks that name paths, otherBits all the others.
var (
	ourBits   = fmt.Sprintf("0x%08x", uint32(nat.MarkMask))
	otherBits = fmt.Sprintf("0x%08x", ^uint32(nat.MarkMask))
)

func bits(mark uint16) string { return fmt.Sprintf("0x%08x", uint32(mark)<<nat.MarkShift) }

// spread is the seed of the hash that spreads pods over paths: without one the kernel draws another with every change.
const spread = "0x77617961"

// usesGateways tells whether the plan needs more than source NAT.
func usesGateways(p nat.Plan, t nat.Table) bool {
	return p.Tunnel.Prefix != "" || slices.ContainsFunc(t.Classes, func(c nat.Class) bool { return slices.ContainsFunc(c.Decisions, early) })
}

// early tells whether the decision has to fall before the packet is routed.
func early(d nat.Decision) bool { return d.Source == nat.SourceGateway || d.Source == nat.SourceDrop }

// addGateways adds what egress gateways need, at the nodes of the pods and at the gateways.
func (r *ruleset) addGateways(p nat.Plan, t nat.Table) {
	p.Exits = slices.SortedFunc(slices.Values(p.Exits), func(a, b nat.Exit) int { return int(a.Mark) - int(b.Mark) })
	r.chain(refuse)
	r.rule(refuse, "drop", "it has no address to leave with")
	r.chain(undecided)
	r.rule(undecided, "fib saddr type local return", "the node's own, with an address among its pods'")
	r.rule(undecided, "drop", "its path was not decided")
	r.addPaths(t)
	r.addExits(p)
	r.addDecision(p, t)
	if p.Tunnel.Prefix != "" {
		r.addForward(p)
	}
	if p.Tunnel.Port != 0 {
		r.addInput(p.Tunnel)
	}
}

// addPaths adds the chains that name a connection's path.
func (r *ruleset) addPaths(t nat.Table) {
	r.chain(restore)
	r.rule(restore, "meta mark & "+otherBits+" == 0 meta mark set ct mark & "+ourBits+" return", "")
	// An operation on two marks needs Linux 6.13: one bit at a time where others have marked the packet, too.
	r.rule(restore, "meta mark set meta mark & "+otherBits, "")
	for bit := uint16(1); bit <= nat.MaxMark; bit <<= 1 {
		r.rule(restore, "ct mark & "+bits(bit)+" != 0 meta mark set meta mark | "+bits(bit), "")
	}
	done := map[uint16]bool{}
	for _, g := range t.Groups {
		marks, chain := g.Marks, group(g)
		r.chain(chain)
		r.rule(chain, "ct state invalid,untracked drop", "its source could not be changed")
		for at, mark := range marks[:len(marks)-1] {
			for _, f := range families {
				r.rule(chain, fmt.Sprintf("jhash %s saddr mod %d seed %s %d goto %s", f.word, len(marks), spread, at, path(mark)), "")
			}
		}
		r.rule(chain, "goto "+path(marks[len(marks)-1]), "")
		for _, mark := range marks {
			if !done[mark] {
				r.chain(path(mark))
				r.rule(path(mark), "ct mark set ct mark & "+otherBits+" | "+bits(mark), "")
				r.rule(path(mark), "goto "+restore, "")
			}
			done[mark] = true
		}
	}
}

// addExits adds what gives traffic that comes out of the tunnels, and of pods here, its egress address.
func (r *ruleset) addExits(p nat.Plan) {
	if p.Tunnel.Prefix == "" {
		return
	}
	r.rule(postrouting, "oifname "+tunnels(p.Tunnel)+" goto "+keepPod, "what a tunnel carries keeps its address")
	if len(p.Exits) == 0 {
		return
	}
	r.keyedVerdicts(departures, "egress addresses")
	for _, exit := range p.Exits {
		r.chain(arrival(exit.Mark))
		r.rule(arrival(exit.Mark), "meta mark set meta mark & "+otherBits+" | "+bits(exit.Mark), exit.Device)
		r.chain(departure(exit.Mark))
		for _, text := range departureRules(exit) {
			r.rule(departure(exit.Mark), text, exit.Device)
		}
		r.key(departures, bits(exit.Mark), departure(exit.Mark))
	}
	r.rule(postrouting, "meta mark & "+ourBits+" != 0 fib saddr type local return", "a tunnel's outer packets bear the mark, too")
	r.rule(postrouting, "meta mark & "+ourBits+" vmap @"+departures, "egress addresses")
}

// departureRules give a connection the address and a port. ICMP has queries' identifiers for ports, other protocols none.
func departureRules(e nat.Exit) []string {
	to := func(target, ports string, protocols ...string) []string {
		var rules []string
		if e.Last != 0 {
			for _, protocol := range protocols {
				rules = append(rules, fmt.Sprintf("meta l4proto %s %s fully-random", protocol, fmt.Sprintf(ports, e.First, e.Last)))
			}
		}
		return append(rules, target+" fully-random")
	}
	switch {
	case !e.Address.IsValid():
		return to("masquerade", "masquerade to :%d-%d", "tcp", "udp", "icmp", "icmpv6")
	case e.Address.Is4():
		return append(to("snat ip to "+e.Address.String(), "snat ip to "+e.Address.String()+":%d-%d", "tcp", "udp", "icmp"), "drop")
	}
	return append(to("snat ip6 to "+e.Address.String(), "snat ip6 to ["+e.Address.String()+"]:%d-%d", "tcp", "udp", "icmpv6"), "drop")
}

// addDecision adds what names the path of a connection with its first packet. It comes after DNAT, so that the destination is
// the real one, and before routing.
func (r *ruleset) addDecision(p nat.Plan, t nat.Table) {
	r.chain(usual) // without a rule: nothing is to be done before the packet is routed
	all := slices.ContainsFunc(t.Classes[0].Decisions, early)
	for i, class := range t.Classes {
		r.chain(classVia(class))
		for _, f := range families {
			r.verdicts(f.via(class), f, "destination to group of paths")
			r.rule(classVia(class), f.word+" daddr vmap @"+f.via(class), "policies, IPv"+f.number)
		}
		if i > 0 {
			r.rule(classVia(class), "goto "+classVia(t.Classes[0]), "as for all pods")
		}
		if !all && !slices.ContainsFunc(class.Decisions, early) {
			continue
		}
		for _, pods := range class.Pods {
			r.element(familyOf(pods.First).podsVia(), pods, classVia(class))
		}
		for _, d := range class.Decisions {
			switch d.Source {
			case nat.SourceGateway:
				r.element(familyOf(d.First).via(class), d.Range, group(t.Groups[d.Group]))
			case nat.SourceDrop:
				r.element(familyOf(d.First).via(class), d.Range, refuse)
			default:
				if i > 0 && all {
					r.element(familyOf(d.First).via(class), d.Range, usual)
				}
			}
		}
	}
	r.base(prerouting, knftables.FilterType, knftables.PreroutingHook, knftables.DNATPriority+"+10")
	if len(p.Exits) > 0 {
		r.keyedVerdicts(arrivals, "tunnels")
		for _, exit := range p.Exits {
			r.key(arrivals, exit.Device, arrival(exit.Mark))
		}
		r.rule(prerouting, "iifname vmap @"+arrivals, "out of the tunnels")
	}
	r.rule(prerouting, "meta mark & 0x4000 != 0 return", "kube-proxy will masquerade this")
	r.rule(prerouting, "ct direction reply return", "")
	r.rule(prerouting, "ct mark & "+ourBits+" != 0 goto "+restore, "decided")
	r.rule(prerouting, "ct state established,related return", "decided, or older than the policy")
	for _, f := range families {
		r.verdicts(f.podsVia(), f, "pods of this node to class")
		r.rule(prerouting, f.word+" saddr vmap @"+f.podsVia(), "pods, IPv"+f.number)
	}
}

// addForward adds what keeps packets from leaving otherwise than they were meant to.
func (r *ruleset) addForward(p nat.Plan) {
	all := tunnels(p.Tunnel)
	r.base(forward, knftables.FilterType, knftables.ForwardHook, knftables.FilterPriority)
	r.rule(forward, "iifname "+all+" oifname "+all+" drop", "never from tunnel to tunnel")
	r.rule(forward, "iifname "+all+" meta mark & "+ourBits+" == 0 drop", "its way out has gone")
	r.rule(forward, "iifname "+all+" ct state invalid,untracked drop", "its source could not be changed")
	for _, f := range families {
		r.ranges(f.exits(), f, "egress addresses")
		// The destination of a connection that is known here has been translated by now.
		r.rule(forward, "iifname "+all+" "+f.word+" daddr @"+f.exits()+" drop", "handed over, and not known here either")
	}
	for _, exit := range p.Exits {
		if a := exit.Address; a.IsValid() {
			r.element(familyOf(a).exits(), nat.Range{First: a, Last: a}, "")
		}
	}
	r.rule(forward, "ct mark & "+ourBits+" == 0 return", "on no path")
	if len(p.Exits) > 0 {
		r.keyed(exits, "egress addresses")
		for _, exit := range p.Exits {
			r.key(exits, bits(exit.Mark), "")
		}
		r.rule(forward, "ct mark & "+ourBits+" @"+exits+" return", "they leave here")
	}
	r.rule(forward, "ct direction original oifname != "+all+" drop", "its tunnel is missing")
	// The kernel never raises the value (nft_exthdr).
	r.rule(forward, fmt.Sprintf("meta nfproto ipv4 tcp flags & syn == syn tcp option maxseg size set %d", p.Tunnel.MTU-40), "fit the tunnel")
	r.rule(forward, fmt.Sprintf("meta nfproto ipv6 tcp flags & syn == syn tcp option maxseg size set %d", p.Tunnel.MTU-60), "fit the tunnel")
}

// addInput adds who may use the tunnels.
func (r *ruleset) addInput(t nat.Tunnel) {
	r.base(input, knftables.FilterType, knftables.InputHook, knftables.FilterPriority)
	for _, f := range families {
		r.ranges(f.peers(), f, "nodes that may use tunnels")
		r.rule(input, fmt.Sprintf("udp dport %d %s saddr @%s accept", t.Port, f.word, f.peers()), "")
	}
	r.rule(input, fmt.Sprintf("udp dport %d drop", t.Port), "no node")
	for _, peers := range nat.Ranges(t.Peers) {
		r.element(familyOf(peers.First).peers(), peers, "")
	}
}

// tunnels matches all tunnel devices.
func tunnels(t nat.Tunnel) string { return `"` + t.Prefix + `*"` }
