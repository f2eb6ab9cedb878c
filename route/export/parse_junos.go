package export

import (
	"fmt"
	"strings"
)

// What a route has instead of a next hop, and a next hop that has options of its own.
var junosTargets = []string{"discard", "reject", "receive", "next-table", "lsp-next-hop", "static-lsp-next-hop", "p2mp-lsp-next-hop"}

const junosQualifiedHop = "qualified-next-hop"

// readJunos reads what "show configuration" prints, with and without "| display set".
func readJunos(r *reading) error {
	l, t := lexer{marks: "{};", comment: "#", block: true}, statements{r: r}
	var (
		path []string // of the statement so far, with the words before each brace that is open
		from []source // of each word of the path
		base []int    // for each brace: where in the path what is inside of it begins
		name string   // the last comment before the statement
	)
	cut := func() {
		if len(base) > 0 {
			path = path[:base[len(base)-1]]
		} else {
			path = path[:0]
		}
	}
	for r.next() {
		words, comment := l.split(r.text)
		switch {
		case comment != "" && len(words) == 0:
			name = strings.TrimLeft(comment, "#* ")
		case r.text == "":
			name = ""
		case len(words) > 0 && strings.Contains(words[0], "@"): // a prompt
			continue
		case len(base) == 0 && len(words) > 0 && (words[0] == "set" || words[0] == "deactivate"):
			t.source = source{r.number, r.text}
			t.junos(words[1:], nil, words[0] == "deactivate", name)
			path, name = path[:0], ""
			continue
		}
		for _, word := range words {
			switch word {
			case "{":
				base = append(base, len(path))
			case "}":
				if len(base) > 0 {
					base = base[:len(base)-1]
				}
				cut()
			case ";":
				t.junos(path, from, false, name)
				name = ""
				cut()
			default:
				path, from = append(path, word), append(from[:len(path)], source{r.number, r.text})
			}
		}
	}
	t.end()
	return nil
}

// junos reads a statement of the whole configuration, whose words may be from several lines.
func (t *statements) junos(p phrase, from []source, deactivate bool, name string) {
	whole := len(p)
	begin := func() { // what is told of the statement is told of the line where this word is
		if at := whole - len(p); at < len(from) && at < whole {
			t.source = from[at]
		}
	}
	vrf, hidden := "", p.skip("inactive:")
	if p.skip("routing-instances") {
		hidden = p.skip("inactive:") || hidden
		vrf = p.take()
		hidden = p.skip("inactive:") || hidden
	}
	// "show configuration routing-options" leaves these words out.
	if !p.skip("routing-options") && p.peek() != "static" && p.peek() != "rib" {
		return
	}
	hidden = p.skip("inactive:") || hidden
	if p.skip("rib") {
		rib := strings.TrimPrefix(p.take(), vrf+".")
		hidden = p.skip("inactive:") || hidden
		if rib != "inet.0" && rib != "inet6.0" {
			return
		}
	}
	if !p.skip("static") {
		return
	}
	hidden = p.skip("inactive:") || hidden
	begin()
	if !p.skip("route") {
		return
	}
	prefix, err := readPrefix(p.take())
	if err != nil {
		t.refuse(err)
		return
	}
	route := t.at(vrf, prefix, name)
	begin()
	if hidden || deactivate && len(p) == 0 {
		route.hidden = true
	}
	if err := t.junosRoute(route, p, p.skip("inactive:") || deactivate); err != nil {
		t.refuse(err)
	}
}

// junosRoute reads what a statement says after the prefix. Hidden is what is deactivated.
func (t *statements) junosRoute(route *statementRoute, p phrase, hidden bool) (err error) {
	p.skip("inactive:")
	for len(p) > 0 && err == nil {
		switch word := p.take(); word {
		case "next-hop":
			list := p.skip("[")
			for ok := true; ok && err == nil; ok = list && len(p) > 0 && !p.skip("]") {
				_, err = t.junosHop(route, p.take(), "", hidden)
			}
		case junosQualifiedHop:
			return t.junosQualified(route, p, hidden)
		case "discard", "reject", "receive":
			t.hop(route, Static{Via: word}).hidden = hidden
		case "next-table", "lsp-next-hop", "static-lsp-next-hop", "p2mp-lsp-next-hop":
			t.hop(route, Static{Via: word + " " + p.take()}).hidden = hidden
		case "preference", "tag", "bfd-liveness-detection":
			if hidden {
				return nil
			}
			switch word {
			case "preference":
				route.all.Preference, err = readNumber[int64](p.take())
			case "tag":
				route.all.Tag, err = readNumber[uint32](p.take())
			default:
				route.all.BFD = true
				return nil
			}
		case "no-readvertise", "readvertise", "no-retain", "retain", "resolve", "no-resolve", "active", "passive", "no-install", "install":
		default:
			return nil // with words that may be anything
		}
	}
	return err
}

// junosHop adds an address or an interface.
func (t *statements) junosHop(route *statementRoute, word, via string, hidden bool) (*statementHop, error) {
	if word == "" {
		return nil, errNoHop
	}
	hop := Static{Via: via}
	if likeAddress(word) {
		if err := hop.setHop(word); err != nil {
			return nil, err
		}
	} else {
		hop.Via = strings.TrimSpace(via + " " + word)
	}
	h := t.hop(route, hop)
	h.hidden = hidden
	return h, nil
}

// junosQualified reads a next hop that has options of its own.
func (t *statements) junosQualified(route *statementRoute, p phrase, hidden bool) error {
	h, err := t.junosHop(route, p.take(), junosQualifiedHop, hidden)
	if err != nil {
		return err
	}
	switch p.take() {
	case "preference":
		h.Preference, err = readNumber[int64](p.take())
	case "tag":
		h.Tag, err = readNumber[uint32](p.take())
	case "bfd-liveness-detection":
		h.BFD = true
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", junosQualifiedHop, h.NextHop, err)
	}
	return nil
}
