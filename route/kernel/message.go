package kernel

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/route"
)

// header is a netlink message, of which it reads and writes the first 16 bytes (struct nlmsghdr).
type header []byte

func (h header) length() uint32 { return binary.NativeEndian.Uint32(h[0:]) }
func (h header) typ() uint16    { return binary.NativeEndian.Uint16(h[4:]) }
func (h header) flags() uint16  { return binary.NativeEndian.Uint16(h[6:]) }
func (h header) seq() uint32    { return binary.NativeEndian.Uint32(h[8:]) }

func (h header) add(flags uint16) { binary.NativeEndian.PutUint16(h[6:], h.flags()|flags) }

// finish fills in what is known once the message, up to the end of h, is complete.
func (h header) finish(seq uint32) {
	binary.NativeEndian.PutUint32(h[0:], uint32(len(h)))
	binary.NativeEndian.PutUint32(h[8:], seq)
}

func newMessage(b []byte, typ, flags uint16) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// attributes yields the type-length-value triples of a message.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.SizeofRtAttr || length > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:]), b[unix.SizeofRtAttr:length]) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

func appendAttribute(b []byte, typ uint16, length int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+length))
	return binary.NativeEndian.AppendUint16(b, typ)
}

func appendNumber(b []byte, typ uint16, value uint32) []byte {
	return binary.NativeEndian.AppendUint32(appendAttribute(b, typ, 4), value)
}

func appendAddress(b []byte, typ uint16, a netip.Addr) []byte {
	if a.Is4() {
		raw := a.As4()
		return append(appendAttribute(b, typ, len(raw)), raw[:]...)
	}
	raw := a.As16()
	return append(appendAttribute(b, typ, len(raw)), raw[:]...)
}

// key is a prefix without the pointer that netip.Addr has for the zone: the garbage collector need not look into a map of a
// hundred thousand of them.
type key struct {
	addr [16]byte
	bits uint8
	is4  bool
}

func keyOf(p netip.Prefix) key {
	return key{addr: p.Addr().As16(), bits: uint8(p.Bits()), is4: p.Addr().Is4()}
}

func (k key) prefix() netip.Prefix {
	a := netip.AddrFrom16(k.addr)
	if k.is4 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(k.bits))
}

// place is where routes stand: a table, and the priority in it.
type place struct {
	table, metric uint32
}

// of is the place for prefixes of k's family: IPv6 takes priority 0 as IP6_RT_PRIO_USER.
func (p place) of(k key) place {
	if !k.is4 && p.metric == 0 {
		p.metric = 1024
	}
	return p
}

// appendRoute appends a message about a route of ours. Without hops it speaks of the route through whatever gateways.
// hopFlags (RTNH_F_*) go with each hop.
func appendRoute(b []byte, typ, flags uint16, at place, k key, hops []route.Hop, hopFlags uint8) []byte {
	b = newMessage(b, typ, unix.NLM_F_REQUEST|flags)
	family, scope, kind := uint8(unix.AF_INET6), uint8(unix.RT_SCOPE_UNIVERSE), uint8(unix.RTN_UNICAST)
	if k.is4 {
		family = unix.AF_INET
	}
	if typ == unix.RTM_DELROUTE {
		scope, kind = unix.RT_SCOPE_NOWHERE, unix.RTN_UNSPEC // any
	}
	b = append(b, family, k.bits, 0, 0, unix.RT_TABLE_UNSPEC, route.Protocol, scope, kind)
	b = binary.NativeEndian.AppendUint32(b, uint32(hopFlags))
	b = appendAddress(b, unix.RTA_DST, k.prefix().Addr())
	b = appendNumber(b, unix.RTA_TABLE, at.table)
	b = appendNumber(b, unix.RTA_PRIORITY, at.metric)
	switch len(hops) {
	case 0:
		return b
	case 1:
		b = appendAddress(b, unix.RTA_GATEWAY, hops[0].Gateway)
		return appendNumber(b, unix.RTA_OIF, uint32(hops[0].Link))
	}
	start := len(b)
	b = appendAttribute(b, unix.RTA_MULTIPATH, 0)
	for _, hop := range hops {
		begin := len(b)
		b = append(b, 0, 0, hopFlags, 0)
		b = binary.NativeEndian.AppendUint32(b, uint32(hop.Link))
		b = appendAddress(b, unix.RTA_GATEWAY, hop.Gateway)
		binary.NativeEndian.PutUint16(b[begin:], uint16(len(b)-begin))
	}
	binary.NativeEndian.PutUint16(b[start:], uint16(len(b)-start))
	return b
}

// found is a route as the kernel tells it.
type found struct {
	key      key
	place    place
	protocol uint8
	kind     uint8       // rtm_type
	plain    bool        // a route like those we make: neither bound to a type of service or a source, nor a cached clone
	hops     []route.Hop // sorted; a connected one has no gateway
}

// parse reads a route message into f, whose hops it reuses. It returns false for other families than IPv4 and IPv6.
func (f *found) parse(body []byte) bool {
	if len(body) < unix.SizeofRtMsg || body[0] != unix.AF_INET && body[0] != unix.AF_INET6 {
		return false
	}
	flags := binary.NativeEndian.Uint32(body[8:])
	f.key = key{bits: body[1], is4: body[0] == unix.AF_INET}
	if f.key.is4 {
		f.key.addr = netip.IPv4Unspecified().As16()
	}
	f.plain = body[2] == 0 && body[3] == 0 && flags&unix.RTM_F_CLONED == 0
	f.place = place{table: uint32(body[4])}
	f.protocol, f.kind = body[5], body[7]
	f.hops = f.hops[:0]
	var hop route.Hop
	for typ, value := range attributes(body[unix.SizeofRtMsg:]) {
		switch typ {
		case unix.RTA_DST:
			copy(f.key.addr[16-len(value):], value)
		case unix.RTA_TABLE:
			f.place.table = binary.NativeEndian.Uint32(value)
		case unix.RTA_PRIORITY:
			f.place.metric = binary.NativeEndian.Uint32(value)
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			hop.Gateway = gateway(typ, value)
		case unix.RTA_OIF:
			hop.Link = int(binary.NativeEndian.Uint32(value))
		case unix.RTA_MULTIPATH:
			f.parseHops(value)
		}
	}
	if hop.Link != 0 && !f.useless(flags) {
		f.hops = append(f.hops, hop)
	}
	slices.SortFunc(f.hops, route.Hop.Compare)
	return true
}

// useless says of a hop's flags that packets cannot take it. Those of our own routes count all the same: they are there.
func (f *found) useless(flags uint32) bool {
	return flags&unix.RTNH_F_DEAD != 0 && f.protocol != route.Protocol
}

func (f *found) parseHops(b []byte) {
	for len(b) >= unix.SizeofRtNexthop {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return
		}
		hop := route.Hop{Link: int(binary.NativeEndian.Uint32(b[4:]))}
		for typ, value := range attributes(b[unix.SizeofRtNexthop:length]) {
			if typ == unix.RTA_GATEWAY || typ == unix.RTA_VIA {
				hop.Gateway = gateway(typ, value)
			}
		}
		if !f.useless(uint32(b[2])) {
			f.hops = append(f.hops, hop)
		}
		b = b[min(align(length), len(b)):]
	}
}

// gateway reads RTA_GATEWAY, or RTA_VIA: an address with its family before it, since that is not the route's.
func gateway(typ uint16, value []byte) netip.Addr {
	if typ == unix.RTA_VIA && len(value) > 2 {
		value = value[2:]
	}
	a, _ := netip.AddrFromSlice(value)
	return a
}
