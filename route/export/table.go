package export

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Table is what a routing table, as a router shows it, says is in use.
type Table struct {
	Routes []TableRoute // in the order of the text; a prefix with several paths may be there more than once
	Unread []Unread     // lines that seem to have a route and could not be read
	// List says that there is nothing but prefixes: somebody's list of networks and no table.
	List bool
}

// TableRoute is one route of a table. Where it leads is not asked for.
type TableRoute struct {
	Prefix netip.Prefix // without host bits
	Line   int          // from 1
	Text   string       // the line, trimmed
}

// ReadTable reads a routing table of any dialect: what "show ip route", "display ip routing-table", "show route", "ip route",
// "birdc show route", "/ip route print" or "route -n show" print, for IPv4 and IPv6, JSON, CSV with a line of names, or a list of
// prefixes. All of them have the destination first, after at most codes, so one reader does for all. The error is that of JSON or
// CSV that is not whole.
func ReadTable(text string) (Table, error) {
	t := tableReader{}
	text = strings.TrimPrefix(text, "\ufeff") // of Windows
	switch start := strings.TrimSpace(text); {
	case strings.HasPrefix(start, "{") || jsonList.MatchString(start):
		if err := t.json(text); err != nil {
			return Table{}, fmt.Errorf("read the routes of JSON: %w", err)
		}
		return t.Table, nil
	case csvColumn(start) >= 0:
		if err := t.csv(text); err != nil {
			return Table{}, fmt.Errorf("read the routes of CSV: %w", err)
		}
		return t.Table, nil
	}
	bare := 0
	for line := range strings.Lines(text) {
		t.number++
		line = pager.ReplaceAllString(line, "")
		t.text = strings.TrimSpace(line)
		if t.line(line) {
			bare++
		}
	}
	t.List = len(t.Routes) > 0 && bare == t.lines
	return t.Table, nil
}

// tableReader goes through the lines of a table.
type tableReader struct {
	Table
	number int
	text   string
	lines  int          // with routes
	short  bool         // a BSD's heading was there: zeros at the end of a destination are left out
	subnet netip.Prefix // of Cisco's heading "10.1.0.0/24 is subnetted": the lines after it have no mask
}

func (t *tableReader) take(p netip.Prefix) {
	t.Routes = append(t.Routes, TableRoute{p.Masked(), t.number, t.text})
}

func (t *tableReader) refuse(err error) {
	t.Unread = append(t.Unread, Unread{t.number, t.text, err.Error()})
}

var (
	// What a terminal leaves in a session's log: "--More--", "---- More ----", "---(more 20%)---", how it is wiped out, and colours.
	pager    = regexp.MustCompile(`(?i)-{2,} ?\(?more[^-\r\n]*-{2,}|\x08+ *\x08*|\x1b\[[0-9;?]*[A-Za-z]`)
	jsonList = regexp.MustCompile(`^\[\s*[]{["]`) // and not the prompt of RouterOS
	// A prefix with all its parts, right or wrong, also behind a route distinguisher or a zone.
	likeWhole = regexp.MustCompile(`^(\d+(\.\d+){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*)(%[^/]+)?/\S+$`)
	likeAny   = regexp.MustCompile(`^\d\S*[.:]\S*/\d+$`) // a digit is wrong
	likeShort = regexp.MustCompile(`^\d{1,3}(\.\d{1,3}){0,2}/\d{1,2}$`)
	// Codes: "C", "S*", "O>*", "i*L1", "E2", "DAc", "*>", "?", "-" of a list.
	code = regexp.MustCompile(`^[A-Za-z*>?+!%#=&~()-][A-Za-z0-9*>?+!%#=&~()-]{0,4}$`)
)

// Words that stand before a destination, those that begin a line that goes on with the route before it, and those that a
// person has typed.
var (
	kinds = []string{"unicast", "local", "broadcast", "multicast", "anycast", "blackhole", "unreachable", "prohibit", "throw", "destination", ":"}
	goOn  = []string{"via", "to", "dev", "nexthop", "gateway"}
	typed = []string{"show", "display", "print"}
)

// line reads one line, and says whether it has routes and nothing else.
func (t *tableReader) line(line string) (bare bool) {
	if strings.HasPrefix(t.text, "! ") || strings.HasPrefix(t.text, "//") {
		return false
	}
	line, _, _ = strings.Cut(line, ";;;") // RouterOS
	if at := strings.Index(" "+line, " #"); at >= 0 {
		line = line[:at]
	}
	w := strings.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(" \t\r\n,;", c) })
	switch {
	case len(w) == 0:
		return false
	case len(w) > 1 && strings.EqualFold(w[0], "destination") && strings.EqualFold(w[1], "gateway"):
		t.short = true
		return false
	case slices.Contains(w, "subnetted"):
		t.heading(w)
		return false
	}
	if all, ok := prefixesOnly(w); ok {
		t.lines++
		for _, p := range all {
			t.take(p)
		}
		return true
	}
	at, err := t.start(w)
	if at < 0 {
		if err != nil {
			t.refuse(err)
		}
		return false
	}
	indented := line[0] == ' ' || line[0] == '\t'
	p, err := t.destination(w[at:], at > 0, indented)
	if err == nil && len(w) > at+2 && w[at+1] == "-" && like(w[at+2]) {
		err = errors.New("it is from one address to another: write prefixes")
	}
	switch {
	case err != nil:
		t.refuse(err)
	case p.IsValid():
		t.lines++
		t.take(p)
	}
	return false
}

// heading is Cisco's line before the routes of a classful network. It is no route.
func (t *tableReader) heading(w []string) {
	t.subnet = netip.Prefix{}
	if p, err := netip.ParsePrefix(w[0]); err == nil && !slices.Contains(w, "variably") {
		t.subnet = p
	} else if a, err := netip.ParseAddr(w[0]); err == nil && len(w) > 1 {
		if bits, ok := maskBits(w[1]); ok && a.Is4() {
			t.subnet = netip.PrefixFrom(a, bits)
		}
	}
}

// prefixesOnly reads a line of a list, which may be one of YAML.
func prefixesOnly(w []string) ([]netip.Prefix, bool) {
	if w[0] == "-" {
		w = w[1:]
	}
	var all []netip.Prefix
	for _, word := range w {
		p, err := netip.ParsePrefix(strings.Trim(word, `"'`))
		if err != nil {
			return nil, false
		}
		all = append(all, p)
	}
	return all, len(all) > 0
}

// start is the index of the destination; -1: the line has none, or it cannot be told which word is, and why.
func (t *tableReader) start(w []string) (int, error) {
	for i, word := range w {
		bare := strings.TrimRight(strings.ToLower(strings.TrimLeft(word, "*>+ ")), ":")
		_, number := strconv.Atoi(word)
		switch {
		case like(word), likeAny.MatchString(word), i == 0 && likeShort.MatchString(word):
			return i, nil
		case slices.Contains(goOn, bare), strings.HasPrefix(bare, "["), slices.ContainsFunc(typed, func(s string) bool { return strings.HasSuffix(bare, s) }):
			return -1, nil
		case i == 0 && number == nil, slices.Contains(kinds, bare), bare == "", code.MatchString(word):
			continue
		}
		if rest := w[i:]; slices.ContainsFunc(rest, likeWhole.MatchString) && !slices.Contains(rest, "resort") {
			return -1, fmt.Errorf("a prefix after %q, which is no code of a route", word)
		}
		return -1, nil
	}
	return -1, nil
}

// unglued is a destination without what may be glued to it.
func unglued(word string) string {
	word = strings.TrimLeft(strings.TrimPrefix(word, "dst-address="), "*>=+")
	word = strings.TrimPrefix(word, "i")                 // iBGP in "show ip bgp"
	if address, rest, ok := strings.Cut(word, "%"); ok { // a zone
		_, length, slash := strings.Cut(rest, "/")
		if word = address; slash {
			word += "/" + length
		}
	}
	return word
}

// like says whether a word is a destination, be it a wrong one.
func like(word string) bool {
	word = unglued(word)
	if word == "default" || likeWhole.MatchString(word) {
		return true
	}
	_, err := netip.ParseAddr(word)
	return err == nil
}

// destination reads the words from the destination on. Codes may have been before it. An invalid prefix without an error is
// another next hop of the route before.
func (t *tableReader) destination(w []string, coded, indented bool) (netip.Prefix, error) {
	word := unglued(w[0])
	switch {
	case word == "default":
		if slices.ContainsFunc(w[1:], func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is6() }) {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	case likeShort.MatchString(word):
		if !t.short {
			return netip.Prefix{}, fmt.Errorf("%s is short for a network only below OpenBSD's heading \"Destination Gateway\"", word)
		}
		address, length, _ := strings.Cut(word, "/")
		word = address + strings.Repeat(".0", 3-strings.Count(address, ".")) + "/" + length
	}
	if strings.Contains(word, "/") {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			return p, fmt.Errorf("%s is no prefix", word)
		}
		return p, nil
	}
	a, err := netip.ParseAddr(word)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is no address", word)
	}
	return t.address(a, w[1:], coded, indented)
}

// address finds the mask of a destination that is an address, from the words after it or the heading before.
func (t *tableReader) address(a netip.Addr, rest []string, coded, indented bool) (netip.Prefix, error) {
	after := func(i int) string {
		if i < len(rest) {
			return rest[i]
		}
		return ""
	}
	if a.Is4() {
		for i := range 2 { // "NETWORK MASK", and "NETWORK GATEWAY MASK" of netstat
			if bits, ok := maskBits(after(i)); ok {
				if p := netip.PrefixFrom(a, bits); p == p.Masked() {
					return p, nil
				}
			}
		}
		if next := after(0); coded && (strings.HasPrefix(next, "[") || next == "is") {
			return t.classful(a), nil
		}
	}
	if strings.HasPrefix(after(0), "PrefixLength") {
		if bits, err := strconv.Atoi(rest[len(rest)-1]); err == nil && bits >= 0 && bits <= a.BitLen() {
			return netip.PrefixFrom(a, bits), nil
		}
		return netip.Prefix{}, errors.New("the prefix length is none")
	}
	switch next := after(0); {
	case !coded && (!indented || next == ""), next == "via", next == "dev":
		return netip.PrefixFrom(a, a.BitLen()), nil
	case !coded:
		return netip.Prefix{}, nil
	}
	return netip.Prefix{}, fmt.Errorf("%v has no mask", a)
}

// classful is a network whose mask is that of Cisco's heading, or of its class (RFC 791, section 3.2).
func (t *tableReader) classful(a netip.Addr) netip.Prefix {
	bits := 24
	switch first := a.As4()[0]; {
	case a.IsUnspecified():
		bits = 0
	case first < 128:
		bits = 8
	case first < 192:
		bits = 16
	}
	network := netip.PrefixFrom(a, bits)
	if t.subnet.IsValid() && network.Masked().Contains(t.subnet.Addr()) {
		return netip.PrefixFrom(a, t.subnet.Bits())
	}
	return network
}

// maskBits is the length that a netmask stands for.
func maskBits(word string) (int, bool) {
	a, err := netip.ParseAddr(word)
	if err != nil || !a.Is4() {
		return 0, false
	}
	for bits := 0; bits <= 32; bits++ {
		if mask(netip.PrefixFrom(a, bits)) == word {
			return bits, true
		}
	}
	return 0, false
}
