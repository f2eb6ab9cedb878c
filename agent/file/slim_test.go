package file

import (
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSlim(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"YAML":       {"a:\n  - b: \"images\": [ x ]\n", "a:\n  - b: \"images\": [ x ]\n"},
		"nothing":    {" \n", " \n"},
		"BOM":        {"\ufeff{ \"a\": 1 }", "\ufeff{\"a\":1}"},
		"indented":   {"{\n    \"a b\": [\n        \"c  \\\" d\", {\n        }\n    ]\n}\n", "{\n\"a b\":[\n\"c  \\\" d\",{\n}\n]\n}\n"},
		"images":     {"{\n  \"images\": [\n    {\"names\": [\"a\", \"]\"],\n \"n\": 1}\n  ],\n  \"b\": [1]\n}", "{\n\"images\":[\n\n\n],\n\"b\":[1]\n}"},
		"not a list": {"{ \"images\": 1, \"x images\": [ 1 ] }", "{\"images\":1,\"x images\":[1]}"},
		"no end":     {"{ \"images\": [ 1", "{\"images\":["},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := Slim(strings.NewReader(tt.text)); err != nil || string(got) != tt.want {
				t.Errorf("%v, got\n%q\nwant\n%q", err, got, tt.want)
			}
			if got, err := Slim(iotest.OneByteReader(strings.NewReader(tt.text))); err != nil || string(got) != tt.want {
				t.Errorf("byte by byte: %v, got\n%q\nwant\n%q", err, got, tt.want)
			}
		})
	}
}

const nodeList = `{
  "apiVersion": "v1",
  "items": [
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a\"]"}, "spec": {"podCIDRs": ["10.1.0.0/24"]}},
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"},
     "spec": {"podCIDRs": ["10.1.1.0/24"]}}
  ],
  "kind": "List"
}`

func TestJSONList(t *testing.T) {
	where := func(text string) string {
		snapshot, where := Read(map[string][]byte{"f": []byte(text)})
		return fmt.Sprint(len(snapshot.Nodes), snapshot.Problems, where)
	}
	if got, want := where(nodeList), `2 [] map[Node/a"]:f:4 Node/b:f:5]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, tt := range map[string]struct{ old, new, want string }{
		"a bad PodCIDR":   {`"10.1.1.0/24"`, `"10.1.1.1/24"`, `f:6: Node/b: Invalid`},
		"another type":    {`["10.1.1.0/24"]`, `10`, `f:6: Node/b: Invalid: spec.podCIDRs: expected a list`},
		"no comma":        {`}},`, `}}`, `f:`},
		"something other": {`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"}`, `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}`, `a Pod of v1 is not read here`},
		"no object":       {"\n  ],", ",\n x\n],", `f:`},
	} {
		if got := where(strings.Replace(nodeList, tt.old, tt.new, 1)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
	for length := range len(nodeList) {
		if snapshot, _ := Read(map[string][]byte{"f": []byte(nodeList[:length])}); len(snapshot.Nodes) > 0 || length > 0 && len(snapshot.Problems) == 0 {
			t.Errorf("of %q: %d nodes, %v", nodeList[:length], len(snapshot.Nodes), snapshot.Problems)
		}
	}
}
