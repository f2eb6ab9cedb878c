package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/nat/audit"
)

// way is where routing sends a packet.
type way struct {
	out     string
	gateway netip.Addr // invalid: the destination is on the link
	kind    string     // as iptables' addrtype calls it
}

func (w way) String() string {
	switch {
	case w.kind == "local":
		return "to this node itself"
	case w.gateway.IsValid():
		return fmt.Sprintf("leaves by %s, via %s", w.out, w.gateway)
	}
	return "leaves by " + w.out
}

var kinds = map[int]string{
	unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_ANYCAST: "anycast",
	unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit",
}

// get asks the kernel for the route of a packet.
func get(to netip.Addr, options *netlink.RouteGetOptions) (netlink.Route, error) {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), options)
	if err == nil && len(routes) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return netlink.Route{}, fmt.Errorf("route to %s: %w", to, err)
	}
	return routes[0], nil
}

// unroutable tells whether an error says that there is no route, or one that leads nowhere.
func unroutable(err error) bool {
	return slices.ContainsFunc([]error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EINVAL, unix.EACCES}, func(e error) bool { return errors.Is(err, e) })
}

func name(index int) string {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return "" // it has just gone
	}
	return link.Attrs().Name
}

// device is where packets of a pod of this node come from.
func device(pod netip.Addr) (string, error) {
	route, err := get(pod, nil)
	if err != nil {
		return "", fmt.Errorf("this node has no route to the pod, so it is not known by which device its packets come: %w", err)
	}
	if route.Gw != nil || kinds[route.Type] != "unicast" {
		return "", fmt.Errorf("%s is no pod of this node as far as routes tell, so it is not known by which device its packets come", pod)
	}
	return name(route.LinkIndex), nil
}

// typeOf is what routing takes an address for.
func typeOf(a netip.Addr) (string, error) {
	route, err := get(a, nil)
	return kinds[route.Type], err
}

// wayOf asks for the route of a forwarded packet.
func wayOf(p audit.Packet) (way, error) {
	options := &netlink.RouteGetOptions{Mark: p.Mark}
	if p.In != "" {
		options.Iif, options.SrcAddr = p.In, p.Source.AsSlice()
	}
	route, err := get(p.Destination, options)
	if err != nil {
		return way{}, err
	}
	w := way{out: name(route.LinkIndex), kind: kinds[route.Type]}
	hop := route.Gw
	if route.Via != nil {
		if via, ok := route.Via.(*netlink.Via); ok {
			hop = via.Addr
		}
	}
	if gateway, ok := netip.AddrFromSlice(hop); ok {
		w.gateway = gateway.Unmap()
	}
	return w, nil
}

// masquerade is the address that the kernel chooses: of IPv4 the first of the device that is in one network with the next
// hop, else its first (inet_select_addr); of IPv6 by RFC 6724.
func masquerade(w way, to netip.Addr) (netip.Addr, error) {
	if to.Is6() {
		route, err := get(to, &netlink.RouteGetOptions{Oif: w.out})
		src, _ := netip.AddrFromSlice(route.Src)
		return src, err
	}
	link, err := netlink.LinkByName(w.out)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("device %s: %w", w.out, err)
	}
	list, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of %s: %w", w.out, err)
	}
	hop := w.gateway
	if !hop.IsValid() {
		hop = to
	}
	var first netip.Addr
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP.To4())
		if !ok || a.Flags&unix.IFA_F_SECONDARY != 0 || a.Scope >= unix.RT_SCOPE_LINK {
			continue
		}
		bits, _ := a.Mask.Size()
		if netip.PrefixFrom(addr, bits).Masked().Contains(hop) {
			return addr, nil
		}
		if !first.IsValid() {
			first = addr
		}
	}
	return first, nil
}
