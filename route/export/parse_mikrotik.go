package export

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// readMikrotik reads what "/ip route export" and a whole "/export" print, and our commands. Disabled routes are left out.
func readMikrotik(r *reading) error {
	l := lexer{marks: "=", comment: "#"}
	menu := ""
	for r.next() {
		number := r.number
		var whole strings.Builder
		for strings.HasSuffix(r.text, `\`) {
			whole.WriteString(strings.TrimSuffix(r.text, `\`))
			if !r.next() {
				r.text = ""
			}
		}
		text := r.text
		if whole.Len() > 0 {
			whole.WriteString(text)
			text = whole.String()
		}
		if strings.HasPrefix(text, "/") {
			menu = "" // until it is known
		} else if menu == "" {
			continue
		}
		words, _ := l.split(text)
		p := phrase(words)
		if m := mikrotikMenu(&p); m != "" {
			menu = m
		}
		last := r.number
		r.number, r.text = number, text
		if menu != "" && p.skip("add") {
			r.mikrotik(menu == "/ipv6", p)
		}
		r.number = last
	}
	return nil
}

// mikrotikMenu takes the name of one of the menus of routes: "/ip" or "/ipv6"; "" if it is another one, or none.
func mikrotikMenu(p *phrase) string {
	for _, menu := range []string{"/ip", "/ipv6"} {
		if p.skip(menu, "route") || p.skip(menu+"/route") {
			if next := p.peek(); next == "" || next == "add" {
				return menu
			}
		}
	}
	return ""
}

// mikrotik reads the words after add: NAME = VALUE, or the name of a flag.
func (r *reading) mikrotik(six bool, p phrase) {
	s := Static{Route: Route{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}}
	if six {
		s.Prefix = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	var (
		hops []string
		err  error
	)
	for len(p) > 0 && err == nil {
		name, value := p.take(), "yes"
		if p.skip("=") {
			value = p.take()
		}
		switch name {
		case "dst-address":
			if value != "" {
				s.Prefix, err = readPrefix(value)
			}
		case "gateway":
			if hops = strings.Split(value, ","); unsafeHop(value) {
				err = errUnsafeHop
			}
		case "routing-table", "routing-mark":
			if value != "main" {
				s.VRF = value
			}
		case "distance":
			s.Preference, err = readNumber[int64](value)
		case "check-gateway":
			s.BFD = value == "bfd"
		case "comment":
			s.Name = value
		case "blackhole":
			if value == "yes" {
				s.Via = name
			}
		case "type":
			if value != "unicast" {
				s.Via = value
			}
		case "disabled":
			if value == "yes" {
				return
			}
		}
	}
	if err != nil || s.Via != "" {
		r.take(s, err)
		return
	}
	switch {
	case len(hops) == 0:
		r.take(s, errNoHop)
		return
	case len(hops) > 1024:
		r.take(s, errors.New("it has more gateways than a route can have"))
		return
	}
	all := make([]Static, len(hops))
	for i, hop := range hops {
		all[i] = s
		if err := all[i].mikrotikHop(hop); err != nil {
			r.take(s, err)
			return
		}
	}
	for _, one := range slices.Compact(all) {
		r.take(one, nil)
	}
}

// mikrotikHop reads ADDRESS[%INTERFACE][@VRF], or an interface.
func (s *Static) mikrotikHop(hop string) error {
	address, vrf, _ := strings.Cut(hop, "@")
	if address == "" {
		return errNoHop
	}
	address, _, _ = strings.Cut(address, "%")
	if !likeAddress(address) {
		s.Via = hop
		return nil
	}
	if err := s.setHop(address); err != nil {
		return fmt.Errorf("gateway %q is no address", hop)
	}
	// What is usual is not told: the route's own VRF, no interface.
	if strings.Contains(hop, "%") || vrf != s.VRF && vrf != "" && !(vrf == "main" && s.VRF == "") {
		s.Via = strings.TrimPrefix(hop, address)
	}
	return nil
}
