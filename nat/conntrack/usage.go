package conntrack

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/nat"
)

const (
	// busiest is how many destinations of an address Usage tells.
	busiest = 10
	// candidates is how many destinations are counted at a time.
	candidates = 4096
)

// Usage counts the connections whose source is translated to one of the addresses, in the order of the addresses.
//
// Its memory does not grow with the number of connections: while there are more than 4,096 destinations at a time, the
// figure of each may be too low by one for each 4,097 connections in all.
func Usage(ctx context.Context, addresses []netip.Addr) ([]nat.PortUse, error) {
	conn, closeConn, err := open(ctx)
	if err != nil {
		return nil, fmt.Errorf("count connections: %w", err)
	}
	defer closeConn()
	total := make(map[netip.Addr]int, len(addresses))
	for _, a := range addresses {
		total[a] = 0
	}
	destinations := tally{}
	for entry, err := range entries(conn, filter(attrStatus, attrStatusMask, statusSourceNAT, statusSourceNAT)) {
		if err != nil {
			return nil, fmt.Errorf("count connections: %w", err)
		}
		k := replyOf(entry)
		if n, ours := total[k.address]; ours {
			total[k.address] = n + 1
			destinations.add(k)
		}
	}
	found := make([]nat.PortUse, len(addresses))
	for i, a := range addresses {
		found[i] = nat.PortUse{Address: a, Connections: total[a], Busiest: destinations.busiest(a)}
	}
	return found, nil
}

// key is within what ports have to differ.
type key struct {
	address     netip.Addr
	protocol    uint8
	destination netip.AddrPort
}

// tally counts how often keys occur, those that occur often right: by the algorithm of Misra and Gries (1982).
type tally map[key]int

func (t tally) add(k key) {
	if _, known := t[k]; known || len(t) < candidates {
		t[k]++
		return
	}
	for other := range t {
		if t[other]--; t[other] == 0 {
			delete(t, other)
		}
	}
}

func (t tally) busiest(a netip.Addr) []nat.DestinationUse {
	var all []nat.DestinationUse
	for k, n := range t {
		if k.address == a {
			all = append(all, nat.DestinationUse{Protocol: k.protocol, Destination: k.destination, Connections: n})
		}
	}
	slices.SortFunc(all, func(a, b nat.DestinationUse) int {
		return cmp.Or(b.Connections-a.Connections, a.Destination.Compare(b.Destination), cmp.Compare(a.Protocol, b.Protocol))
	})
	return all[:min(len(all), busiest)]
}

// replyOf reads from where to where the replies of an entry go as they arrive: their destination is the address that the
// connection has left with.
func replyOf(entry []byte) (k key) {
	var from netip.Addr
	var port uint16
	for name, value := range attributes(find(entry, attrTupleReply)) {
		for part, value := range attributes(value) {
			switch {
			case name == attrTupleIP && (part == attrSource4 || part == attrSource6):
				from, _ = netip.AddrFromSlice(value)
			case name == attrTupleIP && (part == attrDestination4 || part == attrDestination6):
				k.address, _ = netip.AddrFromSlice(value)
			case name == attrTupleProto && part == attrProtocol && len(value) == 1:
				k.protocol = value[0]
			case name == attrTupleProto && part == attrSourcePort && len(value) == 2:
				port = binary.BigEndian.Uint16(value)
			}
		}
	}
	k.destination = netip.AddrPortFrom(from, port)
	return k
}

// find is the value of an attribute; none is like an empty one.
func find(list []byte, name uint16) []byte {
	for n, value := range attributes(list) {
		if n == name {
			return value
		}
	}
	return nil
}

// attributes are those of a list, without copies: it is read for each of perhaps 100,000 entries.
func attributes(list []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(list) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(list))
			name := binary.NativeEndian.Uint16(list[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if length < unix.SizeofNlAttr || length > len(list) || !yield(name, list[unix.SizeofNlAttr:length]) {
				return
			}
			list = list[min(len(list), (length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}
