package export

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Static is a static route that a router's configuration has.
type Static struct {
	// Route's Gateway is "", unless the data names it (json, csv). Its NextHop is the zero value where the route discards, or
	// names an interface only. A Preference that is the dialect's default is 0.
	Route
	Via  string `json:"via,omitempty"` // interface, other VRF or discard word as the configuration writes it; "": none
	Line int    `json:"line"`          // the first line that made it, from 1
	Text string `json:"text"`          // that line, trimmed; with RouterOS those that it goes on in too

	// Off says that the configuration has it, but deactivated: entered again it stays so.
	Off bool `json:"off,omitempty"`

	normal int64 // the dialect's default of the preference
}

// Unread is a line that seems to be a static route and could not be read.
type Unread struct {
	Line   int    `json:"line"`
	Text   string `json:"text"`
	Reason string `json:"reason"` // what is odd
}

// Parse reads the static routes of a router's own configuration text, in its order. Several next hops of a prefix are so many
// routes. Everything else in the text is left out; a line that begins like a static route and cannot be read is unread. The
// error is that of an unknown dialect, or of a text that is not in it at all.
func Parse(dialect, text string) (found []Static, unread []Unread, err error) {
	d, err := lookUp(dialect)
	if err != nil {
		return nil, nil, err
	}
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return nil, nil, errors.New("the text is UTF-16: save it as UTF-8")
	}
	r := reading{rest: strings.TrimPrefix(text, "\ufeff")}
	if err := d.read(&r); err != nil {
		return nil, nil, fmt.Errorf("read static routes of %s: %w", dialect, err)
	}
	r.found = slices.DeleteFunc(r.found, func(s Static) bool {
		odd := unsafeHop(s.Via)
		if odd {
			r.unread = append(r.unread, Unread{s.Line, s.Text, errUnsafeHop.Error()})
		}
		return odd
	})
	for i := range r.found {
		s := &r.found[i]
		s.normal = d.normal(&s.Route)
		if s.Preference == s.normal {
			s.Preference = 0
		}
	}
	slices.SortStableFunc(r.unread, func(a, b Unread) int { return a.Line - b.Line })
	return r.found, r.unread, nil
}

// AsRead returns routes as Parse finds them in the configuration of a router that took what Render writes: names as far as the
// dialect takes them, and 0 in place of the preference that is its default.
func AsRead(dialect string, routes []Route) ([]Route, error) {
	d, err := lookUp(dialect)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(routes)
	for i := range all {
		r := &all[i]
		r.Name, r.Source = clean(r.Name, d.names), netip.Addr{}
		if r.Preference == d.normal(r) {
			r.Preference = 0
		}
		if !d.data {
			r.Gateway = ""
		}
	}
	return all, nil
}

// errElsewhere is no fault: the line is a static route of what is neither a VRF nor the main table.
var errElsewhere = errors.New("another table")

// reading is one run of Parse: the lines, one after the other, and what came of them.
type reading struct {
	rest   string
	number int    // of the line, from 1
	text   string // the line without the spaces around it
	indent int    // how many there were before it
	found  []Static
	unread []Unread
}

// next goes on to the next line; false: there is none.
func (r *reading) next() bool {
	if r.rest == "" {
		return false
	}
	var line string
	line, r.rest, _ = strings.Cut(r.rest, "\n")
	line = afterPager(line)
	r.text = strings.TrimSpace(line)
	r.indent = len(line) - len(strings.TrimLeft(line, " \t"))
	r.number++
	return true
}

// afterPager drops what a terminal's pager wrote and took back in front of a line: "--More--" and backspaces, or with VRP and
// Comware "---- More ----" and a sequence that moves the cursor back.
func afterPager(line string) string {
	line = line[strings.LastIndexByte(line, '\b')+1:]
	if at := strings.LastIndexByte(line, '\x1b'); at >= 0 {
		if end := strings.IndexFunc(line[at:], func(c rune) bool { return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }); end > 0 {
			line = line[at+end+1:]
		}
	}
	return line
}

// take adds what the line is read as, or says why it is not.
func (r *reading) take(s Static, err error) {
	s.Line, s.Text = r.number, r.text
	switch {
	case err == nil:
		r.found = append(r.found, s)
	case err != errElsewhere:
		r.refuse(err)
	}
}

// refuse notes that the line cannot be read.
func (r *reading) refuse(err error) {
	r.unread = append(r.unread, Unread{r.number, r.text, err.Error()})
}

// readPrefix reads PREFIX/LENGTH, or an address alone as a route to a host. Host bits are dropped, as routers do.
func readPrefix(word string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no prefix", word)
	}
	return p.Masked(), nil
}

// setHop reads a next hop, whose zone is the interface.
func (s *Static) setHop(word string) error {
	if word == "" {
		return errNoHop
	}
	address, zone, zoned := strings.Cut(word, "%")
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4In6() {
		return fmt.Errorf("next hop %q is no address", word)
	}
	s.NextHop = a
	if zoned {
		s.Via = strings.Trim(zone, `"'`)
	}
	return nil
}

// errNoHop is what is wrong with a route that was cut off.
var errNoHop = errors.New("it has no next hop")

// errUnsafeHop is what is wrong with a next hop that must stand in no command.
var errUnsafeHop = errors.New("its next hop has characters that the name of no interface has")

// unsafeHop says that a next hop would be more than a word in the command that removes it.
func unsafeHop(via string) bool {
	return strings.ContainsFunc(via, func(c rune) bool { return c < ' ' || strings.ContainsRune("\"`$;\\|&<>?\x7f", c) })
}

// complete says what a route lacks that was read to its end.
func (s *Static) complete() error {
	if !s.NextHop.IsValid() && s.Via == "" {
		return errNoHop
	}
	return nil
}

// likePrefix says that a word where a prefix may be is meant to be one, right or wrong.
func likePrefix(word string) bool {
	return word != "" && (word[0] >= '0' && word[0] <= '9' || strings.ContainsAny(word, ".:/"))
}

// likeAddress says that a word where an interface may be is meant to be an address, right or wrong. 10GE1/0/1.2 is none.
func likeAddress(word string) bool {
	if strings.Count(word, ":") > 1 {
		return true
	}
	return word != "" && word[0] >= '0' && word[0] <= '9' && strings.Contains(word, ".") && !strings.Contains(word, "GE")
}
