package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

const datacenter = `apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec:
  cidrs: [10.132.0.0/16]
  gateways:
  - {name: core1, address: 10.132.2.254, dialect: huawei-vrp, nodeSubnets: [10.132.2.0/24]}
  - {name: core2, address: 10.132.3.254, dialect: frr, nodeSubnets: [10.132.3.0/24]}
`

// exportNode is a Node with PodCIDRs and an address.
func exportNode(name, address, podCIDRs string) string {
	return "---\napiVersion: v1\nkind: Node\nmetadata: {name: " + name + "}\nspec: {podCIDRs: [" + podCIDRs + "]}\n" +
		"status: {addresses: [{type: Hostname, address: " + name + "}, {type: InternalIP, address: " + address + "}]}\n"
}

func TestRoutesExport(t *testing.T) {
	good := datacenter + exportNode("node-2", "10.132.2.22", "10.131.10.0/24") + exportNode("node-1", "10.132.2.21", "10.131.8.0/24, 10.131.9.0/24") +
		exportNode("node-3", "10.132.3.23", "10.131.26.0/24")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	lost := good + exportNode("node-4", "10.133.9.9", "10.131.101.0/24") + exportNode("node-5", "10.132.2.25", "") +
		exportNode("node-6", "10.132.2.26", "10.132.7.0/24")
	for name, tt := range map[string]struct {
		manifests string
		args      string
		want      string // printed
		err       string // "": none, "found": exit status 2
	}{
		"one gateway in its dialect": {good, "--from - --gateway core1", `
ip route-static 10.131.8.0 255.255.255.0 10.132.2.21 description node-1
ip route-static 10.131.9.0 255.255.255.0 10.132.2.21 description node-1
ip route-static 10.131.10.0 255.255.255.0 10.132.2.22 description node-2`, ""},
		"from a directory, all options": {"", "--from " + dir + " --gateway core1 --format cisco-ios --vrf prod --name-prefix k8s- --preference 50 --tag 4200 --track 3 --aggregate", `
ip route vrf prod 10.131.8.0 255.255.254.0 10.132.2.21 50 tag 4200 name k8s-node-1 track 3
ip route vrf prod 10.131.10.0 255.255.255.0 10.132.2.22 50 tag 4200 name k8s-node-2 track 3`, ""},
		"from a file, all gateways": {"", "--from " + dir + "/cluster.yaml --format linux", `
# gateway core1
route replace 10.131.8.0/24 via 10.132.2.21 proto static # node-1
route replace 10.131.9.0/24 via 10.132.2.21 proto static # node-1
route replace 10.131.10.0/24 via 10.132.2.22 proto static # node-2
# gateway core2
route replace 10.131.26.0/24 via 10.132.3.23 proto static # node-3`, ""},
		"data have no headings": {good, "--from - --format csv --bfd", `
gateway,vrf,prefix,nextHop,name,preference,tag,bfd,track
core1,,10.131.8.0/24,10.132.2.21,node-1,,,true,
core1,,10.131.9.0/24,10.132.2.21,node-1,,,true,
core1,,10.131.10.0/24,10.132.2.22,node-2,,,true,
core2,,10.131.26.0/24,10.132.3.23,node-3,,,true,`, ""},
		"what has no route does not keep the others": {lost, "--from - --gateway core2", `
! node-3
ip route 10.131.26.0/24 10.132.3.23`, "found"},
		"passed on by the tag": {good, "--from - --gateway core2 --tag 4200 --redistribute ospf", `
! node-3
ip route 10.131.26.0/24 10.132.3.23 tag 4200
route-map WAYTAG permit 10
 match tag 4200
 set tag 4200
exit
router ospf
 redistribute static route-map WAYTAG
exit`, ""},
		"no such protocol":   {good, "--from - --gateway core2 --redistribute rip", "", `--redistribute: no protocol "rip"`},
		"not by that router": {good, "--from - --gateway core2 --redistribute eigrp:1", "", "gateway core2: --redistribute: frr has no redistribution into eigrp with a filter; it has ospf, isis, bgp"},
		"data pass on none":  {good, "--from - --format json --redistribute bgp:1", "", "json has no routing protocols"},
		"two dialects":       {good, "--from -", "", "core1 has the dialect huawei-vrp, and core2 has frr: choose one of them with --gateway, or a --format"},
		"no such gateway":    {good, "--from - --gateway core3", "", `the DatacenterNetwork has no gateway "core3"; it has core1, core2`},
		"no such format":     {good, "--from - --format cisco", "", `there is no dialect "cisco"`},
		"no such option":     {good, "--from - --gateway core2 --format vyos --tag 1", "", "gateway core2: route to 10.131.26.0/24 through 10.132.3.23 in vyos: a static route has no tag there"},
		"no gateways":        {datacenter[:strings.Index(datacenter, "  gateways")], "--from -", "", "DatacenterNetwork default has no spec.gateways"},
		"no network":         {exportNode("node-1", "10.132.2.21", "10.131.8.0/24"), "--from -", "", "there is no DatacenterNetwork named default"},
		"bad manifest":       {strings.Replace(good, "dialect: frr", "dialect: fr", 1), "--from -", "", "Unsupported value"},
		"no file":            {"", "--from " + dir + "/none", "", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, tt.manifests, append([]string{"routes", "export"}, strings.Fields(tt.args)...)...)
			if strings.TrimSpace(out) != strings.TrimSpace(tt.want) {
				t.Errorf("got\n%s\nwant%s", out, tt.want)
			}
			switch {
			case tt.err == "" && err != nil, tt.err == "found" && !errors.Is(err, errFound):
				t.Errorf("ends with %v", err)
			case tt.err != "" && tt.err != "found" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("ends with %v, want %s", err, tt.err)
			}
		})
	}

	t.Run("missing", func(t *testing.T) {
		options := exportOptions{from: "-", gateway: "core1"}
		c, err := options.read(t.Context(), strings.NewReader(strings.Replace(lost, "nodeSubnets: [10.132.2.0/24]", "nodeSubnets: [10.134.0.0/24]", 1)), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, missing, err := options.export(c)
		want := []string{
			"10.131.10.0/24 of node-2: no gateway has 10.132.2.22 in its nodeSubnets",
			"10.131.101.0/24 of node-4: no gateway has 10.133.9.9 in its nodeSubnets",
			"10.131.8.0/24 of node-1: no gateway has 10.132.2.21 in its nodeSubnets",
			"10.131.9.0/24 of node-1: no gateway has 10.132.2.21 in its nodeSubnets",
			"10.132.7.0/24 of node-6: 10.132.7.0/24 of Node node-6 overlaps 10.132.0.0/16 of DatacenterNetwork default",
			"gateway core1: no node has an address in its nodeSubnets",
			"node-5: the node has no spec.podCIDRs yet",
		}
		if err != nil || !slices.Equal(missing, want) {
			t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(missing, "\n"), strings.Join(want, "\n"))
		}
	})
}

// testExport asks a cluster, whose gateway reaches all nodes.
func testExport(t *testing.T, k *nettest.Kube, must func(...string) string) {
	k.Apply(t, strings.Replace(datacenter, "dialect: huawei-vrp, nodeSubnets: [10.132.2.0/24]", "dialect: json, nodeSubnets: [10.132.0.0/16]", 1))
	var routes []struct{ Prefix, NextHop, Name string }
	text := must("routes", "export", "--gateway", "core1")
	if err := json.Unmarshal([]byte(text), &routes); err != nil || len(routes) != 5 || routes[4].NextHop != "10.132.2.15" || routes[4].Name != "node-5" {
		t.Errorf("%v\n%s", err, text)
	}
}
