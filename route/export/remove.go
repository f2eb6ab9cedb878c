package export

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// RemoveStatic writes the commands that take routes away which Parse found, each once. Of a prefix (in a VRF) that is among left,
// only the next hop goes; of another one all that the router says of it goes, also where next hops, preference and tag are
// statements of their own.
func RemoveStatic(dialect string, gone []Static, left []Route) (string, error) {
	d, err := lookUp(dialect)
	if err != nil {
		return "", err
	}
	if d.undo == nil {
		return "", fmt.Errorf("%s %w", dialect, ErrNoCommand)
	}
	r := removal{dialect: d, gone: gone, left: map[place][]Route{}}
	for _, route := range left {
		r.left[placeOf(route)] = append(r.left[placeOf(route)], route)
	}
	d.undo(&r)
	return r.text.String(), nil
}

// removal is one run of RemoveStatic.
type removal struct {
	*dialect
	gone []Static
	left map[place][]Route
	text strings.Builder
}

// last says that nothing is left of the route's prefix.
func (r *removal) last(s Static) bool {
	return len(r.left[placeOf(s.Route)]) == 0
}

// preference is the route's, where another route that stays differs by nothing else; 0: it need not be said.
func (r *removal) preference(s Static) int64 {
	if slices.ContainsFunc(r.left[placeOf(s.Route)], func(l Route) bool { return l.NextHop == s.NextHop }) {
		return cmp.Or(s.Preference, r.normal(&s.Route))
	}
	return 0
}

// eachUndo is a dialect in which a line stands for itself.
func eachUndo(one func(r *removal, s Static) string) func(*removal) {
	return func(r *removal) {
		written := map[string]bool{}
		for _, s := range r.gone {
			if line := one(r, s); !written[line] {
				written[line] = true
				r.text.WriteString(line + "\n")
			}
		}
	}
}

// undo writes lines like "no ip route [vrf V] PREFIX HOP", those of a VRF in its block where the dialect has blocks only.
func (g *lines) undo(r *removal) {
	block := ""
	for _, s := range r.gone {
		indent := ""
		if strings.HasSuffix(g.block, "context ") {
			if block != "" && block != s.VRF {
				r.text.WriteString("exit\n")
			}
			if s.VRF != "" {
				indent = "  "
				if block != s.VRF {
					r.text.WriteString(g.block + s.VRF + "\n")
				}
			}
			block = s.VRF
		}
		r.text.WriteString(indent + g.no)
		words(&r.text, family(s.Route, g.begin[0], g.begin[1]))
		if g.vrf != "" {
			text(&r.text, g.vrf, s.VRF)
		}
		switch six := s.Prefix.Addr().Is6(); {
		case six && g.masks[1]:
			words(&r.text, s.Prefix.Addr().String(), strconv.Itoa(s.Prefix.Bits()))
		case !six && g.masks[0]:
			words(&r.text, s.Prefix.Addr().String(), mask(s.Prefix))
		default:
			words(&r.text, s.Prefix.String())
		}
		words(&r.text, g.hop(s)...)
		if g.counts {
			number(&r.text, "", r.preference(s))
		}
		if g.vrfLast != "" {
			text(&r.text, g.vrfLast, s.VRF)
		}
		r.text.WriteByte('\n')
	}
	if block != "" {
		r.text.WriteString("exit\n")
	}
}

// hop is the next hop in the dialect's order: mostly the interface is before the address.
func (g *lines) hop(s Static) []string {
	before := strings.Fields(s.Via)
	var after []string
	if i := slices.IndexFunc(before, func(word string) bool { return g.hopFirst || slices.Contains(g.after, word) }); i >= 0 {
		before, after = before[:i:i], before[i:]
	}
	if s.NextHop.IsValid() {
		before = append(before, s.NextHop.String())
	}
	return append(before, after...)
}

// undoXR writes whole lines, which need no block.
func undoXR(_ *removal, s Static) string {
	var b strings.Builder
	b.WriteString("no router static")
	text(&b, "vrf", s.VRF)
	words(&b, "address-family", family(s.Route, "ipv4", "ipv6"), "unicast", s.Prefix.String())
	words(&b, ciscoIOSXRLines.hop(s)...)
	return b.String()
}

// undoJunos takes the whole route away with its last next hop: what is left of it would say nothing of where to.
func undoJunos(r *removal, s Static) string {
	line := "delete " + junosPath(s.Route)
	qualified, word := strings.HasPrefix(s.Via, junosQualifiedHop), ""
	switch via, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(s.Via, junosQualifiedHop), " "), " "); {
	case s.Off || r.last(s):
		return line
	case s.NextHop.IsValid():
		word = s.NextHop.String()
	case slices.Contains(junosTargets, via):
		return line + " " + via
	default:
		word = via
	}
	if qualified {
		return line + " " + junosQualifiedHop + " " + word
	}
	return line + " next-hop " + word
}

// undoVyOS takes the whole route away with its last next hop, as undoJunos does.
func undoVyOS(r *removal, s Static) string {
	line := "delete " + vyosPath(s.Route)
	switch {
	case s.Off || r.last(s):
		return line
	case s.NextHop.IsValid():
		return line + " next-hop " + s.NextHop.String()
	case s.Via == "blackhole" || s.Via == "reject" || strings.HasPrefix(s.Via, "dhcp-interface "):
		return line + " " + s.Via
	}
	return line + " interface " + s.Via
}

// undoMikrotik finds the route by what it says. One of the same prefix in another table, as for policies, stays, and so do those of
// its gateways that do not go.
func undoMikrotik(r *removal, s Static) string {
	var find strings.Builder
	fmt.Fprintf(&find, "[find dst-address=%s", s.Prefix)
	hop := s.Via
	if s.NextHop.IsValid() {
		hop = s.mikrotikGateway()
	}
	switch hop {
	case "blackhole":
		find.WriteString(" blackhole")
	case "unreachable", "prohibit":
		find.WriteString(" type=" + hop)
	default:
		fmt.Fprintf(&find, " gateway=\"%s\"", hop)
	}
	if n := r.preference(s); n != 0 {
		fmt.Fprintf(&find, " distance=%d", n)
	}
	fmt.Fprintf(&find, " routing-table=%s]", cmp.Or(s.VRF, "main"))
	menu := family(s.Route, "/ip route", "/ipv6 route")
	if stay := r.mikrotikStay(s, hop); stay != "" {
		return fmt.Sprintf("%s set %s gateway=\"%s\"", menu, find.String(), stay)
	}
	return menu + " remove " + find.String()
}

// mikrotikGateway is the gateway as the configuration writes it, with what else is in its list.
func (s *Static) mikrotikGateway() string {
	l := lexer{marks: "="}
	words, _ := l.split(s.Text)
	for i := range len(words) - 2 {
		if words[i] == "gateway" && words[i+1] == "=" {
			return words[i+2]
		}
	}
	hop := s.NextHop.String() + s.Via
	if s.VRF != "" && !strings.Contains(s.Via, "@") {
		hop += "@" + s.VRF
	}
	return hop
}

// mikrotikStay is what is left of a list of gateways.
func (r *removal) mikrotikStay(s Static, list string) string {
	if !strings.Contains(list, ",") {
		return ""
	}
	var stay []string
	for _, hop := range strings.Split(list, ",") {
		one := s
		one.NextHop, one.Via = netip.Addr{}, ""
		if err := one.mikrotikHop(hop); err != nil || !slices.Contains(r.gone, one) {
			stay = append(stay, hop)
		}
	}
	return strings.Join(stay, ",")
}

// undoLinux writes a line for "ip -batch". A route with several next hops goes as a whole: the kernel knows it as one.
func undoLinux(r *removal, s Static) string {
	var b strings.Builder
	b.WriteString("route del")
	device := s.Via
	if slices.Contains(linuxDiscards, s.Via) {
		words(&b, s.Via)
		device = ""
	}
	words(&b, s.Prefix.String())
	switch {
	case s.oneOfSeveral() && !slices.ContainsFunc(r.left[placeOf(s.Route)], func(l Route) bool { return l.Preference == s.Preference }):
		device = ""
	case !s.NextHop.IsValid():
	case s.NextHop.Is4() == s.Prefix.Addr().Is4():
		words(&b, "via", s.NextHop.String())
	default:
		words(&b, "via", "inet6", s.NextHop.String())
	}
	text(&b, "dev", device)
	linuxTable(&b, s.VRF)
	number(&b, "metric", cmp.Or(s.Preference, r.preference(s)))
	return b.String()
}

// oneOfSeveral says that Linux has the next hop and others in one route.
func (s *Static) oneOfSeveral() bool { return strings.HasPrefix(s.Text, "nexthop ") }

// undoOpenBSD writes a command of route(8).
func undoOpenBSD(r *removal, s Static) string {
	var b strings.Builder
	b.WriteString("route -n")
	text(&b, "-T", s.VRF)
	words(&b, "delete", family(s.Route, "-inet", "-inet6"))
	number(&b, "-priority", cmp.Or(s.Preference, r.preference(s)))
	words(&b, s.Prefix.String())
	switch {
	case s.NextHop.IsLinkLocalUnicast() && s.Via != "":
		words(&b, s.NextHop.WithZone(s.Via).String())
	case s.NextHop.IsValid():
		words(&b, s.NextHop.String())
	}
	return b.String()
}
