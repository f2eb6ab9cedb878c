package interop_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/route/export"
)

// linesRouter is a router whose configuration is lines, some of them in blocks, each of which a word before takes back.
type linesRouter struct {
	dialect, no string
	block       []string // that is open
	entries     []entry
}

type entry struct {
	block []string
	line  string
}

func (e entry) words() []string {
	return strings.Fields(strings.Join(append(slices.Clone(e.block), e.line), " "))
}

func (e entry) text() string {
	var b strings.Builder
	for i, head := range append(slices.Clone(e.block), e.line) {
		b.WriteString(strings.Repeat(" ", i) + head + "\n")
	}
	for i := range e.block {
		b.WriteString(strings.Repeat(" ", len(e.block)-1-i) + "!\n")
	}
	return b.String()
}

// rewriting are the dialects in which a line with the same next hop takes the place of the one before, whatever its preference is.
var rewriting = []string{"cisco-ios", "cisco-iosxr", "cisco-nxos", "huawei-vrp", "h3c-comware"}

func (r *linesRouter) enter(t testing.TB, line string) {
	line = strings.TrimSpace(line)
	first, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "!" && len(r.block) > 0:
		r.block = r.block[:len(r.block)-1]
	case line == "exit":
		r.block = nil
	case line == "", first == "!", first == "#":
	case line == "router static", strings.HasPrefix(line, "vrf context "):
		r.block = []string{line}
	case first == "vrf", first == "address-family":
		r.block = append(slices.Clip(r.block), line)
	case first == r.no:
		r.undo(t, entry{r.block, rest})
	default:
		r.add(t, entry{slices.Clone(r.block), line})
	}
}

func (r *linesRouter) undo(t testing.TB, gone entry) {
	before := len(r.entries)
	words := gone.words()
	r.entries = slices.DeleteFunc(r.entries, func(e entry) bool {
		have := e.words()
		if r.dialect == "arista-eos" && words[len(words)-1] == "1" { // the distance that is not written
			return slices.Equal(have[:min(len(have), len(words)-1)], words[:len(words)-1]) && (len(have) < len(words) || have[len(words)-1] == "name")
		}
		return len(have) >= len(words) && slices.Equal(have[:len(words)], words)
	})
	if len(r.entries) == before {
		t.Fatalf("%s: there is no %v in\n%s", r.dialect, words, r.show(t))
	}
}

func (r *linesRouter) add(t testing.TB, e entry) {
	identity := func(e entry) string {
		s := parse(t, r.dialect, e.text())[0]
		if !slices.Contains(rewriting, r.dialect) {
			return fmt.Sprint(s.VRF, s.Prefix, s.NextHop, s.Preference)
		}
		return fmt.Sprint(s.VRF, s.Prefix, s.NextHop)
	}
	r.entries = slices.DeleteFunc(r.entries, func(other entry) bool { return identity(other) == identity(e) })
	r.entries = append(r.entries, e)
}

func (r *linesRouter) show(testing.TB) string {
	var b strings.Builder
	for _, e := range r.entries {
		b.WriteString(e.text())
	}
	return b.String()
}

// statementsRouter is a router whose configuration is a tree, written as its leaves.
type statementsRouter struct{ leaves []string }

// single are statements that have one value.
var single = []string{"preference", "tag", "distance", "description"}

func (r *statementsRouter) enter(t testing.TB, line string) {
	verb, path, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch verb {
	case "set":
		if at := strings.LastIndexByte(path, ' '); slices.ContainsFunc(single, func(s string) bool { return strings.HasSuffix(path[:at], " "+s) }) {
			r.leaves = slices.DeleteFunc(r.leaves, func(l string) bool { return strings.HasPrefix(l, path[:at+1]) })
		}
		r.leaves = append(r.leaves, path)
	case "delete":
		before := len(r.leaves)
		r.leaves = slices.DeleteFunc(r.leaves, func(l string) bool { return strings.HasPrefix(l+" ", path+" ") })
		if len(r.leaves) == before {
			t.Fatalf("there is no %s in\n%s", path, r.show(t))
		}
	}
}

func (r *statementsRouter) show(testing.TB) string {
	var b strings.Builder
	for _, l := range r.leaves {
		b.WriteString("set " + l + "\n")
	}
	return b.String()
}

// mikrotikRouter is RouterOS: a list of routes that are found by what they say.
type mikrotikRouter struct{ lines []string }

var pair = regexp.MustCompile(`([a-z-]+)="?([^ "\]]+)"?`)

// pairs are what a line says of a route, with what it need not say.
func pairs(line string) map[string]string {
	said := map[string]string{"menu": line[:strings.Index(line, " route")], "distance": "1", "routing-table": "main"}
	for _, m := range pair.FindAllStringSubmatch(line, -1) {
		said[m[1]] = m[2]
	}
	return said
}

func (r *mikrotikRouter) enter(t testing.TB, line string) {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return
	}
	asked := map[string]string{"menu": pairs(line)["menu"]}
	for _, m := range pair.FindAllStringSubmatch(line, -1) {
		asked[m[1]] = m[2]
	}
	if strings.Contains(line, " add ") {
		for _, other := range r.lines {
			if a, b := pairs(other), pairs(line); a["dst-address"] == b["dst-address"] && a["gateway"] == b["gateway"] && a["distance"] == b["distance"] && a["routing-table"] == b["routing-table"] {
				t.Fatalf("already have such route: %s", line)
			}
		}
		r.lines = append(r.lines, line)
		return
	}
	before := len(r.lines)
	r.lines = slices.DeleteFunc(r.lines, func(other string) bool {
		have := pairs(other)
		for key, value := range asked {
			if have[key] != value {
				return false
			}
		}
		return true
	})
	if len(r.lines) == before {
		t.Fatalf("%s finds nothing in\n%s", line, r.show(t))
	}
}

func (r *mikrotikRouter) show(testing.TB) string { return strings.Join(r.lines, "\n") + "\n" }

// openbsdRouter is a routing table that has one route to a prefix with a priority, unless several are asked for.
type openbsdRouter struct{ routes []openbsdRoute }

type openbsdRoute struct{ table, family, priority, prefix, hop string }

func (r *openbsdRouter) enter(t testing.TB, line string) {
	words := strings.Fields(line)
	if words[0] == "#" {
		return
	}
	route, verb, several := openbsdRoute{priority: "8"}, "", false
	asked := false
	for i := 1; i < len(words); i++ {
		switch w := words[i]; w {
		case "-n":
		case "-T":
			i++
			route.table = words[i]
		case "-priority":
			i++
			route.priority, asked = words[i], true
		case "-label":
			i++
		case "-inet", "-inet6":
			route.family = w
		case "-mpath":
			several = true
		case "add", "change", "delete":
			verb = w
		default:
			if route.prefix == "" {
				route.prefix = w
			} else {
				route.hop = w
			}
		}
	}
	var same []int
	for i, other := range r.routes {
		if other.table == route.table && other.prefix == route.prefix && (other.priority == route.priority || verb == "delete" && !asked) &&
			(verb != "delete" || route.hop == "" || other.hop == route.hop) {
			same = append(same, i)
		}
	}
	switch {
	case verb == "add" && (len(same) == 0 || several):
		r.routes = append(r.routes, route)
	case verb == "change" && len(same) == 1:
		r.routes[same[0]].hop = route.hop
	case verb == "delete" && len(same) > 0:
		r.routes = slices.Delete(r.routes, same[0], same[0]+1)
	default:
		t.Fatalf("%s: there are %d such routes in\n%s", line, len(same), r.show(t))
	}
}

func (r *openbsdRouter) show(testing.TB) string {
	var b strings.Builder
	for _, o := range r.routes {
		b.WriteString("route -n")
		if o.table != "" {
			b.WriteString(" -T " + o.table)
		}
		fmt.Fprintf(&b, " add %s -priority %s %s %s\n", o.family, o.priority, o.prefix, o.hop)
	}
	return b.String()
}

// modelOf is a router without routes.
func modelOf(dialect string) router {
	switch dialect {
	case "juniper-junos", "vyos":
		return &statementsRouter{}
	case "mikrotik":
		return &mikrotikRouter{}
	case "openbsd":
		return &openbsdRouter{}
	case "huawei-vrp", "h3c-comware":
		return &linesRouter{dialect: dialect, no: "undo"}
	}
	return &linesRouter{dialect: dialect, no: "no"}
}

// wholes are no lists of commands: what is there is replaced.
var wholes = []string{"bird", "json", "csv"}

func modelled() []string {
	return slices.DeleteFunc(export.Dialects(), func(d string) bool { return d == "linux" || d == "frr" || slices.Contains(wholes, d) })
}
