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

// refuse notes that the statement cannot be read: once for a line that many begin with, and for many that say the same.
func (t *statements) refuse(err error) {
	if n := len(t.r.unread); n > 0 && (t.r.unread[n-1].Line == t.source.number || t.r.unread[n-1].Reason == err.Error()) {
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
		if len(route.hops) == 0 && !route.hidden {
			t.source = source{route.all.Line, route.all.Text}
			t.refuse(errNoHop)
		}
		for _, h := range route.hops {
			s := route.all
			s.Off = route.hidden || h.hidden
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

// readVyOS reads what "show configuration" prints, and what "show configuration commands" does.
func readVyOS(r *reading) error {
	l, t := lexer{marks: "{}", comment: "#", block: true}, statements{r: r}
	var (
		path []string // before the braces that are open
		base []int    // for each of them: where in the path its words begin
	)
	for r.next() {
		words, _ := l.split(r.text)
		switch n := len(words); {
		case n == 0:
		case n > 1 && words[0] == "set" && (words[1] == "protocols" || words[1] == "vrf"):
			t.vyosStatement(words[1:])
		case words[0] == "}":
			if len(base) > 0 {
				path = path[:base[len(base)-1]]
				base = base[:len(base)-1]
			}
		case words[n-1] == "{":
			base = append(base, len(path))
			path = append(path, words[:n-1]...)
			t.vyosStatement(path)
		case len(base) > 0:
			t.vyosStatement(append(path, words...))
		}
	}
	t.end()
	return nil
}

// vyosStatement reads a statement of the whole configuration.
func (t *statements) vyosStatement(p phrase) {
	vrf := ""
	if p.skip("vrf", "name") {
		vrf = p.take()
	}
	if !p.skip("protocols", "static") || !p.skip("route") && !p.skip("route6") {
		return
	}
	t.source = source{t.r.number, t.r.text}
	if err := t.vyos(vrf, p); err != nil {
		t.refuse(err)
	}
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
