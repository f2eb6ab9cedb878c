package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

const (
	readAttempts = 5
	attrProtocol = 12 // NDA_PROTOCOL of linux/neighbour.h
)

// conn is two sockets to the kernel.
type conn struct {
	*netlink.Handle

	// strict is for what the library has no words for. Its dumps are filtered by the kernel: a node may have a hundred
	// thousand routes, of which few are ours.
	strict *nl.NetlinkSocket
}

func dial() (*conn, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	strict, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		handle.Close()
		return nil, err
	}
	c := &conn{handle, strict}
	if err := unix.SetsockoptInt(strict.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *conn) close() {
	c.Close()
	c.strict.Close()
}

// request returns a message for the strict socket.
func (c *conn) request(kind, flags int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(kind, flags)
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: c.strict, Seq: r.Seq}}
	return r
}

// retry calls read until it was not disturbed by changes.
func retry(read func() error) error {
	var err error = netlink.ErrDumpInterrupted
	for attempt := 0; attempt < readAttempts && errors.Is(err, netlink.ErrDumpInterrupted); attempt++ {
		err = read()
	}
	return err
}

// read reads what is ours, and what it rests on.
func (c *conn) read() (h *host, have *state, err error) {
	err = retry(func() error {
		have = newState()
		if h, err = c.host(have); err != nil {
			return err
		}
		return errors.Join(c.neighbors(h, have), c.routes(h, have), c.rules(h, have), c.proxies(h, have))
	})
	if err != nil {
		err = fmt.Errorf("read tunnels from the kernel: %w", err)
	}
	return h, have, err
}

// host reads links and addresses, and notes our devices.
func (c *conn) host(have *state) (*host, error) {
	h := &host{links: map[string]link{}, names: map[int]string{}}
	links, err := c.LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		a := l.Attrs()
		h.links[a.Name] = link{a.Index, a.MTU, a.HardwareAddr}
		h.names[a.Index] = a.Name
		if v, ok := l.(*netlink.Vxlan); ok && a.Name == route.TunnelDevice(uint32(v.VxlanId)) {
			have.devices[a.Name] = device{
				vni: uint32(v.VxlanId), local: addr(v.SrcAddr), port: uint16(v.Port), learning: v.Learning,
				mtu: a.MTU, mac: mac(a.HardwareAddr), up: a.Flags&net.FlagUp != 0,
			}
		}
	}
	addresses, err := c.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		prefix := prefixOf(a.IPNet)
		name := h.names[a.LinkIndex]
		if d, ok := have.devices[name]; !ok {
			h.addresses = append(h.addresses, address{name, prefix})
		} else if prefix == linkLocal {
			d.addressed = true
			have.devices[name] = d
		}
	}
	_, err = os.Stat("/proc/sys/net/ipv6")
	h.ipv6 = err == nil
	return h, nil
}

// neighbors reads the entries of our devices that do not come and go by themselves.
func (c *conn) neighbors(h *host, have *state) error {
	for _, family := range append(h.families(), unix.AF_BRIDGE) {
		list, err := c.NeighList(0, family)
		if err != nil {
			return err
		}
		for _, n := range list {
			name := h.names[n.LinkIndex]
			if _, ok := have.devices[name]; !ok || n.State&netlink.NUD_PERMANENT == 0 || len(n.HardwareAddr) != len(mac{}) {
				continue
			}
			if family == unix.AF_BRIDGE {
				have.forwards[forward{name, mac(n.HardwareAddr), addr(n.IP)}] = true
			} else {
				have.neighbors[neighbor{name, addr(n.IP), mac(n.HardwareAddr)}] = true
			}
		}
	}
	return nil
}

// routes reads the routes with our protocol number, of all tables.
func (c *conn) routes(h *host, have *state) error {
	for _, family := range h.families() {
		request := c.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		request.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family), Protocol: route.TunnelProtocol}})
		messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if r, ok := parseRoute(h, m); ok {
				have.routes[r] = true
			}
		}
	}
	return nil
}

func parseRoute(h *host, m []byte) (kernelRoute, bool) {
	msg := nl.DeserializeRtMsg(m)
	attributes, err := nl.ParseRouteAttr(m[unix.SizeofRtMsg:])
	if err != nil || msg.Protocol != route.TunnelProtocol {
		return kernelRoute{}, false
	}
	r := kernelRoute{table: uint32(msg.Table), dst: defaultOf(int(msg.Family))}
	for _, a := range attributes {
		switch a.Attr.Type {
		case unix.RTA_TABLE:
			r.table = nl.NativeEndian().Uint32(a.Value)
		case unix.RTA_DST:
			r.dst = netip.PrefixFrom(addr(a.Value), int(msg.Dst_len))
		case unix.RTA_PRIORITY:
			r.metric = nl.NativeEndian().Uint32(a.Value)
		case unix.RTA_OIF:
			r.device = h.names[int(nl.NativeEndian().Uint32(a.Value))]
		case unix.RTA_GATEWAY:
			r.via = addr(a.Value)
		case unix.RTA_VIA:
			r.via = addr(a.Value[2:])
		}
	}
	if msg.Type != unix.RTN_UNICAST {
		r.device = "" // that of a blackhole of IPv6 is lo
	}
	return r, true
}

func (c *conn) rules(h *host, have *state) error {
	for _, family := range h.families() {
		list, err := c.RuleList(family)
		if err != nil {
			return err
		}
		for _, r := range list {
			if r.Protocol != route.TunnelProtocol {
				continue
			}
			found := rule{family: family, priority: r.Priority, local: r.IifName == "lo", mark: r.Mark, table: r.Table, next: max(r.Goto, 0)}
			if r.Mask != nil {
				found.mask = *r.Mask
			}
			have.rules[found] = true
		}
	}
	return nil
}

// proxies reads the addresses that are answered for by us, by the protocol number that the library does not know.
func (c *conn) proxies(h *host, have *state) error {
	for _, family := range h.families() {
		request := c.request(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
		request.AddData(&netlink.Ndmsg{Family: uint8(family), Flags: netlink.NTF_PROXY})
		messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
		if err != nil {
			return err
		}
		for _, m := range messages {
			n, err := netlink.NeighDeserialize(m)
			if err == nil && n.Flags&netlink.NTF_PROXY != 0 && protocolOf(m) == route.TunnelProtocol {
				have.proxies[proxy{h.names[n.LinkIndex], addr(n.IP)}] = true
			}
		}
	}
	return nil
}

func protocolOf(m []byte) byte {
	attributes, err := nl.ParseRouteAttr(m[unix.SizeofNdMsg:])
	if err != nil {
		return 0
	}
	for _, a := range attributes {
		if a.Attr.Type == attrProtocol && len(a.Value) == 1 {
			return a.Value[0]
		}
	}
	return 0
}

func addr(ip []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func prefixOf(n *net.IPNet) netip.Prefix {
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr(n.IP), bits)
}
