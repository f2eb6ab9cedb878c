package interop_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/route/export"
)

// ranges are the cluster's; what a case has outside of them is foreign.
var ranges = []netip.Prefix{netip.MustParsePrefix("10.131.0.0/16"), netip.MustParsePrefix("fd00:131::/48")}

// disorder is what a gateway is to have, and what somebody has made of it.
type disorder struct {
	want    []export.Route
	running string
	foreign []export.Route // of running
	slips   []export.Route // of running, outside the ranges
}

// disordered makes a case for a dialect. Each kind of mistake comes up often.
func disordered(t testing.TB, dialect string, random *rand.Rand) disorder {
	t.Helper()
	var d disorder
	var text strings.Builder
	options := export.Route{}
	if random.IntN(2) == 0 {
		options.Preference = 50
	}
	if random.IntN(3) == 0 && dialect != "linux" { // its tables are of numbers, and are shown one by one
		options.VRF = "prod"
		if dialect == "openbsd" {
			options.VRF = "100"
		}
	}
	write := func(prefix netip.Prefix, hop netip.Addr, change func(*export.Route)) export.Route {
		r := export.Route{Prefix: prefix, NextHop: hop, VRF: options.VRF}
		if change != nil {
			change(&r)
		}
		line, err := export.Render(dialect, []export.Route{r})
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(line)
		return r
	}
	seen := map[netip.Prefix]bool{}
	for i := range 12 {
		node := i + 11
		var prefix netip.Prefix
		var hop, wrong netip.Addr
		if i%3 == 2 {
			prefix = netip.MustParsePrefix(fmt.Sprintf("fd00:131:0:%x::/64", random.IntN(256)))
			hop, wrong = netip.MustParseAddr(fmt.Sprintf("fd00:132:2::%d", node)), netip.MustParseAddr(fmt.Sprintf("fd00:132:2::%d", 80+random.IntN(20)))
		} else {
			prefix = netip.MustParsePrefix(fmt.Sprintf("10.131.%d.0/24", random.IntN(256)))
			hop, wrong = netip.MustParseAddr(fmt.Sprintf("10.132.2.%d", node)), netip.MustParseAddr(fmt.Sprintf("10.132.2.%d", 80+random.IntN(20)))
		}
		if seen[prefix] {
			continue
		}
		seen[prefix] = true
		w := options
		w.Prefix, w.NextHop, w.Name = prefix, hop, fmt.Sprintf("node-%d", node)
		d.want = append(d.want, w)
		asked := func(r *export.Route) { r.Preference = w.Preference }
		switch random.IntN(11) {
		case 0: // missing
		case 1: // the next hop of nobody
			write(prefix, wrong, asked)
		case 2: // besides the right one
			if dialect == "linux" && hop.Is4() { // where the second would take the place of the first
				metric := []int64{w.Preference, 40}[random.IntN(2)] // as asked for, or another where none is
				fmt.Fprintf(&text, "route replace %s proto static metric %d nexthop via %s nexthop via %s\n", prefix, metric, wrong, hop)
				continue
			}
			write(prefix, hop, asked)
			before := text.Len()
			write(prefix, wrong, asked)
			if dialect == "linux" {
				second := strings.Replace(text.String()[before:], "replace", "append", 1)
				first := text.String()[:before]
				text.Reset()
				text.WriteString(first + second)
			}
		case 3: // another option than is asked for
			write(prefix, hop, func(r *export.Route) { r.Preference = 40 })
		case 4: // another option and next hop
			write(prefix, wrong, func(r *export.Route) { r.Preference = 40 })
		case 5: // half of it, or a little more
			write(netip.PrefixFrom(prefix.Addr(), prefix.Bits()+1), hop, nil)
		case 6: // one too high, which may be another node's
			if next := netip.PrefixFrom(lastOf(prefix).Next(), prefix.Bits()); !seen[next] && ranges[i%3/2].Contains(next.Addr()) {
				seen[next] = true
				write(next, hop, nil)
			}
		case 7: // out of the ranges by two digits
			d.slips = append(d.slips, write(netip.MustParsePrefix(strings.Replace(prefix.String(), "131", "113", 1)), hop, nil))
		default:
			write(prefix, hop, asked)
		}
	}
	v4, v6 := netip.MustParseAddr("10.132.2.99"), netip.MustParseAddr("fd00:132:2::99")
	if random.IntN(2) == 0 { // covers, which may be all that some have
		write(netip.MustParsePrefix("10.131.0.0/17"), v4, nil)
		write(netip.MustParsePrefix("fd00:131::/56"), v6, nil)
	}
	for range 3 { // of nodes that are gone
		if p := netip.MustParsePrefix(fmt.Sprintf("10.131.%d.0/24", random.IntN(256))); !seen[p] {
			seen[p] = true
			write(p, v4, nil)
		}
	}
	d.foreign = append(d.foreign, write(netip.MustParsePrefix("10.200.7.0/24"), v4, nil), write(netip.MustParsePrefix("fd00:200::/48"), v6, nil),
		write(netip.MustParsePrefix("10.128.0.0/12"), v4, nil))
	d.running = text.String()
	return d
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

// parse reads what a router has, all of it.
func parse(t testing.TB, dialect, text string) []export.Static {
	t.Helper()
	have, unread, err := export.Parse(dialect, text)
	if err != nil || len(unread) > 0 {
		t.Fatalf("%v, not read: %v, of\n%s", err, unread, text)
	}
	return have
}

// reaches says which wanted prefixes some static route carries the packets of.
func (d disorder) reaches(have []export.Static) map[netip.Prefix]bool {
	carried := map[netip.Prefix]bool{}
	for _, w := range d.want {
		for _, h := range have {
			if h.VRF == w.VRF && h.Prefix.Bits() <= w.Prefix.Bits() && h.Prefix.Contains(w.Prefix.Addr()) {
				carried[w.Prefix] = true
			}
		}
	}
	return carried
}

// router takes commands, a line or a block of lines at a time, and shows what it has.
type router interface {
	enter(t testing.TB, line string)
	show(t testing.TB) string
}

// mend fixes a router step by step, and sees that it is in step then, that no packet of a wanted prefix was without a route in
// between, and that nothing foreign has changed. A router with transactions takes effect at the end only.
func (d disorder) mend(t testing.TB, dialect string, r router, transaction bool) {
	t.Helper()
	before := r.show(t)
	have := parse(t, dialect, before)
	read, err := export.AsRead(dialect, d.want)
	if err != nil {
		t.Fatal(err)
	}
	difference := export.Diff(read, have, ranges)
	fix, err := difference.Fix(dialect)
	if err != nil {
		t.Fatal(err)
	}
	carried := d.reaches(have)
	for line := range strings.Lines(fix) {
		r.enter(t, line)
		if transaction {
			continue
		}
		now := d.reaches(parse(t, dialect, r.show(t)))
		for prefix := range carried {
			if !now[prefix] {
				t.Fatalf("%s has no route after %q of\n%s\nbefore\n%s", prefix, line, fix, before)
			}
		}
	}
	after := parse(t, dialect, r.show(t))
	if left := export.Diff(read, after, ranges); !left.Empty() || left.Right != len(d.want) {
		t.Fatalf("there is still a difference: %+v\nafter\n%s\nof\n%s\nnow\n%s", left, fix, before, r.show(t))
	}
	for _, f := range d.foreign {
		if !has(after, f) {
			t.Fatalf("%s is gone after\n%s\nof\n%s", f.Prefix, fix, before)
		}
	}
	for _, s := range d.slips {
		if has(after, s) {
			t.Fatalf("%s is still there after\n%s\nof\n%s", s.Prefix, fix, before)
		}
	}
}

func has(have []export.Static, r export.Route) bool {
	for _, h := range have {
		if h.VRF == r.VRF && h.Prefix == r.Prefix && h.NextHop == r.NextHop {
			return true
		}
	}
	return false
}
