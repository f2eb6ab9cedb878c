package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runNotes is run that returns standard error too.
func runNotes(stdin string, args ...string) (out, notes string, err error) {
	cmd := rootCommand("waymark")
	var stdout, stderr bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err = cmd.Execute()
	return stdout.String(), stderr.String(), err
}

// The operator's story: a node with 10.131.10.0/24 at 10.132.2.22, and a router for which somebody wrote 10.131.101.0/24.
const story = `apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec:
  cidrs: [10.132.0.0/16]
  clusterCIDRs: [10.131.0.0/17]
  gateways: [{name: core1, address: 10.132.2.254, dialect: frr, nodeSubnets: [10.132.2.0/24]}]
`

const wrote = `frr version 8.4.4
hostname core1
ip route 0.0.0.0/0 10.132.2.1
ip route 10.131.101.0/24 10.132.2.22
ip route 10.131.9.0/24 10.132.2.21
`

func TestRoutesDiff(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nodes := exportNode("node-1", "10.132.2.21", "10.131.9.0/24") + exportNode("node-2", "10.132.2.22", "10.131.10.0/24")
	cluster := " --from " + file("cluster.yaml", story+nodes)
	narrow := " --from " + file("narrow.yaml", strings.Replace(story, "10.131.0.0/17", "10.131.0.0/18", 1)+nodes)
	two := " --from " + file("two.yaml", datacenter+nodes)
	inStep := wrote + "ip route 10.131.10.0/24 10.132.2.22\nno ip route 10.131.101.0/24 10.132.2.22\n"
	inStep = strings.Replace(inStep, "ip route 10.131.101.0/24 10.132.2.22\n", "", 1)
	inStep = strings.Replace(inStep, "no ", "! ", 1)
	for name, tt := range map[string]struct {
		running, args string
		want          string // printed
		notes         string // in standard error
		err           string // "": none, "found": exit status 2
	}{
		"the story": {wrote, cluster, `
core1, frr: 1 right, 1 near miss; foreign and left alone: 1

near miss, line 4: ip route 10.131.101.0/24 10.132.2.22
  wanted: 10.131.10.0/24 via 10.132.2.22 (node-2)
  101 in place of 10: one digit too many
    ! node-2
    ip route 10.131.10.0/24 10.132.2.22
    no ip route 10.131.101.0/24 10.132.2.22`, "", "found"},
		"the story, commands only": {wrote, cluster + " --fix", `
! node-2
ip route 10.131.10.0/24 10.132.2.22
no ip route 10.131.101.0/24 10.132.2.22`, "", "found"},
		"the story, outside the cluster's ranges": {wrote, narrow + " --fix", `
! node-2
ip route 10.131.10.0/24 10.132.2.22
! 10.131.101.0/24 is outside the cluster's ranges: taken for a slip of 10.131.10.0/24
no ip route 10.131.101.0/24 10.132.2.22`, "", "found"},
		"a slip that may be somebody else's": {strings.Replace(wrote, "2.22", "2.21", 1), narrow + " --fix", `
! node-2
ip route 10.131.10.0/24 10.132.2.22`, "not removed, line 4: ip route 10.131.101.0/24 10.132.2.21: it may be a slip of 10.131.10.0/24, or somebody else's", "found"},
		"in step":           {inStep, cluster, "core1, frr: 2 right, in step; foreign and left alone: 1", "", ""},
		"in step, commands": {inStep, cluster + " --fix", "", "", ""},
		"of all kinds": {`ip route 10.131.9.0/24 10.132.2.22
ip route 10.131.77.0/24 10.132.2.77
ip route 10.131.8.0/22 10.132.2.1
ip route 10.131.300.0/24 10.132.2.1
`, cluster, `
core1, frr: 0 right, 1 wrong, 1 missing, 1 overlap, 1 remove, 1 not read; foreign and left alone: 0

wrong, line 1: ip route 10.131.9.0/24 10.132.2.22
  wanted: 10.131.9.0/24 via 10.132.2.21 (node-1)
  10.132.2.22 is the address of node-2
    ! node-1
    ip route 10.131.9.0/24 10.132.2.21
    no ip route 10.131.9.0/24 10.132.2.22

missing: 10.131.10.0/24 via 10.132.2.22 (node-2)
    ! node-2
    ip route 10.131.10.0/24 10.132.2.22

overlap, line 3: ip route 10.131.8.0/22 10.132.2.1
  wanted: 10.131.9.0/24 via 10.132.2.21 (node-1)
  covers 10.131.9.0/24 and 1 more wanted subnets
    no ip route 10.131.8.0/22 10.132.2.1

remove, line 2: ip route 10.131.77.0/24 10.132.2.77
  inside the cluster's ranges, and for no node
    no ip route 10.131.77.0/24 10.132.2.77

not read, line 4: ip route 10.131.300.0/24 10.132.2.1`, "", "found"},
		"another range":   {inStep + "ip route 10.131.200.0/24 10.132.2.1\n", cluster + " --within 10.131.0.0/16 --fix", "no ip route 10.131.200.0/24 10.132.2.1", "", "found"},
		"of Windows":      {"\xef\xbb\xbf" + strings.ReplaceAll(inStep[strings.Index(inStep, "ip route 10.131.9"):], "\n", "\r\n"), cluster, "core1, frr: 2 right, in step; foreign and left alone: 0", "", ""},
		"through a pager": {strings.ReplaceAll(inStep, "ip route 10.131", " --More-- \b\b\b\b\b\b\b\b\b\b        \b\b\b\b\b\b\b\b\b\bip route 10.131"), cluster, "core1, frr: 2 right, in step; foreign and left alone: 1", "", ""},
		"through VRP's":   {"  ---- More ----\x1b[42D                  \x1b[42Dip route-static 10.131.9.0 24 10.132.2.21\n  ---- More ----\r                \rip route-static 10.131.10.0 255.255.255.0 10.132.2.22\n", cluster + " --format huawei-vrp", "core1, huawei-vrp: 2 right, in step; foreign and left alone: 0", "", ""},
		"a whole": {"protocol static {\n\tipv4;\n\troute 10.131.9.0/24 via 10.132.2.21;\n\troute 0.0.0.0/0 via 10.132.2.1;\n}\n", cluster + " --format bird --fix", `
protocol static waymark4 {
	ipv4;
	route 10.131.9.0/24 via 10.132.2.21; # node-1
	route 10.131.10.0/24 via 10.132.2.22; # node-2
}`, "this is the new whole, without foreign static routes, of which there are 1", "found"},
		"deactivated": {"set routing-options static route 10.131.9.0/24 next-hop 10.132.2.21\ndeactivate routing-options static route 10.131.9.0/24\n" +
			"set routing-options static route 10.131.10.0/24 next-hop 10.132.2.22\nset routing-options static route 10.131.11.0/24 next-hop 10.1.1.1\ndeactivate routing-options static route 10.131.11.0/24\n", cluster + " --format juniper-junos --fix", `
delete routing-options static route 10.131.9.0/24
# node-1
set routing-options static route 10.131.9.0/24 next-hop 10.132.2.21`, "", "found"},
		"disabled": {"set protocols static route 10.131.9.0/24 next-hop 10.132.2.21\nset protocols static route 10.131.10.0/24 next-hop 10.132.2.22 disable\n", cluster + " --format vyos", `
core1, vyos: 1 right, 1 wrong; foreign and left alone: 0

wrong, line 2: set protocols static route 10.131.10.0/24 next-hop 10.132.2.22 disable
  wanted: 10.131.10.0/24 via 10.132.2.22 (node-2)
  it is deactivated
    delete protocols static route 10.131.10.0/24
    set protocols static route 10.131.10.0/24 description 'node-2'
    set protocols static route 10.131.10.0/24 next-hop 10.132.2.22
`, "", "found"},
		"no ranges": {inStep + "ip route 10.131.77.0/24 10.132.2.77\n", " --gateway core1 --format frr" + two, "core1, frr: 2 right, in step; foreign and left alone: 2",
			"routes of nodes that are gone are not looked for", ""},
		"a new host":      {"192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.1\n", cluster + " --format linux --fix", "route replace 10.131.9.0/24 via 10.132.2.21 proto static # node-1", "", "found"},
		"an option":       {inStep, cluster + " --preference 50", "core1, frr: 0 right, 2 wrong; foreign and left alone: 1", "", "found"},
		"the default":     {strings.Replace(inStep, "2.21\n", "2.21 50\n", 1), cluster + " --preference 1 --fix", "! node-1\nip route 10.131.9.0/24 10.132.2.21 1\n", "", "found"},
		"empty":           {"\n", cluster, "", "", "standard input is empty, which says nothing"},
		"UTF-16":          {"\xff\xfei\x00p\x00", cluster, "", "", "in UTF-16, as PowerShell writes it"},
		"no routes":       {"% Permission denied\n", cluster + " --fix", "! node-1\nip route 10.131.9.0/24 10.132.2.21\n", "standard input has no static route at all", "found"},
		"no text":         {"\x7fELF\x00", cluster, "", "", "standard input is no text, or in UTF-16"},
		"a routing table": {"S 10.131.9.0/24 [1/0] via 10.132.2.21\nO 10.140.0.0/16 [110/20] via 10.132.0.2, 1d\n", cluster, "", "", "it looks like a routing table"},
		"another dialect": {inStep, cluster + " --format mikrotik", "", "", "standard input has no static route in mikrotik; it looks like cisco-ios or cisco-nxos or arista-eos or frr, in which it has 3: say with --format which it is"},
		"no such dialect": {inStep, cluster + " --format cisco", "", "", `there is no dialect "cisco"`},
		"no such option":  {inStep, cluster + " --track 1", "", "", "gateway core1: route to 10.131.9.0/24 through 10.132.2.21 in frr: a static route cannot depend on a track object"},
		"two gateways":    {inStep, two, "", "", "say with --gateway which of core1, core2 it is"},
		"one input twice": {inStep, " --from -", "", "", "--from - and --running - both want standard input"},
		"a bad range":     {inStep, cluster + " --within 10.131.0.1/16", "", "", "--within 10.131.0.1/16: want a prefix without host bits"},
		"fix as JSON":     {inStep, cluster + " --fix -o json", "", "", "leave one of --fix and -o out"},
	} {
		t.Run(name, func(t *testing.T) {
			out, notes, err := runNotes(tt.running, append([]string{"routes", "diff", "--running", "-"}, strings.Fields(tt.args)...)...)
			if !strings.HasPrefix(strings.TrimSpace(out), strings.TrimSpace(tt.want)) || tt.want == "" && out != "" {
				t.Errorf("got\n%s\nwant%s", out, tt.want)
			}
			if !strings.Contains(notes, tt.notes) {
				t.Errorf("notes: %s", notes)
			}
			switch {
			case tt.err == "" && err != nil, tt.err == "found" && !errors.Is(err, errFound):
				t.Errorf("ends with %v", err)
			case tt.err != "" && tt.err != "found" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("ends with %v, want %s", err, tt.err)
			}
		})
	}

	if _, _, err := runNotes("", "routes", "diff"); err == nil || !strings.Contains(err.Error(), "--running is missing") {
		t.Errorf("without a file: %v", err)
	}
	out, _, err := runNotes(wrote, append([]string{"routes", "diff", "--running", "-", "-o", "json"}, strings.Fields(cluster)...)...)
	var report struct {
		Gateway        string
		Right, Foreign int
		Findings       []struct {
			Kind, Why, Enter, Undo string
			Have                   struct {
				Line   int
				Prefix string
			}
			Want struct{ Prefix string }
		}
	}
	if e := json.Unmarshal([]byte(out), &report); e != nil || !errors.Is(err, errFound) || report.Right != 1 || report.Foreign != 1 || len(report.Findings) != 1 {
		t.Fatalf("%v %v\n%s", e, err, out)
	}
	f := report.Findings[0]
	if f.Kind != "near miss" || f.Have.Line != 4 || f.Have.Prefix != "10.131.101.0/24" || f.Want.Prefix != "10.131.10.0/24" ||
		f.Undo != "no ip route 10.131.101.0/24 10.132.2.22\n" || !strings.HasSuffix(f.Enter, "ip route 10.131.10.0/24 10.132.2.22\n") {
		t.Errorf("%+v", f)
	}
}
