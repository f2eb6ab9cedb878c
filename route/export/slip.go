package export

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// slips finds among missing routes those that somebody may have mistyped.
type slips struct {
	routes []Route
	byText map[string][]int // what is left of an address when one character is left out, and the whole: routes by it
	places map[place]int
	masks  map[string]*prefixSet // of the routes of a VRF
}

func newSlips(routes []Route) *slips {
	s := &slips{routes: routes, byText: map[string][]int{}, places: map[place]int{}, masks: map[string]*prefixSet{}}
	byVRF := map[string][]netip.Prefix{}
	for i, r := range routes {
		s.places[placeOf(r)] = i
		byVRF[r.VRF] = append(byVRF[r.VRF], r.Prefix)
		for _, key := range slipKeys(r.Prefix.Addr()) {
			s.byText[key] = append(s.byText[key], i)
		}
	}
	for vrf, prefixes := range byVRF {
		s.masks[vrf] = newPrefixSet(prefixes)
	}
	return s
}

// slipKeys are such that two addresses which one slip makes of each other share one: one character other, one more or less, two
// changed places, parts in another order.
func slipKeys(a netip.Addr) []string {
	text := a.String()
	keys := []string{text, parts(a)}
	for i := range text {
		keys = append(keys, text[:i]+text[i+1:])
	}
	return keys
}

// parts are the numbers of an address without zeros, sorted.
func parts(a netip.Addr) string {
	list := numbers(a)
	list = slices.DeleteFunc(list, func(n string) bool { return n == "0" })
	slices.Sort(list)
	return "parts " + strings.Join(list, " ")
}

// numbers are the octets of an IPv4 address, and the groups of an IPv6 address.
func numbers(a netip.Addr) []string {
	if a.Is4() {
		return strings.Split(a.String(), ".")
	}
	bytes := a.As16()
	list := make([]string, 8)
	for i := range list {
		list[i] = strconv.FormatUint(uint64(bytes[2*i])<<8|uint64(bytes[2*i+1]), 16)
	}
	return list
}

// find returns the route of which a static route is a slip, and which slip it is; "": there is none. Of several the one of the same
// next hop is taken, then the first.
func (s *slips) find(h Static) (found Route, slip string) {
	best := -1
	consider := func(i int, what string) {
		if what == "" || s.routes[i].VRF != h.VRF {
			return
		}
		better := func(j int) bool { return s.routes[j].NextHop == h.NextHop }
		if best < 0 || better(i) && !better(best) || better(i) == better(best) && i < best {
			best, slip = i, what
		}
	}
	if masks := s.masks[h.VRF]; masks != nil {
		if cover, ok := masks.covering(h.Prefix); ok {
			consider(s.places[place{h.VRF, cover}], fmt.Sprintf("/%d in place of /%d", h.Prefix.Bits(), cover.Bits()))
		}
	}
	seen := map[int]bool{}
	for _, key := range slipKeys(h.Prefix.Addr()) {
		for _, i := range s.byText[key] {
			if seen[i] {
				continue
			}
			seen[i] = true
			switch w := s.routes[i].Prefix; {
			case w.Addr() == h.Prefix.Addr():
				consider(i, fmt.Sprintf("/%d in place of /%d", h.Prefix.Bits(), w.Bits()))
			case w.Bits() == h.Prefix.Bits():
				consider(i, slipOf(h.Prefix.Addr(), w.Addr()))
			}
		}
	}
	if best < 0 {
		return Route{}, ""
	}
	return s.routes[best], slip
}

// slipOf says by which slip somebody wrote one address in place of another; "": by none of the usual ones.
func slipOf(written, meant netip.Addr) string {
	if written == meant || written.Is4() != meant.Is4() || !written.IsValid() {
		return ""
	}
	if parts(written) == parts(meant) {
		name := "octets"
		if meant.Is6() {
			name = "groups"
		}
		return fmt.Sprintf("%s in place of %s: the %s are in another order", written, meant, name)
	}
	if what := slipOfText(written.String(), meant.String()); what != "" {
		a, b := numbers(written), numbers(meant)
		for i := range a {
			if a[i] == b[i] {
				continue
			}
			if !slices.Equal(a[i+1:], b[i+1:]) {
				return fmt.Sprintf("%s in place of %s: %s", written, meant, what)
			}
			return fmt.Sprintf("%s in place of %s: %s", a[i], b[i], what)
		}
	}
	return ""
}

// slipOfText says how two texts differ, if it is by one stroke.
func slipOfText(written, meant string) string {
	begin := 0
	for begin < min(len(written), len(meant)) && written[begin] == meant[begin] {
		begin++
	}
	a, b := written[begin:], meant[begin:] // what differs, and what comes after it
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	switch cmp.Compare(len(a), len(b)) {
	case 1:
		if len(a) != 1 || b != "" {
			return ""
		}
		if begin > 0 && written[begin-1] == a[0] || begin+1 < len(written) && written[begin+1] == a[0] {
			return "the " + a + " is doubled"
		}
		return "one digit too many"
	case -1:
		if len(b) != 1 || a != "" {
			return ""
		}
		return "a digit is missing"
	}
	swapped := len(a) == 2 && a[0] == b[1] && a[1] == b[0]
	switch {
	case len(a) == 1:
		return "one digit is another"
	case swapped && strings.Contains(a, "."):
		return "a dot is at another place"
	case swapped && strings.Contains(a, ":"):
		return "a colon is at another place"
	case swapped:
		return "two digits have changed places"
	}
	return ""
}
