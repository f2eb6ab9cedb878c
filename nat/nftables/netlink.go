package nftables

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// get asks for objects of the inet family; names are the values of the first attributes, which name the table and the set.
func get(conn *netlink.Conn, request uint16, flags netlink.HeaderFlags, names ...string) ([][]byte, error) {
	encoder := netlink.NewAttributeEncoder()
	for i, name := range names {
		encoder.String(uint16(i+1), name)
	}
	payload, err := encoder.Encode()
	if err != nil {
		return nil, fmt.Errorf("nftables: encode request: %w", err)
	}
	replies, err := conn.Execute(message(request, flags, unix.NFPROTO_INET, payload))
	if err != nil {
		return nil, fmt.Errorf("nftables: read table %s: %w", tableName, err)
	}
	var found [][]byte
	for _, reply := range replies {
		// The kernel lists the chains of all tables.
		if object := body(reply); text(find(object, unix.NFTA_TABLE_NAME)) == tableName {
			found = append(found, object)
		}
	}
	return found, nil
}

func currentGeneration() (uint32, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return 0, fmt.Errorf("nftables: open netlink socket: %w", err)
	}
	defer conn.Close()
	return generation(conn)
}

func generation(conn *netlink.Conn) (uint32, error) {
	replies, err := conn.Execute(message(unix.NFT_MSG_GETGEN, 0, unix.NFPROTO_UNSPEC, nil))
	if err != nil {
		return 0, fmt.Errorf("nftables: read generation: %w", err)
	}
	for _, reply := range replies {
		if id, ok := generationOf(reply); ok {
			return id, nil
		}
	}
	return 0, errors.New("nftables: the kernel tells no generation")
}

// generationOf reads the message that tells a generation. Among events it is the last one of each transaction.
func generationOf(m netlink.Message) (id uint32, ok bool) {
	if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN {
		return 0, false
	}
	value := find(body(m), unix.NFTA_GEN_ID)
	if len(value) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(value), true
}

func message(request uint16, flags netlink.HeaderFlags, family byte, payload []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | request), Flags: netlink.Request | flags},
		Data:   append([]byte{family, 0, 0, 0}, payload...),
	}
}

// body is a message without struct nfgenmsg, with which every message of the subsystem begins: family, version, and a number of
// two bytes.
func body(m netlink.Message) []byte { return m.Data[min(len(m.Data), 4):] }

// attributes walks over the attributes in b, types and values, without a copy: a table may have many thousands.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.SizeofNlAttr || length > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofNlAttr:length]) {
				return
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}

// find follows a path into nested attributes and returns the value at its end, nil when there is none.
func find(b []byte, path ...uint16) []byte {
	for _, want := range path {
		within := b
		b = nil
		for kind, value := range attributes(within) {
			if kind == want {
				b = value
				break
			}
		}
	}
	return b
}

// text is a string attribute, which ends in a zero.
func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
