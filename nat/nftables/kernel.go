package nftables

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/nat"
)

// Attributes of linux/netfilter/nf_tables.h that package unix lacks.
const (
	tableHandle = 4
	setHandle   = 16
)

// contents is what the kernel holds of our table.
type contents struct {
	generation uint32               // of the whole ruleset of this network namespace, of which our table is a part
	frame      string               // identifies tables, chains, rules and sets by their handles: equal means untouched
	elements   map[string][]element // by set, sorted
	strange    bool                 // there are objects or elements that we never make
}

func (c *contents) equal(other *contents) bool {
	return c.frame == other.frame && maps.EqualFunc(c.elements, other.elements, slices.Equal)
}

// read reads our table, or nothing but the generation number when nothing at all has changed since the last Apply.
func (b *Backend) read() (*contents, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("nftables: open netlink socket: %w", err)
	}
	defer conn.Close()
	// Others may write while we read, as often as kube-proxy does: then read again.
	for range 20 {
		before, err := generation(conn)
		if err != nil {
			return nil, err
		}
		if b.left != nil && b.left.generation == before {
			return b.left, nil
		}
		c, err := readTable(conn)
		if err != nil {
			return nil, err
		}
		after, err := generation(conn)
		if err != nil {
			return nil, err
		}
		if before == after {
			c.generation = after
			return c, nil
		}
	}
	return nil, fmt.Errorf("nftables: read table %s: the ruleset changed during each of 20 attempts", tableName)
}

func readTable(conn *netlink.Conn) (*contents, error) {
	c := &contents{elements: map[string][]element{}}
	tables, err := get(conn, unix.NFT_MSG_GETTABLE, 0, tableName)
	if errors.Is(err, unix.ENOENT) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	// What a handle names never changes its content, but for the flags of the table and the hook and policy of a chain.
	c.identify("table", tables, tableHandle, unix.NFTA_TABLE_FLAGS)

	for _, kind := range []struct {
		name       string
		request    uint16
		attributes []uint16
	}{
		{"chain", unix.NFT_MSG_GETCHAIN, []uint16{unix.NFTA_CHAIN_HANDLE, unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE}},
		{"rule", unix.NFT_MSG_GETRULE, []uint16{unix.NFTA_RULE_CHAIN, unix.NFTA_RULE_HANDLE}},
		{"set", unix.NFT_MSG_GETSET, []uint16{setHandle, unix.NFTA_SET_NAME}},
	} {
		objects, err := get(conn, kind.request, netlink.Dump, tableName)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		c.identify(kind.name, objects, kind.attributes...)
		for _, object := range objects {
			switch name := text(object[unix.NFTA_CHAIN_NAME]); kind.name {
			case "chain":
				c.strange = c.strange || !slices.Contains(chainNames, name)
			case "set":
				if err := c.readElements(conn, text(object[unix.NFTA_SET_NAME])); err != nil {
					return nil, err
				}
			}
		}
	}
	return c, nil
}

// identify adds objects of our table to the frame.
func (c *contents) identify(kind string, objects []attributes, types ...uint16) {
	for _, object := range objects {
		c.frame += kind
		for _, t := range types {
			c.frame += fmt.Sprintf(" %x", object[t])
		}
		c.frame += "\n"
	}
}

func (c *contents) readElements(conn *netlink.Conn, set string) error {
	if !slices.Contains(setNames, set) && !slices.Contains(mapNames, set) {
		c.strange = true
		return nil
	}
	lists, err := get(conn, unix.NFT_MSG_GETSETELEM, netlink.Dump, tableName, set)
	if err != nil {
		return err
	}
	var ends []end
	for _, list := range lists {
		items, err := netlink.NewAttributeDecoder(list[unix.NFTA_SET_ELEM_LIST_ELEMENTS])
		if err != nil {
			return fmt.Errorf("nftables: elements of %s: %w", set, err)
		}
		for items.Next() {
			e, err := parseEnd(items.Bytes())
			if err != nil {
				c.strange = true
				continue
			}
			ends = append(ends, e)
		}
	}
	if elements := join(ends); len(elements) > 0 {
		c.elements[set] = elements
	}
	return nil
}

// end is how the kernel holds an interval: its first address, and the address after its last one.
type end struct {
	addr  netip.Addr
	close bool
	chain string
}

func parseEnd(b []byte) (end, error) {
	item, err := parse(b)
	if err != nil {
		return end{}, err
	}
	key, err := parse(item[unix.NFTA_SET_ELEM_KEY])
	if err != nil {
		return end{}, err
	}
	addr, ok := netip.AddrFromSlice(key[unix.NFTA_DATA_VALUE])
	if !ok {
		return end{}, fmt.Errorf("key of %d bytes", len(key[unix.NFTA_DATA_VALUE]))
	}
	data, err := parse(item[unix.NFTA_SET_ELEM_DATA])
	if err != nil {
		return end{}, err
	}
	verdict, err := parse(data[unix.NFTA_DATA_VERDICT])
	if err != nil {
		return end{}, err
	}
	flags := item[unix.NFTA_SET_ELEM_FLAGS]
	return end{
		addr:  addr,
		close: len(flags) == 4 && flags[3]&unix.NFT_SET_ELEM_INTERVAL_END != 0,
		chain: text(verdict[unix.NFTA_VERDICT_CHAIN]),
	}, nil
}

// join makes sorted elements of the ends of intervals. An interval up to the highest address has no end.
func join(ends []end) []element {
	slices.SortFunc(ends, func(a, b end) int {
		if c := a.addr.Compare(b.addr); c != 0 || a.close == b.close {
			return c
		}
		if a.close { // a neighbour begins where this interval ends
			return -1
		}
		return 1
	})
	var elements []element
	for i, e := range ends {
		if e.close {
			continue
		}
		last := highest(e.addr)
		if i+1 < len(ends) {
			last = ends[i+1].addr.Prev()
		}
		elements = append(elements, element{nat.Range{First: e.addr, Last: last}, e.chain})
	}
	return elements
}

func highest(addr netip.Addr) netip.Addr {
	all := slices.Repeat([]byte{0xff}, addr.BitLen()/8)
	last, _ := netip.AddrFromSlice(all)
	return last
}

// attributes are those of one message, by type.
type attributes map[uint16][]byte

func parse(b []byte) (attributes, error) {
	decoder, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, err
	}
	found := attributes{}
	for decoder.Next() {
		found[decoder.Type()] = decoder.Bytes()
	}
	return found, decoder.Err()
}

// get asks for objects of the inet family; names are the values of the first attributes, which name the table and the set.
func get(conn *netlink.Conn, request uint16, flags netlink.HeaderFlags, names ...string) ([]attributes, error) {
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
	var found []attributes
	for _, reply := range replies {
		object, err := parseMessage(reply)
		if err != nil {
			return nil, fmt.Errorf("nftables: read table %s: %w", tableName, err)
		}
		// The kernel lists the chains of all tables.
		if text(object[unix.NFTA_TABLE_NAME]) == tableName {
			found = append(found, object)
		}
	}
	return found, nil
}

func generation(conn *netlink.Conn) (uint32, error) {
	replies, err := conn.Execute(message(unix.NFT_MSG_GETGEN, 0, unix.NFPROTO_UNSPEC, nil))
	if err != nil {
		return 0, fmt.Errorf("nftables: read generation: %w", err)
	}
	for _, reply := range replies {
		object, err := parseMessage(reply)
		if err != nil {
			return 0, fmt.Errorf("nftables: read generation: %w", err)
		}
		if id := object[unix.NFTA_GEN_ID]; len(id) == 4 {
			return uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3]), nil
		}
	}
	return 0, errors.New("nftables: the kernel tells no generation")
}

// Every message of the subsystem begins with struct nfgenmsg: family, version, and a resource number of two bytes.
const nfgenmsgLength = 4

func message(request uint16, flags netlink.HeaderFlags, family byte, payload []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | request), Flags: netlink.Request | flags},
		Data:   append([]byte{family, 0, 0, 0}, payload...),
	}
}

func parseMessage(m netlink.Message) (attributes, error) {
	if len(m.Data) < nfgenmsgLength {
		return nil, fmt.Errorf("message of %d bytes", len(m.Data))
	}
	return parse(m.Data[nfgenmsgLength:])
}

// text is a string attribute, which ends in a zero.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
