package export

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// rewriting are the dialects in which a route that is entered again with other options changes (of FRR seen with 8.4); in the others
// it is a second one.
var rewriting = []string{"cisco-ios", "cisco-iosxr", "cisco-nxos", "huawei-vrp", "h3c-comware", "juniper-junos", "vyos", "frr"}

// Fix writes the commands that bring a router in step: first what is to be there, then, the longest prefixes first, the undo of
// what is not. So a wanted prefix that has a route of any length has one all the time. Between the two, a prefix with a wrong next
// hop has both, and some of its packets still go wrong; on linux and openbsd the new one takes the place of the old in one step. An
// undo of something outside the cluster's ranges has a comment before it. A dialect that is no list of commands gives ErrNoCommand.
func (d Difference) Fix(dialect string) (string, error) {
	f, err := d.commands(dialect)
	if err != nil {
		return "", err
	}
	return f.enter.String() + f.first.String() + f.change.String() + f.undo.String(), nil
}

// Commands are those of Fix in two parts, to show them: what to enter, with what must go before, and what to undo then.
func (d Difference) Commands(dialect string) (enter, undo string, err error) {
	f, err := d.commands(dialect)
	if err != nil {
		return "", "", err
	}
	return f.enter.String() + f.first.String() + f.change.String(), f.undo.String(), nil
}

func (d Difference) commands(dialect string) (*fixing, error) {
	l, err := lookUp(dialect)
	if err != nil {
		return nil, err
	}
	if l.declares {
		return nil, fmt.Errorf("%s %w", dialect, ErrNoCommand)
	}
	f := &fixing{dialect: l.name}
	for _, h := range d.kept {
		f.left = append(f.left, h.Route)
	}
	wrong := f.plan(d.Wrong)
	enter, undo := append(wrong.enter, d.Add...), append(wrong.undo, d.Remove...)
	for _, c := range d.NearMiss {
		enter = append(enter, c.Want)
	}
	var outside []Change
	for _, c := range slices.Concat(d.Overlap, d.NearMiss) {
		switch {
		case c.Leave:
		case c.Outside:
			outside = append(outside, c)
		default:
			undo = append(undo, c.Have)
		}
	}

	f.render(&f.enter, enter)
	f.remove(&f.first, wrong.first)
	f.render(&f.change, wrong.change)
	slices.SortStableFunc(undo, func(a, b Static) int { return cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()) })
	for len(undo) > 0 {
		n := 1
		for n < len(undo) && undo[n].Prefix.Bits() == undo[0].Prefix.Bits() {
			n++
		}
		f.remove(&f.undo, undo[:n])
		undo = undo[n:]
	}
	for _, c := range outside {
		fmt.Fprintf(&f.undo, "%s %s is outside the cluster's ranges: taken for a slip of %s\n", l.comment, c.Have.Prefix, c.Want.Prefix)
		f.remove(&f.undo, []Static{c.Have})
	}
	return f, f.err
}

// fixing is one run of Fix.
type fixing struct {
	dialect string
	left    []Route // of what the router has in the end, that to the prefixes of what goes

	enter, first, change, undo strings.Builder // in their order
	err                        error
}

// exchange is how wrong routes give way.
type exchange struct {
	enter  []Route
	first  []Static // what goes before
	change []Route
	undo   []Static
}

// plan says how wrong routes give way to right ones, in the words that the dialect has.
func (f *fixing) plan(wrong []Change) exchange {
	// In these two dialects there is one route to a prefix with a preference, unless somebody asked for several next hops.
	linux, openbsd := f.dialect == "linux", f.dialect == "openbsd"
	inPlace := func(c Change) bool {
		return c.Have.prefers(c.Want) && (linux || openbsd && !c.Beside)
	}
	last := map[place]int{}
	for i, c := range wrong {
		if inPlace(c) {
			last[placeOf(c.Want)] = i
		}
	}
	var x exchange
	for i, c := range wrong {
		f.left = append(f.left, c.Want)
		at, replaced := last[placeOf(c.Want)]
		switch {
		case c.Have.Off: // until the commit nothing happens
			x.first = append(x.first, c.Have)
			x.change = append(x.change, c.Want)
		case inPlace(c) && i == at:
			x.change = append(x.change, c.Want)
		case inPlace(c) && openbsd: // "route change" wants one next hop
			x.first = append(x.first, c.Have)
		case inPlace(c): // "ip route replace" takes all next hops away
		case c.Have.NextHop == c.Want.NextHop && c.Have.Via == "" && !c.Beside && slices.Contains(rewriting, f.dialect):
			x.enter = append(x.enter, c.Want)
		default:
			// Of a route of Linux with several next hops all go, the right one too.
			if !c.Beside && !replaced || linux && c.Have.oneOfSeveral() {
				x.enter = append(x.enter, c.Want)
			}
			x.undo = append(x.undo, c.Have)
		}
	}
	return x
}

func (f *fixing) render(into *strings.Builder, routes []Route) {
	text, err := Render(f.dialect, routes)
	if into == &f.change && f.dialect == "openbsd" {
		text = strings.ReplaceAll(text, " add ", " change ")
	}
	into.WriteString(text)
	f.err = cmp.Or(f.err, err)
}

func (f *fixing) remove(into *strings.Builder, gone []Static) {
	if len(gone) == 0 {
		return
	}
	text, err := RemoveStatic(f.dialect, gone, f.left)
	into.WriteString(text)
	f.err = cmp.Or(f.err, err)
}
