package export

import (
	"cmp"
	"errors"
	"slices"
)

// birdReader reads the static protocols of a configuration of BIRD 1.6 and 2.
type birdReader struct {
	r         *reading
	defined   map[string]string // by "define NAME = VALUE;"
	depth     int               // of braces that are open
	inside    bool              // of a static protocol
	protocol  Static            // what it says of all its routes: VRF and preference
	disabled  bool
	first     int // index of its first route
	statement []string
	line      int // where the statement began
	text      string
}

var errNoSemicolon = errors.New("it has no semicolon at its end")

// readBIRD reads a bird.conf. The name of a route is the comment at the end of its line.
func readBIRD(r *reading) error {
	l := lexer{marks: "{};=", comment: "#", block: true}
	b := birdReader{r: r, defined: map[string]string{}}
	for r.next() {
		found := len(r.found)
		words, comment := l.split(r.text)
		for i, word := range words {
			if i == 0 && word == "route" && b.inside {
				b.unfinished()
			}
			b.word(word)
		}
		for i := min(found, len(r.found)); i < len(r.found); i++ {
			r.found[i].Name = comment
		}
	}
	b.close()
	return nil
}

// word goes on by one word or mark.
func (b *birdReader) word(word string) {
	if len(b.statement) == 0 {
		b.line, b.text = b.r.number, b.r.text
	}
	end := b.depth == 0 || b.inside && b.depth == 1 // what ends with a semicolon
	switch {
	case word == "{" && b.depth == 0:
		if p := phrase(b.statement); p.skip("protocol", "static") {
			b.inside, b.first = true, len(b.r.found)
		}
		b.statement, b.depth = b.statement[:0], 1
		return
	case word == "}" && b.depth == 1:
		b.close()
		return
	case word == ";" && end:
		b.end()
		b.statement = b.statement[:0]
		return
	case word == "{":
		b.depth++
	case word == "}" && b.depth > 0:
		b.depth--
	}
	if b.depth == 0 || b.inside {
		b.statement = append(b.statement, word)
	}
}

// unfinished gives up a route that the next one follows without a semicolon.
func (b *birdReader) unfinished() {
	if len(b.statement) > 0 && b.statement[0] == "route" {
		b.take(errNoSemicolon)
		b.depth, b.statement = 1, b.statement[:0]
	}
}

// close ends a block of the first level.
func (b *birdReader) close() {
	if b.inside {
		b.unfinished()
		for i := b.first; i < len(b.r.found); i++ {
			b.r.found[i].VRF = b.protocol.VRF
			b.r.found[i].Preference = cmp.Or(b.r.found[i].Preference, b.protocol.Preference)
		}
		if b.disabled {
			b.r.found = b.r.found[:b.first]
		}
	}
	b.inside, b.depth, b.disabled, b.protocol, b.statement = false, 0, false, Static{}, b.statement[:0]
}

// end reads a statement.
func (b *birdReader) end() {
	p := phrase(b.statement)
	switch first := p.take(); {
	case first == "define" && len(p) == 3 && p[1] == "=":
		b.defined[p[0]] = p[2]
	case !b.inside:
	case first == "vrf" && p.peek() != "default":
		b.protocol.VRF = p.take()
	case first == "disabled":
		b.disabled = p.peek() != "no" && p.peek() != "off"
	case first == "preference" || first == "ipv4" || first == "ipv6":
		p = b.statement[max(0, slices.Index(b.statement, "preference")):]
		if p.skip("preference") {
			b.protocol.Preference, _ = readNumber[int64](b.value(&p))
		}
	case first == "route":
		hops, err := b.route(p)
		b.take(err, hops...)
	}
}

// take adds routes, or what is wrong with the statement.
func (b *birdReader) take(err error, hops ...Static) {
	number, text := b.r.number, b.r.text
	b.r.number, b.r.text = b.line, b.text
	if err != nil {
		b.r.take(Static{}, err)
	}
	for _, s := range hops {
		b.r.take(s, nil)
	}
	b.r.number, b.r.text = number, text
}

// value is the next word, or what it is defined as.
func (b *birdReader) value(p *phrase) string {
	word := p.take()
	if value, ok := b.defined[word]; ok {
		return value
	}
	return word
}

// route reads what follows "route".
func (b *birdReader) route(p phrase) (hops []Static, err error) {
	var all Static
	if all.Prefix, err = readPrefix(b.value(&p)); err != nil {
		return nil, err
	}
	for len(p) > 0 && err == nil {
		switch word := p.take(); word {
		case "from": // packets of these sources only
			err = errElsewhere
		case "via", "recursive":
			hop := Static{}
			if word == "recursive" {
				hop.Via = word
			}
			switch target := b.value(&p); {
			case target == "":
				err = errNoHop
			case likeAddress(target):
				err = hop.setHop(target)
			default:
				hop.Via = target
			}
			hops = append(hops, hop)
		case "blackhole", "unreachable", "prohibit", "drop", "reject":
			hops = append(hops, Static{Via: word})
		case "dev":
			if len(hops) > 0 {
				hops[len(hops)-1].Via = b.value(&p)
			}
		case "bfd":
			if len(hops) > 0 {
				next := p.peek()
				hops[len(hops)-1].BFD = next != "no" && next != "off"
			}
		case "preference", "ospf_tag":
			if !p.skip("=") {
				continue
			}
			if value := b.value(&p); word == "preference" {
				all.Preference, err = readNumber[int64](value)
			} else {
				all.Tag, err = readNumber[uint32](value)
			}
		}
	}
	if len(hops) == 0 && err == nil {
		err = errNoHop
	}
	if err != nil {
		return nil, err
	}
	for i := range hops {
		hops[i].Prefix, hops[i].Preference, hops[i].Tag = all.Prefix, all.Preference, all.Tag
	}
	return hops, nil
}
