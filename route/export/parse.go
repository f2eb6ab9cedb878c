package export

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Static is a static route that a router's configuration has.
type Static struct {
	// Route's Gateway is "", unless the data names it (json, csv). Its NextHop is the zero value where the route discards, or
	// names an interface only.
	Route
	Via  string `json:"via,omitempty"` // interface, other VRF or discard word as the configuration writes it; "": none
	Line int    `json:"line"`          // the first line that made it, from 1
	Text string `json:"text"`          // that line, trimmed
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
	r := reading{rest: text}
	if d.read == nil {
		return nil, nil, fmt.Errorf("%s cannot be read yet", dialect)
	}
	if err := d.read(&r); err != nil {
		return nil, nil, fmt.Errorf("read static routes of %s: %w", dialect, err)
	}
	return r.found, r.unread, nil
}

// reading is one run of Parse: the lines, one after the other, and what came of them.
type reading struct {
	rest    string
	number  int    // of the line, from 1
	text    string // the line without the spaces around it
	indent  int    // how many there were before it
	comment string // of the line before, for dialects without names
	found   []Static
	unread  []Unread
}

// next goes on to the next line; false: there is none.
func (r *reading) next() bool {
	if r.rest == "" {
		return false
	}
	var line string
	line, r.rest, _ = strings.Cut(r.rest, "\n")
	r.text = strings.TrimSpace(line)
	r.indent = len(line) - len(strings.TrimLeft(line, " \t"))
	r.number++
	return true
}

// take adds what a line is read as, or says why it is not.
func (r *reading) take(s Static, err error) {
	if err != nil {
		r.refuse(err)
		return
	}
	s.Line, s.Text = r.number, r.text
	r.found = append(r.found, s)
}

// refuse notes that the line cannot be read.
func (r *reading) refuse(err error) {
	r.unread = append(r.unread, Unread{r.number, r.text, err.Error()})
}

// errEnds is what is wrong with a line that was cut off.
var errEnds = errors.New("it ends before the next hop")

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
	a, err := netip.ParseAddr(word)
	if err != nil || a.Is4In6() {
		return fmt.Errorf("next hop %q is no address", word)
	}
	s.NextHop = a.WithZone("")
	if zone := a.Zone(); zone != "" {
		s.Via = zone
	}
	return nil
}
