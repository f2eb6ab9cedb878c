package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ForgetSources deletes the entries of the connections that some addresses have opened, whatever their mark, and says how many
// there were. It reads all entries that there are: filters of the kernel take one address, and one of IPv6 wrongly (6.18).
func ForgetSources(ctx context.Context, sources []netip.Addr) (n int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("forget connections of %d addresses: %w", len(sources), err)
		}
	}()
	conn, closeConn, err := open(ctx)
	if err != nil {
		return 0, err
	}
	defer closeConn()
	wanted := make(map[netip.Addr]bool, len(sources))
	for _, a := range sources {
		wanted[a] = true
	}
	var deletions []netlink.Message
	for entry, err := range entries(conn, nil) {
		if err != nil {
			return 0, err
		}
		tuple := find(entry, attrTupleOrig)
		if source := sourceOf(tuple); wanted[source] {
			deletions = append(deletions, deletion(source, tuple))
		}
	}
	for _, m := range deletions {
		switch _, err := conn.Execute(m); {
		case errors.Is(err, unix.ENOENT): // it has ended by itself
		case err != nil:
			return n, err
		default:
			n++
		}
	}
	return n, nil
}

// sourceOf is the source address of a tuple.
func sourceOf(tuple []byte) (source netip.Addr) {
	for part, value := range attributes(find(tuple, attrTupleIP)) {
		if part == attrSource4 || part == attrSource6 {
			source, _ = netip.AddrFromSlice(value)
		}
	}
	return source
}

// deletion is the request to delete the entry whose first packet had the tuple.
func deletion(source netip.Addr, tuple []byte) netlink.Message {
	encoder := netlink.NewAttributeEncoder()
	encoder.Bytes(unix.NLA_F_NESTED|attrTupleOrig, tuple)
	attributes, _ := encoder.Encode() // fails for longer values only
	m := request(remove, netlink.Acknowledge, attributes)
	m.Data[0] = unix.AF_INET // of the header: without the family a tuple is not read
	if source.Is6() {
		m.Data[0] = unix.AF_INET6
	}
	return m
}
