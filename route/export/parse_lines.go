package export

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// lines is how a dialect says a static route in one line, "ip route [vrf V] PREFIX|NETWORK MASK HOP OPTION...", and takes it
// away.
type lines struct {
	no       string            // before a line that takes it away
	masks    [2]bool           // for IPv4 and IPv6: it writes the length of a prefix as a word of its own
	begin    [2]string         // for IPv4 and IPv6
	vrf      string            // before a VRF that stands before the prefix; "": it does not stand there
	vrfLast  string            // the same for one that may stand at the end
	block    string            // begins the block of a VRF, which holds all lines that are indented; "": there are none
	hopFirst bool              // the interface is after the address, not before it
	after    []string          // options that are a part of the next hop and stand after the address
	counts   bool              // there may be two routes that differ by the preference only
	comment  string            // a comment of its own line may name the route that follows
	options  map[string]option // what may follow the prefix; the rest is passed over, with its numbers
}

// option reads what follows its word.
type option func(s *Static, word string, p *phrase) error

var (
	ciscoIOSLines = lines{
		no: "no", masks: [2]bool{true, false}, after: []string{"global", "nexthop-vrf"}, begin: [2]string{"ip route", "ipv6 route"}, vrf: "vrf",
		options: map[string]option{
			"tag": readTag, "name": readName, "track": readTrack, "permanent": pass(0), "multicast": pass(0), "unicast": pass(0),
			"global": readVia(0), "dhcp": readVia(0), "nexthop-vrf": readVia(1),
		},
	}
	ciscoNXOSLines = lines{
		no: "no", after: []string{"vrf"}, begin: [2]string{"ip route", "ipv6 route"}, block: "vrf context ",
		options: map[string]option{
			"tag": readTag, "name": readName, "track": readTrack, "vrf": readVia(1),
		},
	}
	aristaEOSLines = lines{
		no: "no", counts: true, begin: [2]string{"ip route", "ipv6 route"}, vrf: "vrf",
		options: map[string]option{
			"tag": readTag, "name": readName, "track": readBFDWord("bfd"), "metric": pass(1), "label": pass(1),
			"egress-vrf": readVia(1), "Nexthop-Group": readVia(1),
		},
	}
	huaweiVRPLines = lines{
		no: "undo", masks: [2]bool{true, true}, after: []string{"public"}, begin: [2]string{"ip route-static", "ipv6 route-static"}, vrf: "vpn-instance",
		options: map[string]option{
			"preference": readPreference, "tag": readTag, "description": readText, "bfd": readBFDWord("enable"), "cost": pass(1),
			"track": pass(2), "permanent": pass(0), "vpn-instance": readVia(1), "public": readVia(0),
		},
	}
	h3cComwareLines = lines{
		no: "undo", masks: [2]bool{true, true}, after: []string{"public"}, begin: [2]string{"ip route-static", "ipv6 route-static"}, vrf: "vpn-instance",
		options: map[string]option{
			"preference": readPreference, "tag": readTag, "description": readText, "bfd": readBFD, "bfd-source": pass(1),
			"track": readTrack, "permanent": pass(0), "vpn-instance": readVia(1), "public": readVia(0),
			"backup-interface": pass(1), "backup-nexthop": pass(1),
		},
	}
	frrLines = lines{
		no: "no", vrfLast: "vrf", counts: true, begin: [2]string{"ip route", "ipv6 route"}, block: "vrf ", hopFirst: true, comment: "!",
		options: map[string]option{
			"tag": readTag, "vrf": readVRF, "bfd": readBFD, "nexthop-vrf": readVia(1), "label": pass(1), "color": pass(1),
			"profile": pass(1), "source": pass(1), "multi-hop": pass(0), "onlink": pass(0), "from": elsewhere, "table": elsewhere,
		},
	}
	// ciscoIOSXRLines are those in the blocks of router static.
	ciscoIOSXRLines = lines{
		options: map[string]option{
			"tag": readTag, "description": readName, "bfd": readBFD, "minimum-interval": pass(1), "multiplier": pass(1),
			"track": pass(1), "permanent": pass(0), "metric": pass(1), "vrf": readVia(1),
		},
	}
)

func readTag(s *Static, _ string, p *phrase) (err error) {
	s.Tag, err = readNumber[uint32](p.take())
	return err
}

func readTrack(s *Static, _ string, p *phrase) (err error) {
	s.Track, err = readNumber[uint16](p.take())
	return err
}

func readPreference(s *Static, _ string, p *phrase) (err error) {
	s.Preference, err = readNumber[int64](p.take())
	return err
}

func readName(s *Static, _ string, p *phrase) error {
	s.Name = p.take()
	return nil
}

// readText is a name that takes the rest of the line.
func readText(s *Static, _ string, p *phrase) error {
	s.Name = strings.Join(*p, " ")
	*p = nil
	return nil
}

func readVRF(s *Static, _ string, p *phrase) error {
	s.VRF = p.take()
	return nil
}

func readBFD(s *Static, _ string, p *phrase) error {
	_ = p.skip("control-packet") || p.skip("echo-packet") || p.skip("fast-detect")
	s.BFD = true
	return nil
}

// readBFDWord is an option that means BFD with one more word, and something else with another.
func readBFDWord(yes string) option {
	return func(s *Static, _ string, p *phrase) error {
		s.BFD = s.BFD || p.take() == yes
		return nil
	}
}

// readVia keeps the word, and so many after it.
func readVia(more int) option {
	return func(s *Static, word string, p *phrase) error {
		for range more {
			word += " " + p.take()
		}
		if len(s.Via) < 256 { // no line says so much
			s.Via = strings.TrimSpace(s.Via + " " + word)
		}
		return nil
	}
}

// pass goes over so many words.
func pass(words int) option {
	return func(_ *Static, _ string, p *phrase) error {
		*p = (*p)[min(words, len(*p)):]
		return nil
	}
}

func elsewhere(*Static, string, *phrase) error { return errElsewhere }

// read reads a whole configuration.
func (g *lines) read(r *reading) error {
	var l lexer
	vrf, comment := "", ""
	for r.next() {
		if r.indent == 0 {
			vrf = ""
		}
		if g.block != "" && r.indent == 0 && strings.HasPrefix(r.text, g.block) {
			vrf = strings.TrimSpace(r.text[len(g.block):])
		}
		if !begins(r.text, g.begin[0]) && !begins(r.text, g.begin[1]) {
			comment = ""
			if g.comment != "" && strings.HasPrefix(r.text, g.comment) {
				comment = strings.TrimSpace(r.text[len(g.comment):])
			}
			continue
		}
		words, _ := l.split(r.text)
		p := phrase(words[2:])
		s := Static{Route: Route{VRF: vrf, Name: comment}}
		comment = ""
		if g.vrf != "" && p.skip(g.vrf) {
			s.VRF = p.take()
		}
		// What is no address is a setting for all static routes.
		if word := p.peek(); word == "" || likePrefix(word) {
			err := g.route(&s, p)
			r.take(s, err)
		}
	}
	return nil
}

// begins says that a text has these words first.
func begins(text, words string) bool {
	return strings.HasPrefix(text, words) && (len(text) == len(words) || text[len(words)] == ' ')
}

// route reads what begins with the prefix.
func (g *lines) route(s *Static, p phrase) (err error) {
	if s.Prefix, err = takePrefix(&p); err != nil {
		return err
	}
	known := true // the last word that is no number: a number alone is the preference then, else it belongs to the word
	for len(p) > 0 {
		word := p.take()
		option, number := g.options[word], strings.Trim(word, "0123456789") == ""
		switch {
		case option != nil:
			known = true
			if err := option(s, word, &p); err != nil {
				return err
			}
		case number && known:
			if s.Preference, err = readNumber[int64](word); err != nil {
				return err
			}
		case number:
		case known && !s.NextHop.IsValid() && likeAddress(word):
			if err := s.setHop(word); err != nil {
				return err
			}
			if next := p.peek(); g.hopFirst && next != "" && g.options[next] == nil && strings.Trim(next, "0123456789") != "" {
				s.Via = p.take()
			}
		case known && !s.NextHop.IsValid() && s.Via == "":
			s.Via = word
			if next := p.peek(); !strings.ContainsAny(word, "0123456789") && strings.Contains(next, "/") && !likeHop(next) {
				s.Via += " " + p.take() // GigabitEthernet 0/0
			}
		default:
			known = false
		}
	}
	return s.complete()
}

// likeHop says that a word is an address or a prefix.
func likeHop(word string) bool {
	_, err := readPrefix(word)
	return err == nil
}

// takePrefix reads PREFIX/LENGTH, NETWORK MASK or NETWORK LENGTH.
func takePrefix(p *phrase) (netip.Prefix, error) {
	word := p.take()
	if word == "" {
		return netip.Prefix{}, errors.New("it ends before the prefix")
	}
	if strings.Contains(word, "/") {
		return readPrefix(word)
	}
	network, err := netip.ParseAddr(word)
	if err != nil || network.Zone() != "" || network.Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no network", word)
	}
	length := p.take()
	n, err := strconv.ParseUint(length, 10, 8)
	if err != nil {
		m, err := netip.ParseAddr(length)
		if err != nil || !m.Is4() || !network.Is4() {
			return netip.Prefix{}, fmt.Errorf("%q is neither a mask nor a length", length)
		}
		b := m.As4()
		ones := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		n = uint64(bits.LeadingZeros32(^ones))
		if ones<<n != 0 {
			return netip.Prefix{}, fmt.Errorf("mask %s has ones after a zero", length)
		}
	}
	prefix, err := network.Prefix(int(n))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s has no prefix of length %s", network, length)
	}
	return prefix, nil
}

// readXR reads the blocks of router static, and its lines of "show running-config formal".
func readXR(r *reading) error {
	var (
		l       lexer
		vrf     string
		family  string
		indents [2]int // of the VRF and of the family
		inside  bool   // router static
	)
	for r.next() {
		formal := strings.HasPrefix(r.text, "router static")
		if r.indent == 0 && r.text != "" {
			inside, vrf, family = formal, "", ""
		}
		if !inside || r.text == "" {
			continue
		}
		words, _ := l.split(r.text)
		p := phrase(words)
		p.skip("router", "static")
		if r.indent <= indents[0] {
			vrf, family = "", ""
		}
		if family != "" && r.indent <= indents[1] {
			family = ""
		}
		if p.skip("vrf") {
			vrf, indents[0] = p.take(), r.indent
			if vrf == "default" {
				vrf = ""
			}
		}
		if p.skip("address-family") {
			family, indents[1] = p.take()+" "+p.take(), r.indent
		}
		if word := p.peek(); strings.HasSuffix(family, " unicast") && likePrefix(word) {
			s := Static{Route: Route{VRF: vrf}}
			err := ciscoIOSXRLines.route(&s, p)
			r.take(s, err)
		}
	}
	return nil
}
