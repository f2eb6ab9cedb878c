package export

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// running are whole configurations as routers print them, with much that is no static route, by the names of their files: a
// dialect, and perhaps a form of it.
func running(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/running/*")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, ".parsed") || strings.HasSuffix(file, ".removed") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(text)
	}
	return all
}

// dialectOf is the dialect of a file of running.
func dialectOf(name string) string {
	name, _, _ = strings.Cut(name, ".")
	return name
}

// describe writes all that is known of a route on a line.
func describe(s Static) string {
	line := fmt.Sprintf("%4d %s", s.Line, s.Prefix)
	add := func(format string, value any, is bool) {
		if is {
			line += fmt.Sprintf(" "+format, value)
		}
	}
	add("via %s", s.NextHop, s.NextHop.IsValid())
	add("(%s)", s.Via, s.Via != "")
	add("gateway %s", s.Gateway, s.Gateway != "")
	add("vrf %s", s.VRF, s.VRF != "")
	add("preference %d", s.Preference, s.Preference != 0)
	add("tag %d", s.Tag, s.Tag != 0)
	add("%s", "off", s.Off)
	add("%s", "bfd", s.BFD)
	add("track %d", s.Track, s.Track != 0)
	add("%q", s.Name, s.Name != "")
	return line + "\n"
}

func TestRunningConfigurations(t *testing.T) {
	texts := running(t)
	for _, d := range Dialects() {
		if texts[d] == "" {
			t.Errorf("no configuration of %s", d)
		}
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			found, unread, err := Parse(dialectOf(name), text)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range found {
				b.WriteString(describe(s))
			}
			for _, u := range unread {
				fmt.Fprintf(&b, "%4d unread: %s: %s\n", u.Line, u.Reason, u.Text)
			}
			golden(t, filepath.Join("running", name+".parsed"), b.String())

			// Whole, and then the first next hop of each prefix that has several.
			removed, err := RemoveStatic(dialectOf(name), found, nil)
			if errors.Is(err, ErrNoCommand) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range found[1:] {
				if first := found[i]; s.same(first.Route) && (i == 0 || !first.same(found[i-1].Route)) {
					one, err := RemoveStatic(dialectOf(name), found[i:i+1], []Route{s.Route})
					if err != nil {
						t.Fatal(err)
					}
					removed += one
				}
			}
			golden(t, filepath.Join("running", name+".removed"), removed)
		})
	}
}
