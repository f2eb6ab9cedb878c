package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/waymark-bgp/waymark/nat"
)

// What is there only with egress gateways. The path of a connection is decided in the last place of PREROUTING of table nat,
// where only those packets come that nobody has given another destination: iptables has no place after DNAT and before
// routing. What DNAT sends to a destination of a gateway is dropped, rather than leave with an address that is not meant.
var (
	manglePrerouting = hook{table: "mangle", chain: "PREROUTING"}
	natPrerouting    = hook{table: "nat", chain: "PREROUTING", last: true}
	filterForward    = hook{table: "filter", chain: "FORWARD"}
	filterInput      = hook{table: "filter", chain: "INPUT"}
)

// maxSpread is over how many paths connections are spread at most, and how many parts the pods' addresses are divided in by
// their last bits. xt_cluster, which hashes them, puts all of IPv6 into one part (Linux 6.18); HMARK replaces all bits of a mark.
const maxSpread = 16

// kubeProxy matches what kube-proxy will masquerade.
const kubeProxy = "-m mark --mark 0x4000/0x4000"

var (
	noPath    = fmt.Sprintf("--mark 0x0/%#x", nat.MarkMask|0x4000) // and not kube-proxy's
	saveMark  = fmt.Sprintf("-j CONNMARK --save-mark --nfmask %#x --ctmask %#x", nat.MarkMask, nat.MarkMask)
	getMark   = fmt.Sprintf("-j CONNMARK --restore-mark --nfmask %#x --ctmask %#x", nat.MarkMask, nat.MarkMask)
	undecided = fmt.Sprintf("--mark 0x0/%#x", nat.MarkMask)
)

// bits are a mark and the mask of all.
func bits(mark uint16) string {
	return fmt.Sprintf("%#x/%#x", uint32(mark)<<nat.MarkShift, nat.MarkMask)
}

// addGateways adds what egress gateways need in a family, at the nodes of the pods and at the gateways.
func (r *ruleset) addGateways(f family, p nat.Plan, t nat.Table) {
	exits := slices.SortedFunc(slices.Values(p.Exits), func(a, b nat.Exit) int { return int(a.Mark) - int(b.Mark) })
	tunnels := p.Tunnel.Prefix + "+"
	c := r.chains[f]

	if p.Tunnel.Prefix != "" {
		r.addArrivals(f, exits, tunnels)
	}
	r.addDecision(f, t)
	if p.Tunnel.Prefix != "" {
		r.addForward(f, exits, p.Tunnel)
		c.add(natPostrouting, "-o %s %s", tunnels, identity[f])
		if len(exits) > 0 { // a tunnel's outer packets bear the mark, too
			c.add(natPostrouting, "-m mark ! %s -m addrtype --src-type LOCAL -j RETURN", undecided)
		}
		for _, exit := range exits {
			addDeparture(c, f, exit)
			if a := exit.Address; a.IsValid() && a.Is4() == (f == ipv4) {
				// Whose pods will come and where they go to is not known here: the address and other nodes stand for them.
				r.addProbes(f, a, of(f, nat.Ranges(p.Tunnel.Peers)))
			}
		}
	}
	if p.Tunnel.Port != 0 {
		if peers := nat.Ranges(p.Tunnel.Peers); len(of(f, peers)) > 0 {
			c.add(filterInput, "-p udp -m udp --dport %d -m set --match-set %s src -j RETURN", p.Tunnel.Port, r.sets.add(f, of(f, peers)))
		}
		c.add(filterInput, "-p udp -m udp --dport %d -j DROP", p.Tunnel.Port)
	}
}

// addArrivals adds marks of what comes out of the tunnels.
func (r *ruleset) addArrivals(f family, exits []nat.Exit, tunnels string) {
	for _, exit := range exits {
		r.chains[f].add(manglePrerouting, "-i %s -j MARK --set-xmark %s", exit.Device, bits(exit.Mark))
	}
	r.chains[f].add(manglePrerouting, "-i %s -j RETURN", tunnels)
}

// addDecision adds what names the path of a connection with its first packet and remembers it, and what drops connections
// that should have a path and have none.
func (r *ruleset) addDecision(f family, t nat.Table) {
	c := r.chains[f]
	c.add(manglePrerouting, "%s -j RETURN", kubeProxy)
	c.add(manglePrerouting, "-m conntrack --ctdir REPLY -j RETURN")
	c.add(manglePrerouting, "-m connmark ! %s %s", undecided, getMark)
	c.add(natPrerouting, "-m mark ! %s -j RETURN", noPath) // a tunnel has brought it, or kube-proxy will masquerade it
	c.add(natPrerouting, "-m conntrack ! --ctstate NEW -j RETURN")
	frame := len(c[natPrerouting])
	for _, class := range inOrder(t) {
		r.addEarly(f, t, class)
	}
	if len(c[natPrerouting]) == frame {
		delete(c, natPrerouting)
		return
	}
	c.add(natPrerouting, "-m mark ! %s %s", undecided, saveMark)
}

// addEarly adds what falls of a class before the packet is routed. What no path is for is as usual, whatever comes after.
func (r *ruleset) addEarly(f family, t nat.Table, class nat.Class) {
	c, pods := r.chains[f], of(f, class.Pods)
	if len(pods) == 0 {
		return
	}
	var usual, refused []nat.Range
	groups := map[int][]nat.Range{}
	for _, d := range class.Decisions {
		if d.First.Is4() != (f == ipv4) {
			continue
		}
		switch d.Source {
		case nat.SourceGateway:
			groups[d.Group] = append(groups[d.Group], d.Range)
			refused = append(refused, d.Range)
		case nat.SourceDrop:
			refused = append(refused, d.Range)
		default:
			usual = append(usual, d.Range)
		}
	}
	if len(usual) > 0 {
		c.add(filterForward, "-m mark %s -m conntrack --ctstate INVALID,NEW,UNTRACKED %s -j RETURN", noPath, r.match(f, pods, usual))
		c.add(natPrerouting, "-m mark %s %s -j RETURN", noPath, r.match(f, pods, usual))
	}
	if len(refused) > 0 {
		c.add(filterForward, "-m mark %s -m conntrack --ctstate INVALID,NEW,UNTRACKED %s -j DROP", noPath, r.match(f, pods, refused))
	}
	for i, group := range t.Groups {
		if len(groups[i]) == 0 {
			continue
		}
		marks := group.Marks[:min(len(group.Marks), maxSpread)]
		for at, mark := range marks {
			part := ""
			if len(marks) > 1 {
				part = spread(f, at, len(marks))
			}
			c.add(natPrerouting, "-m mark %s %s %s-j MARK --set-xmark %s", noPath, r.match(f, pods, groups[i]), part, bits(mark))
		}
	}
}

// addForward adds what keeps packets from leaving otherwise than they were meant to.
func (r *ruleset) addForward(f family, exits []nat.Exit, tunnel nat.Tunnel) {
	c, tunnels := r.chains[f], tunnel.Prefix+"+"
	c.add(filterForward, "-i %s -o %s -j DROP", tunnels, tunnels)
	c.add(filterForward, "-i %s -m mark %s -j DROP", tunnels, undecided)                    // its way out has gone
	c.add(filterForward, "-i %s -m conntrack --ctstate INVALID,UNTRACKED -j DROP", tunnels) // its source could not be changed
	var addresses []netip.Prefix
	for _, exit := range exits {
		switch a := exit.Address; {
		case !a.IsValid():
		case a.Is4() == (f == ipv4):
			addresses = append(addresses, netip.PrefixFrom(a, a.BitLen()))
		default:
			c.add(filterForward, "-m mark --mark %s -j DROP", bits(exit.Mark)) // it has no address of this family
		}
	}
	if ranges := nat.Ranges(addresses); len(ranges) > 0 { // handed over, and not known here either: else it were translated by now
		c.add(filterForward, "-i %s -m set --match-set %s dst -j DROP", tunnels, r.sets.add(f, ranges))
	}
	c.add(filterForward, "-m connmark %s -j RETURN", undecided)
	for _, exit := range exits {
		c.add(filterForward, "-m connmark --mark %s -j RETURN", bits(exit.Mark))
	}
	c.add(filterForward, "-m conntrack --ctdir ORIGINAL ! -o %s -j DROP", tunnels) // its tunnel is missing
	size := tunnel.MTU - 40
	if f == ipv6 {
		size = tunnel.MTU - 60
	}
	c.add(filterForward, "-p tcp -m tcp --tcp-flags SYN SYN -m tcpmss --mss %d:65535 -j TCPMSS --set-mss %d", size+1, size)
}

// addDeparture adds the egress address and ports. Protocols without ports get the address.
func addDeparture(c chains, f family, exit nat.Exit) {
	matches := fmt.Sprintf("-m mark --mark %s", bits(exit.Mark))
	target, ports := "-j MASQUERADE", fmt.Sprintf(" --to-ports %d-%d", exit.First, exit.Last)
	if a := exit.Address; a.IsValid() {
		if a.Is4() != (f == ipv4) {
			return
		}
		target, ports = "-j SNAT --to-source "+a.String(), fmt.Sprintf(":%d-%d", exit.First, exit.Last)
		if f == ipv6 && exit.Last != 0 {
			target = "-j SNAT --to-source [" + a.String() + "]"
		}
	}
	if exit.Last != 0 {
		protocols := []string{"tcp", "udp", "icmp"}
		if f == ipv6 {
			protocols = protocols[:2] // the command knows no ports of ICMPv6
		}
		for _, protocol := range protocols {
			c.add(natPostrouting, "-p %s %s %s%s --random-fully", protocol, matches, target, ports)
		}
	}
	if exit.Address.IsValid() {
		target = "-j SNAT --to-source " + exit.Address.String()
	}
	c.add(natPostrouting, "%s %s --random-fully", matches, target)
}

// spread matches one of several parts of the source addresses.
func spread(f family, part, parts int) string {
	var bits []string
	for i := part; i < maxSpread; i += parts {
		bits = append(bits, fmt.Sprintf("%#x", i))
	}
	at := 12 // of the last four bytes of the source address in the header
	if f == ipv6 {
		at = 20
	}
	return fmt.Sprintf("-m u32 --u32 \"%#x&%#x=%s\" ", at, maxSpread-1, strings.Join(bits, ","))
}

// match matches pods and destinations by sets.
func (r *ruleset) match(f family, pods, destinations []nat.Range) string {
	return fmt.Sprintf("-m set --match-set %s src -m set --match-set %s dst", r.sets.add(f, pods), r.sets.add(f, destinations))
}

// of gives the ranges of a family.
func of(f family, ranges []nat.Range) []nat.Range {
	return slices.DeleteFunc(slices.Clone(ranges), func(r nat.Range) bool { return r.First.Is4() != (f == ipv4) })
}

// usesGateways tells whether the plan needs more than source NAT.
func usesGateways(p nat.Plan, t nat.Table) bool {
	return p.Tunnel.Prefix != "" || slices.ContainsFunc(t.Classes, func(c nat.Class) bool {
		return slices.ContainsFunc(c.Decisions, func(d nat.Decision) bool { return d.Source == nat.SourceGateway || d.Source == nat.SourceDrop })
	})
}
