package gobgp

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// prefixMap is a map by prefix. IPv4 prefixes, of which there may be very many, take a quarter of a netip.Prefix as keys.
type prefixMap[V any] struct {
	v4 map[uint64]V // address<<8 | length
	v6 map[netip.Prefix]V
}

func newPrefixMap[V any]() prefixMap[V] {
	return prefixMap[V]{v4: map[uint64]V{}, v6: map[netip.Prefix]V{}}
}

func pack(p netip.Prefix) uint64 {
	a := p.Addr().As4()
	return uint64(binary.BigEndian.Uint32(a[:]))<<8 | uint64(p.Bits())
}

func unpack(key uint64) netip.Prefix {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(key>>8))
	return netip.PrefixFrom(netip.AddrFrom4(a), int(key&0xff))
}

func (m prefixMap[V]) get(p netip.Prefix) (V, bool) {
	if p.Addr().Is4() {
		v, ok := m.v4[pack(p)]
		return v, ok
	}
	v, ok := m.v6[p]
	return v, ok
}

func (m prefixMap[V]) set(p netip.Prefix, v V) {
	if p.Addr().Is4() {
		m.v4[pack(p)] = v
	} else {
		m.v6[p] = v
	}
}

func (m prefixMap[V]) remove(p netip.Prefix) {
	if p.Addr().Is4() {
		delete(m.v4, pack(p))
	} else {
		delete(m.v6, p)
	}
}

func (m prefixMap[V]) len() int { return len(m.v4) + len(m.v6) }

func (m prefixMap[V]) all() iter.Seq2[netip.Prefix, V] {
	return func(yield func(netip.Prefix, V) bool) {
		for key, v := range m.v4 {
			if !yield(unpack(key), v) {
				return
			}
		}
		for p, v := range m.v6 {
			if !yield(p, v) {
				return
			}
		}
	}
}
