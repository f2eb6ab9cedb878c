package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

// pass is one apply.
type pass struct {
	*Kernel

	host       *host
	want, have *state
	written    int
	errs       []error
}

// note keeps count and errors.
func (p *pass) note(err error, format string, args ...any) {
	p.written++
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err))
	}
}

// run writes the differences. An address that is owned no more goes first. Then what is new is built from the device up, so
// that nothing leads to what is not there yet; what goes is taken down from the rule.
func (p *pass) run(ctx context.Context) error {
	steps := []func(){
		p.disown, p.buildDevices, p.buildHops, p.buildRoutes, p.buildRules, p.own,
		p.removeRules, p.removeRoutes, p.removeHops, p.removeDevices,
	}
	for _, step := range steps {
		if ctx.Err() != nil {
			return errors.Join(append(p.errs, ctx.Err())...)
		}
		step()
	}
	return errors.Join(p.errs...)
}

// done says that there is nothing to write.
func (p *pass) done() bool {
	if len(p.want.devices) != len(p.have.devices) {
		return false
	}
	for name, d := range p.want.devices {
		if p.have.devices[name] != d || len(differing(looseOn(name))) > 0 {
			return false
		}
	}
	return len(differing(p.answering())) == 0 && same(p.want.neighbors, p.have.neighbors) && same(p.want.forwards, p.have.forwards) && same(p.want.routes, p.have.routes) &&
		same(p.want.rules, p.have.rules) && same(p.want.proxies, p.have.proxies)
}

func (p *pass) buildDevices() {
	for name, want := range p.want.devices {
		have, ok := p.have.devices[name]
		if ok && !want.fixed(have) {
			p.removeDevice(name)
			ok = false
		}
		if !ok {
			have = device{mtu: want.mtu, mac: want.mac}
			v := &netlink.Vxlan{
				LinkAttrs: netlink.LinkAttrs{Name: name, MTU: want.mtu, HardwareAddr: want.mac[:], TxQLen: -1},
				VxlanId:   int(want.vni), SrcAddr: want.local.AsSlice(), Port: int(want.port),
			}
			err := p.conn.LinkAdd(v)
			p.note(err, "add tunnel device %s", name)
			if err != nil {
				continue
			}
			p.host.links[name] = link{index: v.Index}
			p.note(p.sysctls.write(quietOn(name)), "keep %s quiet", name)
		}
		index := p.host.links[name].index
		at := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}
		if have.mtu != want.mtu {
			p.note(p.conn.LinkSetMTU(at, want.mtu), "set MTU %d of %s", want.mtu, name)
		}
		if have.mac != want.mac {
			p.note(p.conn.LinkSetHardwareAddr(at, want.mac[:]), "set the MAC address of %s", name)
		}
		if loose := differing(looseOn(name)); len(loose) > 0 {
			p.note(p.sysctls.write(loose), "loosen rp_filter of %s", name)
		}
		if !have.addressed {
			p.note(p.conn.AddrAdd(at, &netlink.Addr{IPNet: ipNet(linkLocal), Scope: unix.RT_SCOPE_LINK}), "add %s to %s", linkLocal, name)
		}
		if !have.up {
			p.note(p.conn.LinkSetUp(at), "set %s up", name)
		}
	}
}

func (p *pass) removeDevices() {
	for name := range p.have.devices {
		if _, ok := p.want.devices[name]; !ok {
			p.removeDevice(name)
		}
	}
}

// removeDevice removes a device and forgets what goes with it.
func (p *pass) removeDevice(name string) {
	index := p.host.links[name].index
	p.note(p.conn.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: index}}), "remove tunnel device %s", name)
	delete(p.host.links, name)
	forget(p.have.neighbors, func(n neighbor) bool { return n.device == name })
	forget(p.have.forwards, func(f forward) bool { return f.device == name })
	forget(p.have.routes, func(r kernelRoute) bool { return r.device == name })
}

func forget[T comparable](set map[T]bool, gone func(T) bool) {
	for v := range set {
		if gone(v) {
			delete(set, v)
		}
	}
}

// buildHops adds entries of neighbours and forwarding. What contradicts them has been altered by somebody else.
func (p *pass) buildHops() {
	for f := range missing(p.have.forwards, p.want.forwards) {
		if _, stays := p.want.devices[f.device]; stays && p.leads(f) {
			p.note(p.conn.NeighDel(p.forward(f)), "remove the way to %s from %s", f.gateway, f.device)
		}
	}
	for f := range missing(p.want.forwards, p.have.forwards) {
		p.note(p.conn.NeighAppend(p.forward(f)), "add the way to %s to %s", f.gateway, f.device)
	}
	for n := range missing(p.want.neighbors, p.have.neighbors) {
		p.note(p.conn.NeighSet(p.neighbor(n)), "add neighbour %s to %s", n.ip, n.device)
	}
}

// leads says that the entry is for a MAC address for which another one is wanted.
func (p *pass) leads(f forward) bool {
	for want := range p.want.forwards {
		if want.device == f.device && want.mac == f.mac {
			return true
		}
	}
	return false
}

// removeHops removes the entries of devices that stay.
func (p *pass) removeHops() {
	kept := map[proxy]bool{}
	for n := range p.want.neighbors {
		kept[proxy{n.device, n.ip}] = true
	}
	for n := range missing(p.have.neighbors, p.want.neighbors) {
		if _, stays := p.want.devices[n.device]; stays && !kept[proxy{n.device, n.ip}] {
			p.note(p.conn.NeighDel(p.neighbor(n)), "remove neighbour %s from %s", n.ip, n.device)
		}
	}
	for f := range missing(p.have.forwards, p.want.forwards) {
		if _, stays := p.want.devices[f.device]; stays && !p.leads(f) {
			p.note(p.conn.NeighDel(p.forward(f)), "remove the way to %s from %s", f.gateway, f.device)
		}
	}
}

func (p *pass) neighbor(n neighbor) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: p.host.links[n.device].index, IP: n.ip.AsSlice(), HardwareAddr: n.mac[:], State: netlink.NUD_PERMANENT}
}

func (p *pass) forward(f forward) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: p.host.links[f.device].index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP,
		Flags: netlink.NTF_SELF, IP: f.gateway.AsSlice(), HardwareAddr: f.mac[:],
	}
}

// buildRoutes writes routes. In the tables of paths nobody else has any, so a route is replaced by the other without a gap.
// In the main table another program's might be taken for ours, so there the old one goes first.
func (p *pass) buildRoutes() {
	stale := map[place]kernelRoute{}
	for r := range missing(p.have.routes, p.want.routes) {
		stale[r.place()] = r
	}
	for r := range missing(p.want.routes, p.have.routes) {
		write := p.conn.RouteReplace
		if r.table == route.MainTable {
			write = p.conn.RouteAdd
			if old, ok := stale[r.place()]; ok {
				p.removeRoute(old)
			}
		}
		p.note(write(p.route(r)), "add route %s to table %d", r.dst, r.table)
		delete(p.have.routes, stale[r.place()])
	}
}

func (p *pass) removeRoutes() {
	for r := range missing(p.have.routes, p.want.routes) {
		p.removeRoute(r)
	}
}

func (p *pass) removeRoute(r kernelRoute) {
	err := p.conn.RouteDel(p.route(r))
	if errors.Is(err, unix.ESRCH) {
		err = nil // gone by itself, or with its device
	}
	p.note(err, "remove route %s from table %d", r.dst, r.table)
}

func (p *pass) route(r kernelRoute) *netlink.Route {
	k := &netlink.Route{
		Table: int(r.table), Dst: ipNet(r.dst), Priority: int(r.metric), Protocol: route.TunnelProtocol, Type: unix.RTN_UNICAST,
		Family: familyOf(r.dst.Addr()),
	}
	switch {
	case r.device == "":
		k.Type = unix.RTN_BLACKHOLE
		return k
	case !r.via.IsValid() && r.dst.Addr().Is4():
		k.Scope = unix.RT_SCOPE_LINK
	case r.via.IsValid() && r.via.Is4() != r.dst.Addr().Is4():
		k.Via = &netlink.Via{AddrFamily: unix.AF_INET6, Addr: r.via.AsSlice()}
	case r.via.IsValid():
		k.Gw = r.via.AsSlice()
	}
	if r.via.Is4() {
		k.Flags = unix.RTNH_F_ONLINK
	}
	k.LinkIndex = p.host.links[r.device].index
	return k
}

// buildRules adds the rules that let packets pass before those that lead into tunnels.
func (p *pass) buildRules() {
	rules := slices.Collect(missing(p.want.rules, p.have.rules))
	slices.SortFunc(rules, byUse)
	for _, r := range rules {
		p.note(p.conn.RuleAdd(kernelRule(r)), "add rule of priority %d to table %d", r.priority, r.table)
	}
}

func (p *pass) removeRules() {
	rules := slices.Collect(missing(p.have.rules, p.want.rules))
	slices.SortFunc(rules, func(a, b rule) int { return byUse(b, a) })
	for _, r := range rules {
		err := p.conn.RuleDel(kernelRule(r))
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		p.note(err, "remove rule of priority %d to table %d", r.priority, r.table)
	}
}

// byUse orders a rule that others go to before those that go to it, and these before those of paths.
func byUse(a, b rule) int {
	return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.family, b.family), cmp.Compare(a.mark, b.mark))
}

func order(r rule) int {
	switch {
	case r.table != 0:
		return 2
	case r.next != 0:
		return 1
	}
	return 0
}

func kernelRule(r rule) *netlink.Rule {
	k := netlink.NewRule()
	k.Family, k.Priority, k.Protocol, k.Table = r.family, r.priority, route.TunnelProtocol, r.table
	if r.mask != 0 {
		k.Mark, k.Mask = r.mark, &r.mask
	}
	if r.local {
		k.IifName = "lo"
	}
	switch order(r) {
	case 0:
		k.Type = nl.FR_ACT_NOP
	case 1:
		k.Goto = r.next
	}
	return k
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// missing yields what is in set and not in from.
func missing[T comparable](set, from map[T]bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range set {
			if !from[v] && !yield(v) {
				return
			}
		}
	}
}

func same[T comparable](a, b map[T]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for range missing(a, b) {
		return false
	}
	return true
}
