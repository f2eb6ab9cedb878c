package bgp

import (
	"fmt"
	"strconv"
	"strings"
)

// Community is the attribute value of RFC 1997: an AS number and a value that the AS gives a meaning.
type Community uint32

// ParseCommunity reads "64512:100": two numbers of 0..65535.
func ParseCommunity(text string) (Community, error) {
	n, err := numbers(text, 2, 16)
	if err != nil {
		return 0, fmt.Errorf("community %q: %w", text, err)
	}
	return Community(n[0]<<16 | n[1]), nil
}

func (c Community) String() string { return fmt.Sprintf("%d:%d", uint32(c)>>16, uint32(c)&0xffff) }

// LargeCommunity is the attribute value of RFC 8092.
type LargeCommunity struct {
	Global, Local1, Local2 uint32
}

// ParseLargeCommunity reads "4200000001:2:3": three numbers of 0..4294967295.
func ParseLargeCommunity(text string) (LargeCommunity, error) {
	n, err := numbers(text, 3, 32)
	if err != nil {
		return LargeCommunity{}, fmt.Errorf("large community %q: %w", text, err)
	}
	return LargeCommunity{n[0], n[1], n[2]}, nil
}

func (c LargeCommunity) String() string { return fmt.Sprintf("%d:%d:%d", c.Global, c.Local1, c.Local2) }

// numbers reads count decimal numbers of so many bits, with a colon between them.
func numbers(text string, count, bits int) ([]uint32, error) {
	parts := strings.Split(text, ":")
	if len(parts) != count {
		return nil, fmt.Errorf("want %d numbers with a colon between them", count)
	}
	list := make([]uint32, count)
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number of 0..%d", part, uint64(1)<<bits-1)
		}
		list[i] = uint32(n)
	}
	return list, nil
}
