package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/waymark-bgp/waymark/nat"
)

// Attributes of linux/netfilter/nf_tables.h that package unix lacks.
const (
	tableHandle = 4
	setHandle   = 16
)

// anonymous is how the names of sets begin that are part of a rule, and as constant as the rule.
const anonymous = "__"

// contents is what the kernel holds of our table.
type contents struct {
	generation uint32               // of the whole ruleset, of which our table is a part; 0 when that changed meanwhile
	frame      string               // all but the elements, as the kernel describes it: equal means untouched
	elements   map[string][]element // by set, sorted

	chains, sets []string // names; maps are sets too
}

func (c *contents) equal(other *contents) bool {
	return c.frame == other.frame && maps.EqualFunc(c.elements, other.elements, slices.Equal)
}

// read reads our table, or nothing but the generation number when nothing at all has changed since the last Apply.
func (b *Backend) read() (*contents, error) {
	// The kernel fills as much as we offer, up to 32 KiB, and searches its place in the set anew for each piece.
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{MessageBufferSize: 32 << 10})
	if err != nil {
		return nil, fmt.Errorf("nftables: open netlink socket: %w", err)
	}
	defer conn.Close()
	// Others may write while we read, on some hosts all the time: then what is the same twice is not in change.
	var last *contents
	for range 20 {
		before, err := generation(conn)
		if err != nil {
			return nil, err
		}
		if b.left != nil && b.left.generation == before {
			return b.left, nil
		}
		c, readErr := readTable(conn)
		after, err := generation(conn)
		if err != nil {
			return nil, err
		}
		switch {
		case before == after && readErr != nil:
			return nil, readErr
		case before == after:
			c.generation = after
			return c, nil
		case readErr == nil && last != nil && c.equal(last):
			return c, nil
		}
		last = c
	}
	return nil, fmt.Errorf("nftables: read table %s: it changed during each of 20 attempts", tableName)
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
	// Handles tell that an object was made anew; the rest is what can change under a handle. Counts of references change with
	// the elements and are left out.
	c.identify("table", tables, tableHandle, unix.NFTA_TABLE_FLAGS)

	for _, kind := range []struct {
		name       string
		request    uint16
		attributes []uint16
	}{
		{"chain", unix.NFT_MSG_GETCHAIN, []uint16{unix.NFTA_CHAIN_HANDLE, unix.NFTA_CHAIN_NAME, unix.NFTA_CHAIN_HOOK, unix.NFTA_CHAIN_POLICY, unix.NFTA_CHAIN_TYPE}},
		{"rule", unix.NFT_MSG_GETRULE, []uint16{unix.NFTA_RULE_CHAIN, unix.NFTA_RULE_HANDLE, unix.NFTA_RULE_EXPRESSIONS}},
		{"set", unix.NFT_MSG_GETSET, []uint16{setHandle, unix.NFTA_SET_NAME}},
	} {
		objects, err := get(conn, kind.request, netlink.Dump, tableName)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, err
		}
		c.identify(kind.name, objects, kind.attributes...)
		for _, object := range objects {
			switch kind.name {
			case "chain":
				c.chains = append(c.chains, text(find(object, unix.NFTA_CHAIN_NAME)))
			case "set":
				name := text(find(object, unix.NFTA_SET_NAME))
				if strings.HasPrefix(name, anonymous) {
					continue
				}
				c.sets = append(c.sets, name)
				if err := c.readElements(conn, name); err != nil {
					return nil, err
				}
			}
		}
	}
	return c, nil
}

// identify adds objects of our table to the frame.
func (c *contents) identify(kind string, objects [][]byte, types ...uint16) {
	for _, object := range objects {
		c.frame += kind
		for _, t := range types {
			c.frame += fmt.Sprintf(" %x", find(object, t))
		}
		c.frame += "\n"
	}
}

func (c *contents) readElements(conn *netlink.Conn, set string) error {
	lists, err := get(conn, unix.NFT_MSG_GETSETELEM, netlink.Dump, tableName, set)
	if err != nil {
		return err
	}
	var ends []end
	var elements []element
	for _, list := range lists {
		for _, item := range attributes(find(list, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			key := find(item, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)
			chain := text(find(item, unix.NFTA_SET_ELEM_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CHAIN))
			if of, ok := keyTypes[set]; ok {
				elements = append(elements, element{key: of.text(key), chain: chain})
				continue
			}
			addr, ok := netip.AddrFromSlice(key)
			if !ok {
				continue // a set of another type, which the kernel will not let us add again
			}
			flags := find(item, unix.NFTA_SET_ELEM_FLAGS)
			ends = append(ends, end{
				addr:  addr,
				close: len(flags) == 4 && flags[3]&unix.NFT_SET_ELEM_INTERVAL_END != 0,
				chain: chain,
			})
		}
	}
	slices.SortFunc(elements, inOrder)
	if elements = append(elements, join(ends)...); len(elements) > 0 {
		c.elements[set] = elements
	}
	return nil
}

// text is a key as our rulesets write it; of a key of another size, something that they do not.
func (t keyType) text(key []byte) string {
	switch {
	case t == deviceKey:
		return text(key)
	case t == markKey && len(key) == 4:
		return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(key))
	}
	return fmt.Sprintf("%x", key)
}

// end is how the kernel holds an interval: its first address, and the address after its last one.
type end struct {
	addr  netip.Addr
	close bool
	chain string
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
		elements = append(elements, element{Range: nat.Range{First: e.addr, Last: last}, chain: e.chain})
	}
	return elements
}

func highest(addr netip.Addr) netip.Addr {
	all := slices.Repeat([]byte{0xff}, addr.BitLen()/8)
	last, _ := netip.AddrFromSlice(all)
	return last
}
