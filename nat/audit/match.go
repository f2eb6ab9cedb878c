package audit

import (
	"net/netip"
	"slices"
	"strings"
)

// answer of a comparison.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// holds says whether a Match or Uncertain matches.
func (w *walk) holds(s Statement) answer {
	m, ok := s.(Match)
	if !ok {
		return maybe
	}
	if !w.applies(m.Keys) {
		return no
	}
	held := no
	for _, ranges := range m.In {
		held = max(held, w.within(m.Keys, ranges))
		if held == yes {
			break
		}
	}
	if m.Not {
		return yes - held
	}
	return held
}

// applies tells whether the packet has the version and the protocol of the keys.
func (w *walk) applies(keys []Key) bool {
	return !slices.ContainsFunc(keys, func(k Key) bool {
		return k.Version != 0 && k.Version != w.packet.version() || k.Protocol != 0 && k.Protocol != w.packet.Protocol
	})
}

// within says whether each key is in its range.
func (w *walk) within(keys []Key, ranges []Range) answer {
	if !w.applies(keys) {
		return no
	}
	held := yes
	for i, key := range keys {
		if i >= len(ranges) {
			return maybe
		}
		held = min(held, w.compare(key, ranges[i]))
	}
	return held
}

func (w *walk) compare(key Key, r Range) answer {
	if r.All {
		return yes
	}
	p := &w.packet
	switch key.Field {
	case SourceAddress:
		return inAddresses(p.Source, r)
	case DestinationAddress:
		return inAddresses(p.Destination, r)
	case Protocol:
		return inNumbers(uint64(p.Protocol), key, r)
	case DestinationPort:
		if !p.ports() {
			return no
		}
		if p.Port == 0 {
			return maybe
		}
		return inNumbers(uint64(p.Port), key, r)
	case InInterface:
		return inWords(r, p.In)
	case OutInterface:
		return inWords(r, p.Out)
	case Mark:
		if w.markLost {
			return maybe
		}
		return inNumbers(uint64(p.Mark), key, r)
	case ConnectionMark:
		if mask := uint32(key.Mask); (mask == 0 && p.ConnectionMarkKnown != ^uint32(0)) || mask&^p.ConnectionMarkKnown != 0 {
			return maybe
		}
		return inNumbers(uint64(p.ConnectionMark), key, r)
	case State:
		return inWords(r, "new")
	case Status:
		if p.Translated {
			return inWords(r, "dnat")
		}
		return sure(false)
	case Direction:
		return inWords(r, "original")
	case SourceType:
		return inWords(r, "unicast")
	case DestinationType:
		return inWords(r, p.DestinationType)
	case Version:
		if p.version() == 4 {
			return inWords(r, "ipv4", "ip")
		}
		return inWords(r, "ipv6", "ip6")
	}
	return maybe
}

func (p *Packet) version() int {
	if p.Source.Is4() {
		return 4
	}
	return 6
}

// ports: UDP, TCP, DCCP, SCTP and UDP-Lite have them.
func (p *Packet) ports() bool {
	return slices.Contains([]uint8{6, 17, 33, 132, 136}, p.Protocol)
}

func sure(b bool) answer {
	if b {
		return yes
	}
	return no
}

func inAddresses(a netip.Addr, r Range) answer {
	if !r.First.IsValid() {
		return maybe
	}
	return sure(a.BitLen() == r.First.BitLen() && !a.Less(r.First) && !r.Last.Less(a))
}

func inNumbers(n uint64, key Key, r Range) answer {
	if r.Word != "" || r.First.IsValid() {
		return maybe
	}
	if key.Mask != 0 {
		n &= key.Mask
	}
	return sure(n >= r.Low && n <= r.High)
}

// inWords says whether one of what is known is the word; nothing is known of an empty one.
func inWords(r Range, known ...string) answer {
	if r.Word == "" || slices.Contains(known, "") {
		return maybe
	}
	prefix, pattern := strings.CutSuffix(r.Word, "*")
	return sure(slices.ContainsFunc(known, func(k string) bool { return k == r.Word || pattern && strings.HasPrefix(k, prefix) }))
}

// Prefix is the range of the addresses of a prefix.
func Prefix(p netip.Prefix) Range {
	last := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(last)
	return Range{First: p.Masked().Addr(), Last: addr}
}
