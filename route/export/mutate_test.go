package export

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// sane checks what must hold of whatever text Parse is given.
func sane(t *testing.T, dialect, text string) (found []Static, unread []Unread) {
	t.Helper()
	found, unread, err := Parse(dialect, text)
	if err != nil && dialect != "json" && dialect != "csv" && !strings.Contains(err.Error(), "UTF-16") {
		t.Fatalf("%s: %v", dialect, err)
	}
	lines := strings.Count(text, "\n") + 1
	for _, s := range found {
		hop := s.NextHop
		switch {
		case !s.Prefix.IsValid() || s.Prefix != s.Prefix.Masked() || s.Prefix.Addr().Is4In6():
			t.Fatalf("%s: prefix %s in %+v", dialect, s.Prefix, s)
		case hop.IsValid() && (hop.Zone() != "" || hop.Is4In6()) || !hop.IsValid() && s.Via == "":
			t.Fatalf("%s: next hop %s in %+v", dialect, hop, s)
		case s.Line < 1 || s.Line > lines || s.Text == "" || s.Preference < 0:
			t.Fatalf("%s: line %d of %d: %+v", dialect, s.Line, lines, s)
		}
	}
	for i, u := range unread {
		if u.Line < 1 || u.Line > lines || u.Reason == "" || i > 0 && u.Line < unread[i-1].Line {
			t.Fatalf("%s: line %d of %d: %+v", dialect, u.Line, lines, u)
		}
	}
	if _, err := RemoveStatic(dialect, found, nil); err != nil && dialects[slices.Index(Dialects(), dialect)].undo != nil {
		t.Fatalf("%s: undo: %v", dialect, err)
	}
	return found, unread
}

// mutations each spoil a line, and leave the others.
var mutations = []func(random *rand.Rand, line string) string{
	func(*rand.Rand, string) string { return "" },
	func(_ *rand.Rand, line string) string { return line + "\n" + line },
	func(random *rand.Rand, line string) string { return line[:random.IntN(len(line)+1)] },
	func(random *rand.Rand, line string) string { return line[random.IntN(len(line)+1):] },
	func(_ *rand.Rand, line string) string { return line + "\r" },
	func(_ *rand.Rand, line string) string { return line + strings.Repeat(" 10.0.0.1 x", 1000) },
	func(_ *rand.Rand, line string) string { return strings.Repeat("{ ", 1000) + line },
	func(random *rand.Rand, line string) string { // other bytes
		const other = "\x00\xff\x1b\b 0.:/'\"\\{};#[]=9a"
		bytes := []byte(line)
		for range random.IntN(4) {
			if len(bytes) > 0 {
				bytes[random.IntN(len(bytes))] = other[random.IntN(len(other))]
			}
		}
		return string(bytes)
	},
	func(random *rand.Rand, line string) string { // words in another order
		w := strings.Fields(line)
		random.Shuffle(len(w), func(i, j int) { w[i], w[j] = w[j], w[i] })
		return strings.Join(w, " ")
	},
	func(random *rand.Rand, line string) string { // a digit too many, or another one
		at := strings.IndexAny(line, "0123456789")
		if at < 0 {
			return line
		}
		return line[:at+random.IntN(2)] + fmt.Sprint(random.IntN(300)) + line[at+1:]
	},
}

// TestMutatedConfigurations spoils a line of a configuration, or some, 1,000 times for each: nothing panics, what is found is sane,
// and no line is called unread that was not touched. Where a line stands for itself, the others are found as before.
func TestMutatedConfigurations(t *testing.T) {
	for name, text := range running(t) {
		t.Run(name, func(t *testing.T) {
			random, dialect := rand.New(rand.NewPCG(1000, uint64(len(text)))), dialectOf(name)
			before, _ := sane(t, dialect, text)
			lines := strings.Split(text, "\n")
			for round := range 1000 {
				spoiled, touched := slices.Clone(lines), map[int]bool{}
				for range 1 + random.IntN(3) {
					i := random.IntN(len(lines))
					spoiled[i], touched[i] = mutations[random.IntN(len(mutations))](random, spoiled[i]), true
				}
				found, unread := sane(t, dialect, strings.Join(spoiled, "\n"))
				if slices.Contains([]string{"cisco-ios", "arista-eos", "huawei-vrp", "h3c-comware"}, dialect) {
					texts := map[string]bool{}
					for _, s := range found {
						texts[s.Text] = true
					}
					for _, s := range before {
						if !touched[s.Line-1] && !texts[s.Text] {
							t.Fatalf("round %d: %q is not found any more", round, s.Text)
						}
					}
				}
				for _, u := range unread {
					untouched := func(line string) bool { return strings.TrimSpace(afterPager(line)) == u.Text }
					if i := slices.IndexFunc(lines, untouched); i >= 0 && !touched[i] && !statement(dialect, lines[i]) {
						t.Fatalf("round %d: line %d is unread, though nobody touched it: %+v", round, i+1, u)
					}
				}
			}
		})
	}
	t.Run("whole", func(t *testing.T) {
		for name, text := range running(t) {
			before, _ := sane(t, dialectOf(name), text)
			found, unread := sane(t, dialectOf(name), strings.ReplaceAll(text, "\n", "\r\n"))
			if len(unread) > 0 || len(found) != len(before) {
				t.Errorf("%s with CRLF: %d routes, not %d; unread %v", name, len(found), len(before), unread)
			}
			for i := range min(len(found), len(before)) {
				if describe(found[i]) != describe(before[i]) && dialectOf(name) != "csv" {
					t.Errorf("%s with CRLF: %s not %s", name, describe(found[i]), describe(before[i]))
				}
			}
			for cut := 0; cut < len(text); cut += 3 {
				sane(t, dialectOf(name), text[:cut])
			}
			for _, other := range Dialects() {
				sane(t, other, text)
			}
		}
	})
}

// TestEndlessLines: what has no end takes no longer than what has many.
func TestEndlessLines(t *testing.T) {
	for begin, again := range map[string]string{
		"ip route 10.131.10.0/24":                                         " global",
		"ip route 10.131.10.0 255.255.255.0 10.132.2.22":                  " vrf x",
		"ip route-static 10.131.10.0 24":                                  " public",
		"routing-options { static { route 10.131.10.0/24 ":                "{ ",
		"/ip route add dst-address=10.131.10.0/24 gateway=10.132.2.22":    ",10.132.2.23,10.132.2.24",
		"protocol static { route 10.131.10.0/24 via 10.132.2.22":          " via 10.132.2.23",
		"set protocols static route 10.131.10.0/24 next-hop 10.132.2.22 ": "\nset protocols static route 10.131.10.0/24 interface eth1",
	} {
		text := begin + strings.Repeat(again, 100000)
		for _, dialect := range Dialects() {
			before := time.Now()
			sane(t, dialect, text)
			if took := time.Since(before); took > 3*time.Second {
				t.Errorf("%s took %v for %q, and so on", dialect, took, begin+again)
			}
		}
	}
}

// statement says that a line is but a part of what a dialect says of a route: another part may be missing.
func statement(dialect, line string) bool {
	switch dialect {
	case "json", "csv", "mikrotik":
		return true
	case "juniper-junos", "vyos", "bird":
		return strings.Contains(line, "route")
	}
	return false
}

func FuzzParse(f *testing.F) {
	for name, text := range running(f) {
		f.Add(uint8(slices.Index(Dialects(), dialectOf(name))), text)
	}
	f.Fuzz(func(t *testing.T, dialect uint8, text string) {
		sane(t, Dialects()[int(dialect)%len(dialects)], text)
	})
}
