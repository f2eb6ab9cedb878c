package tunnel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

const (
	overheadIPv4 = 50 // bytes that a tunnel adds: outer IPv4 header 20, UDP 8, VXLAN 8, inner Ethernet header 14
	overheadIPv6 = 70
	minIPv6MTU   = 1280 // RFC 8200, section 5: a device with less has no IPv6
)

// state is all that is ours in the kernel, or is to be. The types of its parts are keys: two states differ in what only one
// of them has.
type state struct {
	devices   map[string]device // by name
	neighbors map[neighbor]bool
	forwards  map[forward]bool
	routes    map[kernelRoute]bool
	rules     map[rule]bool
	proxies   map[proxy]bool
}

func newState() *state {
	return &state{
		devices:   map[string]device{},
		neighbors: map[neighbor]bool{},
		forwards:  map[forward]bool{},
		routes:    map[kernelRoute]bool{},
		rules:     map[rule]bool{},
		proxies:   map[proxy]bool{},
	}
}

type mac [6]byte

// device is a VXLAN device.
type device struct {
	vni       uint32
	local     netip.Addr // of the outer header
	port      uint16
	learning  bool
	mtu       int
	mac       mac
	up        bool
	addressed bool // it has linkLocal
}

// fixed says that two devices agree in what cannot be changed.
func (d device) fixed(e device) bool {
	return d.vni == e.vni && d.local == e.local && d.port == e.port && d.learning == e.learning
}

// linkLocal is on every device: even loose rp_filter refuses what comes from a device without an IPv4 address. Its scope is
// the link, so that nothing is ever sent from it.
var linkLocal = netip.MustParsePrefix("169.254.179.1/32")

// neighbor is how the next hop of a route is reached in the inner network.
type neighbor struct {
	device string
	ip     netip.Addr
	mac    mac
}

// forward is where the outer header of what goes to a MAC address leads: an entry of the device's forwarding database.
type forward struct {
	device  string
	mac     mac
	gateway netip.Addr
}

// kernelRoute is a route through a device, or a blackhole without one.
type kernelRoute struct {
	table  uint32
	dst    netip.Prefix
	metric uint32
	device string
	via    netip.Addr
}

// place is where at most one route can be.
type place struct {
	table  uint32
	dst    netip.Prefix
	metric uint32
}

func (r kernelRoute) place() place { return place{r.table, r.dst, r.metric} }

// rule is a policy rule: to a table, to another rule, or without any effect, to be the aim of others.
type rule struct {
	family     int
	priority   int
	local      bool // only packets of this node itself, which the outer ones are
	mark, mask uint32
	table      int
	next       int // priority of the rule to go to
}

// proxy is an address that is answered for.
type proxy struct {
	device string
	ip     netip.Addr
}

func defaultOf(family int) netip.Prefix {
	if family == unix.AF_INET {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// host is what is not ours: the links and addresses that tunnels rest on.
type host struct {
	links     map[string]link
	names     map[int]string // of links, by index
	addresses []address
	ipv6      bool // the kernel has it
}

type link struct {
	index, mtu int
	mac        []byte
}

type address struct {
	device string
	prefix netip.Prefix
}

// families are those that the kernel has.
func (h *host) families() []int {
	if h.ipv6 {
		return []int{unix.AF_INET, unix.AF_INET6}
	}
	return []int{unix.AF_INET}
}

// underlay finds the device of those of the node's addresses that it really has. They may be on several; the smallest MTU
// counts.
func (h *host) underlay(local []netip.Addr) route.Underlay {
	var found route.Underlay
	for _, l := range local {
		name := h.on(l)
		if name == "" {
			continue
		}
		mtu := h.links[name].mtu - overheadIPv6
		if l.Is4() {
			mtu = h.links[name].mtu - overheadIPv4
		}
		if found.Device == "" {
			found.Device = name
		}
		if found.MTU == 0 || mtu < found.MTU {
			found.MTU = mtu
		}
	}
	return found
}

// on finds the device that has the address.
func (h *host) on(a netip.Addr) string {
	for _, own := range h.addresses {
		if own.prefix.Addr() == a {
			return own.device
		}
	}
	return ""
}

// shared finds the device on whose network the address lies; preferred if there are several.
func (h *host) shared(a netip.Addr, preferred string) (string, bool) {
	name := ""
	for _, own := range h.addresses {
		if own.prefix.Contains(a) && !own.prefix.IsSingleIP() && (name == "" || own.device == preferred) {
			name = own.device
		}
	}
	return name, name != ""
}

// macOf is the MAC address of a node's ends of tunnels, which every other node can compute.
func macOf(node netip.Addr) mac {
	m := mac{0x02, 'W'} // locally administered
	if node.Is4() {
		b := node.As4()
		copy(m[2:], b[:])
		return m
	}
	b := node.As16()
	sum := sha256.Sum256(b[:])
	copy(m[1:], sum[:])
	return m
}

// hopOf is the next hop to a node in the inner network. It need not be an address of the node's end: the neighbour entry
// tells where it leads.
func hopOf(node netip.Addr) netip.Addr {
	b := [16]byte{0: 0xfe, 1: 0x80}
	m := macOf(node)
	copy(b[10:], m[:])
	return netip.AddrFrom16(b)
}

// plan decides what is to be in the kernel. What cannot be is in the error; the rest is complete without it. It is nil when
// nothing can be said, since the node's addresses are missing.
func plan(t route.Tunnels, h *host) (*state, error) {
	want := newState()
	if len(t.Paths) == 0 && len(t.Exits) == 0 {
		return want, nil
	}
	under := h.underlay(t.Local)
	if under.MTU == 0 {
		return nil, fmt.Errorf("tunnels need an address of the node, and none of %v is on a device", t.Local)
	}
	t.Local = slices.DeleteFunc(slices.Clone(t.Local), func(l netip.Addr) bool { return h.on(l) == "" })
	p := planner{Tunnels: t, host: h, under: under, want: want}
	var errs []error
	for _, path := range t.Paths {
		errs = append(errs, p.path(path))
	}
	for _, exit := range t.Exits {
		errs = append(errs, p.exit(exit))
	}
	if len(t.Paths) > 0 {
		p.pass()
	}
	return want, errors.Join(errs...)
}

type planner struct {
	route.Tunnels

	host  *host
	under route.Underlay
	want  *state
}

// inner are the families that tunnels carry.
func (p *planner) inner() []int {
	if p.under.MTU < minIPv6MTU {
		return []int{unix.AF_INET}
	}
	return p.host.families()
}

// device plans the device of a VNI whose outer headers are of the family of an address.
func (p *planner) device(vni uint32, like netip.Addr) (string, error) {
	name := route.TunnelDevice(vni)
	for _, local := range p.Local {
		if local.Is4() != like.Is4() {
			continue
		}
		if d, ok := p.want.devices[name]; ok && d.local != local {
			return "", fmt.Errorf("tunnel %s: gateways of both address families have one egress address", name)
		}
		p.want.devices[name] = device{
			vni: vni, local: local, port: route.TunnelPort, mtu: p.under.MTU, mac: macOf(local), up: true, addressed: true,
		}
		return name, nil
	}
	return "", fmt.Errorf("tunnel %s: the node has no address of the family of gateway %s", name, like)
}

// hops plans how a node is reached in a tunnel.
func (p *planner) hops(device string, node netip.Addr) {
	p.want.forwards[forward{device, macOf(node), node}] = true
	if node.Is4() {
		p.want.neighbors[neighbor{device, node, macOf(node)}] = true
	}
	if p.host.ipv6 {
		p.want.neighbors[neighbor{device, hopOf(node), macOf(node)}] = true
	}
}

// via is the next hop for a family in the tunnel to a node. IPv4 over IPv6 needs one of IPv6 (RFC 9229), since the node has
// no other; for the rest IPv4 does without IPv6, which a host may not have.
func via(family int, node netip.Addr) netip.Addr {
	if family == unix.AF_INET && node.Is4() {
		return node
	}
	return hopOf(node)
}

// path plans a path's table and the rules to it. At the table's end is a blackhole: while its device is missing nothing may
// leave another way, with another source.
func (p *planner) path(t route.TunnelPath) error {
	name, err := p.device(t.VNI, t.Gateway)
	table := route.TableBase + uint32(t.Mark)
	for _, family := range p.host.families() {
		p.want.routes[kernelRoute{table: table, dst: defaultOf(family), metric: math.MaxUint32}] = true
		p.want.rules[rule{
			family: family, priority: route.RulePriority, mark: uint32(t.Mark) << p.Shift, mask: p.Mask, table: int(table),
		}] = true
	}
	if err != nil {
		return err
	}
	p.hops(name, t.Gateway)
	for _, family := range p.inner() {
		p.want.routes[kernelRoute{table, defaultOf(family), 1, name, via(family, t.Gateway)}] = true
	}
	return nil
}

// pass plans the rules by which two kinds of packets pass the rules of paths: the outer packets, which inherit the mark of
// what is in them and would be sent into the tunnel again, and those without a mark, to which it would only cost time.
func (p *planner) pass() {
	for _, family := range p.host.families() {
		const before, after = route.RulePriority - 1, route.RulePriority + 1
		p.want.rules[rule{family: family, priority: before, local: true, next: after}] = true
		p.want.rules[rule{family: family, priority: before, mask: p.Mask, next: after}] = true
		p.want.rules[rule{family: family, priority: after}] = true
	}
}

// exit plans the gateway's end. The address's route leads to the partner. Without one it leads into the device too, to where
// nobody answers: for proxy ARP there must be a route, through another device.
func (p *planner) exit(t route.TunnelExit) error {
	like := t.Partner
	for _, local := range p.Local {
		for _, gateway := range p.Gateways {
			if !like.IsValid() && gateway == local {
				like = local
			}
		}
	}
	if !like.IsValid() {
		like = p.Local[0]
	}
	name, err := p.device(t.VNI, like)
	if err != nil || !t.Address.IsValid() {
		return err
	}
	r := kernelRoute{table: route.MainTable, dst: netip.PrefixFrom(t.Address, t.Address.BitLen()), device: name}
	family := unix.AF_INET
	if t.Address.Is6() {
		family, r.metric = unix.AF_INET6, 1 // 0 would be taken as 1024
	}
	if t.Partner.IsValid() {
		p.hops(name, t.Partner)
		r.via = via(family, t.Partner)
	}
	p.want.routes[r] = true
	if at, ok := p.host.shared(t.Address, p.under.Device); ok && t.Owns {
		p.want.proxies[proxy{at, t.Address}] = true
	}
	return nil
}
