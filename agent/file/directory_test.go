package file

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
)

// files is a directory whose files say what the test hands it, without a disk.
type files struct{ directory }

func newFiles() *files {
	return &files{directory{log: slog.New(slog.DiscardHandler), manifests: map[string]*manifest{}}}
}

func (f *files) write(name, text string) agent.Snapshot {
	if f.manifests[name] == nil {
		f.manifests[name] = &manifest{}
	}
	f.update(name, f.manifests[name], read(name, []byte(text)))
	return f.snapshot()
}

func (f *files) remove(name string) agent.Snapshot {
	delete(f.manifests, name)
	return f.snapshot()
}

// summary is what is in force: peers with their AS, nodes with their PodCIDRs.
func summary(s agent.Snapshot) string {
	var all []string
	for _, p := range s.Peers {
		all = append(all, fmt.Sprintf("%s:%d", p.Name, p.Spec.ASN))
	}
	for _, n := range s.Nodes {
		all = append(all, n.Name+":"+strings.Join(podCIDRs(&n), "+"))
	}
	for _, n := range s.Secrets {
		all = append(all, n.Name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func peerAS(name string, asn int) string {
	return strings.NewReplacer("rr1", name, "64512", fmt.Sprint(asn)).Replace(peer)
}

// TestBadInputLosesNothing: one file says "good", then "bad"; what is in force after, and what else is said.
func TestBadInputLosesNothing(t *testing.T) {
	one, two := peerAS("rr1", 1), peerAS("rr2", 2)
	for name, tt := range map[string]struct{ good, bad, inForce, problem string }{
		"nothing wrong":              {one + "---\n" + two, two, "rr2:2", ""},
		"no bytes":                   {one, "", "rr1:1", "x.yaml: Empty: "},
		"comments only":              {one, "# " + strings.ReplaceAll(one, "\n", "\n# ") + "\n", "rr1:1", "x.yaml: Empty: "},
		"an empty list":              {one, "apiVersion: v1\nkind: List\nitems: []\n", "", ""},
		"zeros after a power cut":    {one, strings.Repeat("\x00", 4096), "rr1:1", "x.yaml:1: Syntax: control characters are not allowed"},
		"cut in a value":             {one, strings.TrimSuffix(one, "4512\n") + "6", "rr1:1", "x.yaml: CutOff: "},
		"cut in a later document":    {one + "---\n" + two, one + "---\napiVersion: v", "rr1:1 rr2:2", "x.yaml:8: Invalid: "},
		"cut list":                   {"apiVersion: v1\nitems:\n- " + indent(one) + "- " + indent(two) + "kind: List\n", "apiVersion: v1\nitems:\n- " + indent(one), "rr1:1 rr2:2", "x.yaml:1: Invalid: "},
		"cut JSON":                   {`{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"spec":{"podCIDR":"10.0.0.0/24"}}`, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},`, "n1:10.0.0.0/24", "x.yaml:1: Syntax: "},
		"node cut after its name":    {node, node[:strings.Index(node, "spec")], "n1:10.244.1.0/24", "x.yaml:1: Node/n1: CutOff: "},
		"one of two is not good":     {one + "---\n" + two, peerAS("rr1", 0) + "---\n" + peerAS("rr2", 3), "rr1:1 rr2:3", "x.yaml:6: BGPPeer/rr1: Invalid: "},
		"one goes, one is not good":  {one + "---\n" + two, peerAS("rr1", 0), "rr1:1 rr2:2", "x.yaml:6: BGPPeer/rr1: Invalid: "},
		"one comes, one is not good": {one, peerAS("rr1", 0) + "---\n" + two, "rr1:1 rr2:2", "x.yaml:6: BGPPeer/rr1: Invalid: "},
		"one does not parse":         {one + "---\n" + two, "a: b: c\n---\n" + peerAS("rr2", 3), "rr1:1 rr2:3", "x.yaml:1: Syntax: "},
		"a wrong kind":               {one, strings.Replace(one, "BGPPeer", "Peer", 1), "rr1:1", "x.yaml:1: Peer/rr1: UnknownKind: "},
		"another's kind beside":      {one + "---\n" + two, two + "---\napiVersion: v1\nkind: Pod\n", "rr2:2", "x.yaml:8: Ignored: "},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles()
			if s := f.write("x.yaml", tt.good); len(s.Problems) > 0 || !s.Synced {
				t.Fatalf("good is not good: %v", s.Problems)
			}
			s := f.write("x.yaml", tt.bad)
			if summary(s) != tt.inForce || !s.Synced {
				t.Errorf("in force: %q, want %q", summary(s), tt.inForce)
			}
			said := ""
			for _, p := range s.Problems {
				said += p.String() + "|"
			}
			if tt.problem == "" && said != "" || !strings.Contains(said, tt.problem) {
				t.Errorf("said %q, want %q", said, tt.problem)
			}
			if bad := f.errors > 0; bad != (tt.problem != "") {
				t.Errorf("%d errors counted", f.errors)
			}
			if s := f.write("x.yaml", tt.good); !reflect.DeepEqual(summary(s), summary(newFiles().write("x.yaml", tt.good))) || len(s.Problems) > 0 {
				t.Errorf("good again: %q %v", summary(s), s.Problems)
			}
			if s := f.remove("x.yaml"); summary(s) != "" {
				t.Errorf("deleted, but in force: %q", summary(s))
			}
		})
	}
}

func indent(s string) string {
	return strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n  ") + "\n"
}

func TestTwoFiles(t *testing.T) {
	f := newFiles()
	f.write("b.yaml", peerAS("rr1", 1))
	s := f.write("a.yaml", peerAS("rr1", 2))
	if summary(s) != "rr1:1" || len(s.Problems) != 1 ||
		s.Problems[0].String() != "a.yaml:1: BGPPeer/rr1: Duplicate: is also in b.yaml:1, which is the one in force" {
		t.Errorf("what is in force stays: %q %v", summary(s), s.Problems)
	}
	f.remove("b.yaml")
	if s := f.write("b.yaml", peerAS("rr1", 2)); summary(s) != "rr1:2" || len(s.Problems) != 1 {
		t.Errorf("the other file takes over, and keeps it: %q %v", summary(s), s.Problems)
	}
	f.write("a.yaml", peerAS("rr1", 1))
	if s := f.write("a.yaml", peerAS("rr1", 0)); summary(s) != "rr1:2" || len(s.Problems) != 1 {
		t.Errorf("what a file says now wins against what another said once: %q %v", summary(s), s.Problems)
	}
	if s := f.remove("b.yaml"); summary(s) != "rr1:1" && summary(s) != "rr1:2" {
		t.Errorf("what is not good keeps an object: %q", summary(s))
	}
	f.write("c.yaml", peerAS("rr3", 3))
	f.write("d.yaml", peerAS("rr3", 0)) // moved there with a mistake, and then out of c
	if s := f.write("c.yaml", peerAS("rr4", 4)); !strings.Contains(summary(s), "rr3:3 rr4:4") {
		t.Errorf("an object is lost on its way to another file: %q", summary(s))
	}
}

// TestGoneForAMoment: a file is deleted when it is gone for longer than an editor needs to write the new one.
func TestGoneForAMoment(t *testing.T) {
	f := newFiles()
	f.path = t.TempDir()
	path := filepath.Join(f.path, "peers.yaml")
	now := time.Now()
	look := func(after time.Duration, want string) {
		t.Helper()
		now = now.Add(after)
		f.scan(now)
		if got := summary(f.snapshot()); got != want {
			t.Errorf("in force %q, want %q", got, want)
		}
	}
	put(t, path, peerAS("rr1", 1))
	look(0, "rr1:1")
	must(t, os.Remove(path))
	look(time.Second, "rr1:1")
	look(missing-1, "rr1:1")
	put(t, path, peerAS("rr1", 2))
	look(1, "rr1:2")
	must(t, os.Remove(path))
	look(time.Second, "rr1:2")
	must(t, os.Remove(f.path))
	look(time.Second, "rr1:2")
	must(t, os.Mkdir(f.path, 0o755)) // whoever makes it anew has not filled it yet
	look(time.Second, "rr1:2")
	look(missing, "")
}

func TestSyncedOnceAllHasBeenGood(t *testing.T) {
	f := newFiles()
	f.write("bad.yaml", peerAS("rr1", 0))
	if s := f.write("good.yaml", peerAS("rr2", 2)); s.Synced || summary(s) != "rr2:2" {
		t.Errorf("rr1 may have been in force before: synced %v, %q", s.Synced, summary(s))
	}
	if s := f.write("bad.yaml", peerAS("rr1", 1)); !s.Synced {
		t.Error("all is good, but it is not synced")
	}
	if s := f.write("later.yaml", peerAS("rr3", 0)); !s.Synced {
		t.Error("a file that comes later holds everything up")
	}
	f = newFiles()
	if s := f.write("empty.yaml", ""); s.Synced {
		t.Error("an empty file at the start may be about to be written")
	}
	if s := f.write("empty.yaml", "# nothing yet\n"); !s.Synced {
		t.Error("comments are nothing to wait for")
	}
	if s := newFiles().write("pods.yaml", "apiVersion: v1\nkind: Pod\n"); !s.Synced {
		t.Error("a kind that is not ours holds everything up")
	}
}

// cutLosesNothing: no cut of a good file within a line ever takes or changes an object.
func cutLosesNothing(t *testing.T, text []byte, good contents, n int) {
	cut := text[:n]
	if bytes.HasSuffix(cut, []byte("\n")) || bytes.Contains(cut[bytes.LastIndexByte(cut, '\n')+1:], []byte("}")) {
		return // the end of a line, or of a flow document, may be meant
	}
	f := newFiles()
	f.manifests["x.yaml"] = &manifest{}
	f.update("x.yaml", f.manifests["x.yaml"], good)
	before := f.snapshot()
	after := f.write("x.yaml", string(cut))
	before.Problems, after.Problems = nil, nil
	if !reflect.DeepEqual(before, after) {
		t.Fatalf("cut after %d of %d bytes, %q: in force\n%+v\nbefore\n%+v", n, len(text), cut[max(0, n-20):], after, before)
	}
}

func TestCutLosesNothing(t *testing.T) {
	for _, name := range []string{"nodes.yaml", "waymark.yaml"} {
		text := load(t, name)
		good := read("x.yaml", text)
		for n := range text {
			cutLosesNothing(t, text, good, n)
		}
	}
}

// TestCutListLosesNothing: kubectl prints the kind of a list after its items, so that the end of a line is no way out.
func TestCutListLosesNothing(t *testing.T) {
	text := string(load(t, "nodes.yaml"))
	for n := range strings.Index(text, "kind: List") {
		if n == 0 || text[n-1] != '\n' {
			continue
		}
		f := newFiles()
		before := f.write("x.yaml", text)
		if after := f.write("x.yaml", text[:n]); summary(after) != summary(before) || len(after.Problems) == 0 {
			t.Fatalf("cut after %q: %q", text[:n], summary(after))
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"nodes.yaml", "waymark.yaml"} {
		f.Add(load(f, name), 300)
	}
	f.Add([]byte(node+"---\n"+secret+"...\n%YAML 1.2\n---\n"+peer), 50)
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}]}`+"\n"), 40)
	f.Add([]byte("a: &a [*a, *a]\nitems:\n- 1\n-\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		c := read("x.yaml", data)
		for _, o := range c.objects {
			if o.name == "" || o.kind == "" {
				t.Errorf("an object without a name: %+v", o)
			}
		}
		if len(c.problems) == 0 && !c.good {
			t.Error("not good, and nobody is told why")
		}
		if c.good && bytes.HasSuffix(data, []byte("\n")) && n >= 0 && n < len(data) {
			cutLosesNothing(t, data, c, n)
		}
	})
}

// TestSplitIsNoGuess: whatever is cut apart gives the objects that parsing as a whole gives, with their lines.
func TestSplitIsNoGuess(t *testing.T) {
	for name, text := range map[string]string{
		"block text with dashes": "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata:\n    name: n1\n    annotations:\n      a: |\n        - x\n        items:\n        ---\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n2}\nkind: List\n",
		"quoted text over lines": "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata:\n    name: n1\n    annotations:\n      a: \"x\n\n- y\"\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n2}\nkind: List\n",
		"flow items":             "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Node, metadata: {name: n1}},\n{apiVersion: v1, kind: Node, metadata: {name: n2}}]}\n",
		"kind first":             "kind: List\napiVersion: v1\nitems:\n  - apiVersion: v1\n    kind: Node\n    metadata: {name: n1}\n\n  # two\n  - {apiVersion: v1, kind: Node, metadata: {name: n2}}\n",
	} {
		c := read("x.yaml", []byte(text))
		if s := take(c); summary(s) != "n1: n2:" || !c.good {
			t.Errorf("%s: %q %v", name, summary(s), c.problems)
		}
	}
}
