package file

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// allocated is how many MiB the reading of a file takes, garbage included.
func allocated(text string) (contents, uint64) {
	data := []byte(text)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := read("x.yaml", data)
	runtime.ReadMemStats(&after)
	return c, (after.TotalAlloc - before.TotalAlloc) >> 20
}

// TestWhatTakesTooMuchMemoryIsRefused: small and large texts that stand for gigabytes, beside one good object.
func TestWhatTakesTooMuchMemoryIsRefused(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i>>8, i&255)
		}
		return b.String()
	}
	nodeOf := func(cidrs string) string {
		return "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nspec: {podCIDRs: [" + cidrs + "]}\n"
	}
	laughs := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for name := 'b'; name <= 'k'; name++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", name, name, strings.Repeat(fmt.Sprintf("*%c, ", name-1), 10))
	}
	listOf := func(node string) string {
		return "apiVersion: v1\nkind: List\nitems:\n- &n\n  " + strings.ReplaceAll(strings.TrimSpace(node), "\n", "\n  ") + "\n"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"100 MB of one object":       {nodeOf(strings.Repeat("a, ", 33_000_000)), "x.yaml:1: TooLarge: a document of 94.4 MiB, of at most 2 MiB: put a line of ---"},
		"a list in flow style":       {"{apiVersion: v1, kind: List, items: [" + strings.Repeat("{}, ", 2_000_000) + "]}\n", "x.yaml:1: TooLarge: a document of 7.6 MiB"},
		"one large item":             {listOf(nodeOf(strings.Repeat("a, ", 2_000_000))), "x.yaml:4: TooLarge: a document of 5.7 MiB"},
		"a large list, bad at once":  {listOf(nodeOf("")) + "- b: : c\n" + strings.Repeat("- {a: "+strings.Repeat("a", 100)+"}\n", 50_000), "x.yaml:9: Syntax: mapping values are not allowed"},
		"3,000 times 3,000 PodCIDRs": {listOf(nodeOf(many(3_000, "10.%d.%d.0/24, "))) + strings.Repeat("- *n\n", 3_000), "x.yaml:42: TooLarge: the aliases of this file stand for more than 100000 values: use fewer"},
		"a billion laughs":           {laughs, "x.yaml:5: TooLarge: the aliases"},
		"an anchor in itself":        {"a: &a\n- *a\n- *a\n", "x.yaml:2: TooLarge: the aliases"},
	} {
		t.Run(name, func(t *testing.T) {
			c, took := allocated(tt.text + "---\n" + peer)
			if len(c.problems) != 1 || !strings.HasPrefix(c.problems[0].String(), tt.want) {
				t.Errorf("problems %.300v, want %s", c.problems, tt.want)
			}
			if len(c.objects) != 1 || c.objects[0].name != "rr1" {
				t.Errorf("read %d objects, want the good one beside", len(c.objects))
			}
			if took > 64 {
				t.Errorf("took %d MiB", took)
			}
		})
	}
}

func TestManyProblemsTakeNoTime(t *testing.T) {
	start := time.Now()
	c := read("x.yaml", []byte("apiVersion: v1\nkind: Node\nmetadata: {name: n}\nspec:\n  podCIDRs:\n"+strings.Repeat("  - a\n", 100_000)))
	if n := len(c.problems); n != 100_000 || !strings.HasPrefix(c.problems[n-1].String(), "x.yaml:100005: ") {
		t.Errorf("%d problems, the last one %v", n, c.problems[n-1])
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestLargeButWellCut(t *testing.T) {
	var nodes strings.Builder
	nodes.WriteString("apiVersion: v1\nkind: List\nitems:\n")
	for i := range 5_000 {
		fmt.Fprintf(&nodes, "- apiVersion: v1\n  kind: Node\n  metadata: {name: n%d}\n  status: {images: [%s]}\n", i, strings.Repeat("image, ", 300))
	}
	if c := read("x.yaml", []byte(nodes.String())); len(c.objects) != 5_000 || !c.good {
		t.Errorf("%d objects of a list of %d MiB, problems %v", len(c.objects), nodes.Len()>>20, c.problems)
	}
}
