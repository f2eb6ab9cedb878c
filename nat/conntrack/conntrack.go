// Package conntrack asks the kernel's connection tracking what egress gateways need of it: which connections are to be
// forgotten, and how the ports of egress addresses are used. It works in the network namespace of its caller.
package conntrack

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages and attributes, of linux/netfilter/nfnetlink_conntrack.h.
const (
	get    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	remove = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE

	attrTupleOrig  = 1  // CTA_TUPLE_ORIG
	attrTupleReply = 2  // CTA_TUPLE_REPLY
	attrStatus     = 3  // CTA_STATUS
	attrMark       = 8  // CTA_MARK
	attrMarkMask   = 21 // CTA_MARK_MASK
	attrStatusMask = 26 // CTA_STATUS_MASK

	attrTupleIP    = 1 // CTA_TUPLE_IP
	attrTupleProto = 2 // CTA_TUPLE_PROTO

	attrSource4      = 1 // CTA_IP_V4_SRC
	attrDestination4 = 2 // CTA_IP_V4_DST
	attrSource6      = 3 // CTA_IP_V6_SRC
	attrDestination6 = 4 // CTA_IP_V6_DST

	attrProtocol   = 1 // CTA_PROTO_NUM
	attrSourcePort = 2 // CTA_PROTO_SRC_PORT

	statusSourceNAT = 1 << 4 // IPS_SRC_NAT
)

// headerLen is the length of struct nfgenmsg, which all messages begin with.
const headerLen = 4

// open opens a connection that ends with ctx.
func open(ctx context.Context) (conn *netlink.Conn, closeConn func(), err error) {
	conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("open netlink socket: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() {
		stop()
		_ = conn.Close()
	}, nil
}

// filter is that of entries in which the bits of mask are value, as two attributes.
func filter(valueAttr, maskAttr uint16, value, mask uint32) []byte {
	encoder := netlink.NewAttributeEncoder()
	encoder.ByteOrder = binary.BigEndian
	encoder.Uint32(valueAttr, value)
	encoder.Uint32(maskAttr, mask)
	attributes, _ := encoder.Encode() // fails for values longer than these only
	return attributes
}

// request is about the entries of both families that the kernel finds by a filter.
func request(kind uint16, flags netlink.HeaderFlags, filter []byte) netlink.Message {
	header := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | flags},
		Data:   append(header, filter...),
	}
}

// entries reads the attributes of the entries that match, one by one: there may be more of them than memory should hold.
func entries(conn *netlink.Conn, filter []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if _, err := conn.Send(request(get, netlink.Dump, filter)); err != nil {
			yield(nil, err)
			return
		}
		for message, err := range conn.ReceiveIter() {
			if err == nil && len(message.Data) < headerLen {
				err = fmt.Errorf("the kernel's message has %d bytes", len(message.Data))
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(message.Data[headerLen:], nil) {
				return
			}
		}
	}
}
