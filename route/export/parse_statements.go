package export

import "net/netip"

// statements collects routes that a configuration says in several statements each.
type statements struct {
	r      *reading
	source source // of the statement
	routes map[place]*statementRoute
	order  []*statementRoute
	hops   map[statementHopKey]int // index of a hop among those of its route
}

// source is a line, and its number.
type source struct {
	number int
	text   string
}

// refuse notes that the statement cannot be read: once for a line that many begin with.
func (t *statements) refuse(err error) {
	if n := len(t.r.unread); n > 0 && t.r.unread[n-1].Line == t.source.number {
		return
	}
	t.r.unread = append(t.r.unread, Unread{t.source.number, t.source.text, err.Error()})
}

// statementRoute is what was said of a route: by itself, and by each of its next hops.
type statementRoute struct {
	all    Static
	hops   []statementHop
	hidden bool // not in use
}

type statementHop struct {
	Static
	hidden bool
}

type statementHopKey struct {
	route *statementRoute
	hop   netip.Addr
	via   string // "" with an address
}

// at is the route to a prefix, which may begin with this statement.
func (t *statements) at(vrf string, prefix netip.Prefix, name string) *statementRoute {
	key := place{vrf, prefix}
	route := t.routes[key]
	if route == nil {
		if t.routes == nil {
			t.routes, t.hops = map[place]*statementRoute{}, map[statementHopKey]int{}
		}
		route = &statementRoute{all: Static{Route: Route{VRF: vrf, Prefix: prefix, Name: name}, Line: t.source.number, Text: t.source.text}}
		t.routes[key] = route
		t.order = append(t.order, route)
	}
	return route
}

// hop is the route's next hop with this address, or else these words, which is added where it is new.
func (t *statements) hop(route *statementRoute, hop Static) *statementHop {
	key := statementHopKey{route, hop.NextHop, hop.Via}
	if hop.NextHop.IsValid() {
		key.via = ""
	}
	if i, ok := t.hops[key]; ok {
		return &route.hops[i]
	}
	t.hops[key] = len(route.hops)
	hop.Line, hop.Text = t.source.number, t.source.text
	route.hops = append(route.hops, statementHop{Static: hop})
	return &route.hops[len(route.hops)-1]
}

// end hands the routes to the reading.
func (t *statements) end() {
	for _, route := range t.order {
		if route.hidden {
			continue
		}
		if len(route.hops) == 0 {
			t.source = source{route.all.Line, route.all.Text}
			t.refuse(errNoHop)
		}
		for _, h := range route.hops {
			if h.hidden {
				continue
			}
			s := route.all
			s.NextHop, s.Via, s.Line, s.Text = h.NextHop, h.Via, h.Line, h.Text
			if h.Preference != 0 {
				s.Preference = h.Preference
			}
			if h.Tag != 0 {
				s.Tag = h.Tag
			}
			s.BFD = s.BFD || h.BFD
			t.r.found = append(t.r.found, s)
		}
	}
}

// readVyOS reads what "show configuration commands" prints.
func readVyOS(r *reading) error {
	l, t := lexer{comment: "#"}, statements{r: r}
	for r.next() {
		if !begins(r.text, "set protocols static") && !begins(r.text, "set vrf name") {
			continue
		}
		words, _ := l.split(r.text)
		p, vrf := phrase(words[1:]), ""
		if p.skip("vrf", "name") {
			vrf = p.take()
		}
		if p.skip("protocols", "static") && (p.skip("route") || p.skip("route6")) {
			t.source = source{r.number, r.text}
			if err := t.vyos(vrf, p); err != nil {
				t.refuse(err)
			}
		}
	}
	t.end()
	return nil
}

// vyos reads a statement from the prefix on.
func (t *statements) vyos(vrf string, p phrase) error {
	prefix, err := readPrefix(p.take())
	if err != nil {
		return err
	}
	route := t.at(vrf, prefix, "")
	var hop Static
	switch kind := p.take(); kind {
	case "description":
		route.all.Name = p.take()
		return nil
	case "next-hop":
		if err := hop.setHop(p.take()); err != nil {
			return err
		}
	case "blackhole", "reject":
		hop.Via = kind
	case "interface":
		hop.Via = p.take()
	case "dhcp-interface":
		hop.Via = kind + " " + p.take()
	default:
		return nil
	}
	if err := hop.complete(); err != nil {
		return err
	}
	h := t.hop(route, hop)
	switch p.take() {
	case "distance":
		h.Preference, err = readNumber[int64](p.take())
	case "tag":
		h.Tag, err = readNumber[uint32](p.take())
	case "bfd":
		h.BFD = true
	case "interface":
		h.Via = p.take()
	case "vrf":
		h.Via = "vrf " + p.take()
	case "disable":
		h.hidden = true
	}
	return err
}
