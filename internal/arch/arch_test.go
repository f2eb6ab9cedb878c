package arch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheModuleKeepsTheRules(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	breaches, err := Check(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
}

// TestBreaches puts one file into an otherwise empty module.
func TestBreaches(t *testing.T) {
	for name, tt := range map[string]struct{ file, text, want string }{
		"all is well":              {"bgp/a.go", "// Package bgp decides.\npackage bgp\nimport \"net/netip\"\n// A is one.\nvar A netip.Addr\n", ""},
		"pure imports a module":    {"ipam/a.go", "// Package ipam decides.\npackage ipam\n\nimport _ \"k8s.io/api/core/v1\"\n", "ipam/a.go:4: ipam is pure and may not import k8s.io/api/core/v1"},
		"pure imports pure":        {"nat/a.go", "// Package nat decides.\npackage nat\nimport _ \"github.com/waymark-bgp/waymark/bgp\"\n", "nat/a.go:3: nat is pure and may not import github.com/waymark-bgp/waymark/bgp"},
		"pure runs a program":      {"bfd/a.go", "// Package bfd decides.\npackage bfd\nimport _ \"os/exec\"\n", "bfd/a.go:3: bfd is pure and may not import os/exec"},
		"its child may":            {"bfd/udp/a.go", "// Package udp sends.\npackage udp\nimport _ \"os/exec\"\n", ""},
		"a second user of GoBGP":   {"agent/a.go", "// Package agent is one node.\npackage agent\nimport _ \"github.com/osrg/gobgp/v4/api\"\n", "agent/a.go:3: agent may not import github.com/osrg/gobgp/v4/api, only bgp/gobgp, hack, internal/nettest may"},
		"the user of GoBGP":        {"bgp/gobgp/a.go", "// Package gobgp speaks.\npackage gobgp\nimport _ \"github.com/osrg/gobgp/v4/api\"\n", ""},
		"a second user of netlink": {"nat/nftables/a.go", "// Package nftables writes.\npackage nftables\nimport _ \"github.com/vishvananda/netlink\"\n", "nat/nftables/a.go:3: nat/nftables may not import github.com/vishvananda/netlink, only route/kernel, route/tunnel, nat/conntrack, nat/audit/host, route/probe/host may"},
		"test code in the product": {"agent/a.go", "// Package agent is one node.\npackage agent\nimport _ \"github.com/waymark-bgp/waymark/internal/nettest\"\n", "agent/a.go:3: agent may not import github.com/waymark-bgp/waymark/internal/nettest, only hack, internal/egresslab, internal/nattest, internal/zookeepertest may"},
		"a test may":               {"agent/a_test.go", "package agent\nimport _ \"github.com/waymark-bgp/waymark/internal/nettest\"\n", ""},
		"exit":                     {"agent/a.go", "// Package agent is one node.\npackage agent\nimport \"os\"\nfunc f() { os.Exit(1) }\n", "agent/a.go:4: os.Exit: only a command ends the process; return an error"},
		"fatal":                    {"agent/a.go", "// Package agent is one node.\npackage agent\nimport \"log\"\nvar f = log.Fatalf\n", "agent/a.go:4: log.Fatalf: only a command ends the process; return an error"},
		"a command ends":           {"cmd/x/main.go", "// Command x ends.\npackage main\nimport \"os\"\nfunc main() { os.Exit(1) }\n", ""},
		"util":                     {"agent/util/a.go", "// Package util is all and nothing.\npackage util\n", "agent/util/a.go:2: package util: the name says nothing of its job"},
		"silent package":           {"agent/a.go", "package agent\n", "agent: the package has no doc comment"},
		"silent command":           {"cmd/x/main.go", "package main\n", "cmd/x: the package has no doc comment"},
		"silent type":              {"agent/a.go", "// Package agent is one node.\npackage agent\ntype T int\n", "agent/a.go:3: T has no doc comment"},
		"silent method":            {"agent/a.go", "// Package agent is one node.\npackage agent\n// T is.\ntype T[A any] int\nfunc (*T[A]) M() {}\n", "agent/a.go:5: M has no doc comment"},
		"silent value":             {"agent/a.go", "// Package agent is one node.\npackage agent\nconst (\n\tA = 1 // one\n\tB = 2\n)\n", "agent/a.go:5: B has no doc comment"},
		"a group":                  {"agent/a.go", "// Package agent is one node.\npackage agent\n// The numbers.\nconst (\n\tA = 1\n\tB = 2\n)\n", ""},
		"method of a hidden type":  {"agent/a.go", "// Package agent is one node.\npackage agent\ntype t int\nfunc (t) M() {}\n", ""},
		"testdata":                 {"agent/testdata/a.go", "package util\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Check(fstest.MapFS{tt.file: {Data: []byte(tt.text)}})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestNestedModule(t *testing.T) {
	got, err := Check(fstest.MapFS{
		"hack/tools/go.mod":  {Data: []byte("module tools\n")},
		"hack/tools/a.go":    {Data: []byte("package util\n")},
		"hack/tools/x/b.go":  {Data: []byte("package util\n")},
		"hack/other/util.go": {Data: []byte("// Package other is something else.\npackage other\n")},
	})
	if err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}
