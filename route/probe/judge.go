package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Leave says what can be said before anything is sent. With the verdict Sent the packets go to the gateway, or to a router
// that may lead to it.
func (n *Network) Leave(t *Target, s Start) Finding {
	f := Finding{Prefix: t.Prefix, Node: t.Node, Verdict: Aside}
	switch {
	case s.Own:
		f.Verdict, f.Reason = Own, "this machine is the node: ask from another one"
	case s.Error != "":
		f.Verdict, f.Reason = NoWay, "this machine does not send: "+s.Error
	case !s.NextHop.IsValid():
		f.Reason = fmt.Sprintf("this machine sends by its device %s, past the gateway: ask from another one", s.Device)
	case slices.Contains(n.Addresses, s.NextHop):
		f.Verdict, f.Reason = Sent, fmt.Sprintf("this machine sends to %s", n.name(s.NextHop))
	case n.Gateways[s.NextHop] != "":
		f.Verdict, f.Reason = WrongGateway, fmt.Sprintf("this machine sends to %s", n.name(s.NextHop))
	case n.Nodes[s.NextHop] != "":
		f.Reason = fmt.Sprintf("this machine sends to %s, past the gateway: ask from another one", n.name(s.NextHop))
	default:
		f.Verdict, f.Reason = Sent, fmt.Sprintf("this machine sends to %s, a router that may lead to %s", s.NextHop, n.Gateway)
	}
	return f
}

// Judge says what the hops of a path to an address of the target tell. They are in the order of their TTL; hops that nobody
// asked for may be missing. near is the least TTL at which nodes beside this one were found to be right, 0: unknown. The way by
// another node is longer, so that at this TTL or before none can be hidden; else whoever is before the node must answer.
func (n *Network) Judge(t *Target, address netip.Addr, hops []Hop, near int) Finding {
	f := Finding{Prefix: t.Prefix, Node: t.Node, Address: address, Hops: hops}
	f.Verdict, f.Reason = n.judge(t, address, hops, near)
	if f.Verdict != Right {
		return f
	}
	passed := func(h Hop) bool { return slices.Contains(n.Addresses, h.From) }
	other := slices.IndexFunc(hops, func(h Hop) bool { return n.Gateways[h.From] != "" && !passed(h) })
	if other >= 0 && !slices.ContainsFunc(hops, passed) {
		f.Verdict, f.Reason = WrongGateway, "by "+n.name(hops[other].From)
	}
	return f
}

func (n *Network) judge(t *Target, address netip.Addr, hops []Hop, near int) (Verdict, string) {
	if a, b, found := loop(hops); found {
		return Loop, fmt.Sprintf("between %s and %s", n.name(a), n.name(b))
	}
	var last Hop // that answered
	for _, h := range hops {
		proven := h.TTL <= max(1, near) || last.TTL == h.TTL-1
		switch node := n.Nodes[h.From]; {
		case node == t.Node && node != "" && proven:
			return Right, ""
		case node == t.Node && node != "":
			return Unproven, fmt.Sprintf("%s answers, and what is before it does not", n.name(h.From))
		case node != "" && h.Kind != Reached:
			return WrongNode, fmt.Sprintf("%s is on the way to %s", n.name(h.From), address)
		case h.Kind == Nothing:
			continue
		case h.Kind == Prohibited:
			return Filtered, "refused by " + n.name(h.From)
		case h.Kind == Unreachable:
			return NoWay, n.name(h.From) + " knows no way on"
		case h.Kind == Reached && address == First(t.Prefix) && proven:
			return Right, ""
		case h.Kind == Reached:
			return Unproven, before(n, address, h, last)
		}
		last = h
	}
	if !last.From.IsValid() {
		return Silent, "nobody answers"
	}
	return Silent, fmt.Sprintf("nobody answers after %s", n.name(last.From))
}

// before says who is in the place where the node is expected, before the pod.
func before(n *Network, address netip.Addr, pod, last Hop) string {
	if last.TTL == pod.TTL-1 {
		return fmt.Sprintf("%s is behind %s, which is no address of a node that is known", address, n.name(last.From))
	}
	return fmt.Sprintf("%s answers, and what is before it does not", address)
}

// loop finds a router that the packet comes to again after it was elsewhere, and that elsewhere, if it has a name.
func loop(hops []Hop) (router, other netip.Addr, found bool) {
	for i, h := range hops {
		if h.Kind != Exceeded {
			continue
		}
		for _, later := range hops[i+1:] {
			if later.Kind == Exceeded && later.From == h.From && later.TTL > h.TTL+1 {
				return h.From, other, true
			}
			if later.Kind == Exceeded && later.From != h.From {
				other = later.From
			}
		}
		other = netip.Addr{}
	}
	return router, other, false
}

// name is how people know an address.
func (n *Network) name(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "a silent router"
	case n.Nodes[a] != "":
		return fmt.Sprintf("node %s (%s)", n.Nodes[a], a)
	case n.Gateways[a] != "":
		return fmt.Sprintf("gateway %s (%s)", n.Gateways[a], a)
	}
	return a.String()
}

// First is the address of a prefix where nodes have their bridge.
func First(p netip.Prefix) netip.Addr {
	if p.IsSingleIP() {
		return p.Addr()
	}
	return p.Masked().Addr().Next()
}

// Addresses of a prefix that may be answered for without knowing any pod: the first, and one far from those that pods are
// given, where the node itself says that the packet has come so far.
func Addresses(p netip.Prefix) []netip.Addr {
	first := First(p)
	if p.Addr().BitLen()-p.Bits() < 3 {
		return []netip.Addr{first}
	}
	bytes := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	bytes[len(bytes)-1]-- // the last but one: the last is a broadcast address
	far, _ := netip.AddrFromSlice(bytes)
	return []netip.Addr{first, far}
}

// Summary counts findings in words, as "3 right, 1 loop".
func Summary(findings []Finding) string {
	count := map[Verdict]int{}
	for i := range findings {
		count[findings[i].Verdict]++
	}
	var parts []string
	for _, v := range []Verdict{Right, Sent, WrongNode, WrongGateway, Loop, NoWay, Filtered, Silent, Unproven, Own, Aside, Untried} {
		if count[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[v], v))
		}
	}
	return strings.Join(parts, ", ")
}
