package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/agent/telemetry"
)

func TestCIDRCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	manifests := file("dc.yaml", datacenter+exportNode("node-1", "10.139.2.21", "10.141.8.0/24"))
	list := file("list.txt", "10.136.0.0/16 # office\n10.0.0.0/12\n")
	table := filepath.Join("..", "..", "route", "export", "testdata", "tables", "huawei-vrp.txt")
	odd := file("odd.txt", "10.131.101.0/33 via 10.132.2.22 dev eth0\n")
	for name, tt := range map[string]struct {
		stdin, args string
		want        string // printed
		err         string // "": none, "found": exit status 2
	}{
		"fits": {"", "--cluster 10.135.0.0/16,fd00:135::/48 --service 10.134.0.0/20 --nodes 100 --growth 30% --datacenter " + manifests + " --datacenter " + list, `
RANGE           FOR       ROOM                            FULL AT 30% A YEAR  VERDICT
10.135.0.0/16   pods      100 of 256 nodes, /24 each      in 3.6 years        fits
fd00:135::/48   pods      100 of 65536 nodes, /64 each    in 24.7 years       fits
10.134.0.0/20   Services  -                               -                   fits

DIR/dc.yaml: 3 networks, 0 routes, 0 lines that could not be read
DIR/list.txt: 2 networks, 0 routes, 0 lines that could not be read`, ""},
		"overlaps a route": {"", "--cluster 10.131.0.0/16 --nodes 100 --datacenter " + table, `
RANGE          FOR   ROOM                        FULL AT 0% A YEAR  VERDICT
10.131.0.0/16  pods  100 of 256 nodes, /24 each  never              does not fit

10.131.0.0/16 for pods:
  ! overlaps 10.131.9.0/24 of route TABLE:10
  would do: 10.130.0.0/16, 10.129.0.0/16, 10.133.0.0/16

TABLE: 0 networks, 9 routes, 0 lines that could not be read`, "found"},
		"overlaps nodes and a list": {"10.139.0.0/17\n", "--cluster 10.139.0.0/16 --nodes 256 --growth 50 --datacenter - --datacenter " + manifests, `
RANGE          FOR   ROOM                        FULL AT 50% A YEAR  VERDICT
10.139.0.0/16  pods  256 of 256 nodes, /24 each  now                 does not fit

10.139.0.0/16 for pods:
  ! overlaps 10.139.0.0/17 of network stdin:1
  ! overlaps 10.139.2.21/32 of node address node-1
  would do: 10.138.0.0/16, 10.140.0.0/16, 10.137.0.0/16

stdin: 1 networks, 0 routes, 0 lines that could not be read
DIR/dc.yaml: 3 networks, 0 routes, 0 lines that could not be read`, "found"},
		"doubts": {"S 100.64.0.0/9 [1/0] via 10.0.0.1\n", "--cluster 100.64.0.0/16 --per-node /26 --nodes 10 --datacenter -", `
RANGE          FOR   ROOM                        FULL AT 0% A YEAR  VERDICT
100.64.0.0/16  pods  10 of 1024 nodes, /26 each  never              fits, with doubts

100.64.0.0/16 for pods:
  ? a node's /26 has addresses for 62 pods; a kubelet runs up to 110 unless --max-pods says less
  ? overlaps 100.64.0.0/10, which carriers, clouds and some VPNs use (RFC 6598): ask whether yours do
  ? lies in 100.0.0.0/9 of route stdin:1: an aggregate, or somebody has been given the addresses

stdin: 0 networks, 1 routes, 0 lines that could not be read`, ""},
		"a line that cannot be read": {"", "--cluster 10.131.0.0/16 --nodes 10 --datacenter " + odd, `
RANGE          FOR   ROOM                       FULL AT 0% A YEAR  VERDICT
10.131.0.0/16  pods  10 of 256 nodes, /24 each  never              fits

DIR/odd.txt: 0 networks, 0 routes, 1 lines that could not be read
  line 1: 10.131.101.0/33 is no prefix: 10.131.101.0/33 via 10.132.2.22 dev eth0`, "found"},
		"a list in other forms": {"10.130.0.0/17; '10.131.0.0/17'\n - \"10.132.0.0/17\"\n10.133.0.0 - 10.133.0.255\n", "--cluster 10.131.0.0/16 --nodes 10 --datacenter -", `
RANGE          FOR   ROOM                       FULL AT 0% A YEAR  VERDICT
10.131.0.0/16  pods  10 of 256 nodes, /24 each  never              does not fit

10.131.0.0/16 for pods:
  ! overlaps 10.131.0.0/17 of network stdin:1
  would do: 10.129.0.0/16, 10.133.0.0/16, 10.128.0.0/16

stdin: 3 networks, 0 routes, 1 lines that could not be read
  line 3: it is from one address to another: write prefixes: 10.133.0.0 - 10.133.0.255`, "found"},
		"nothing known": {"", "--cluster 10.0.0.0/8 --nodes 70000", `
RANGE       FOR   ROOM                            FULL AT 0% A YEAR  VERDICT
10.0.0.0/8  pods  70000 of 65536 nodes, /24 each  now                does not fit

10.0.0.0/8 for pods:
  ! has room for 65536 nodes with a /24 each, 70000 are planned: that needs a /7
  no private range of the right size is free

Nothing is known of the datacenter's networks: name them by --datacenter.`, "found"},
		"no options":    {"", "", "", "--cluster and --nodes are missing"},
		"host bits":     {"", "--cluster 10.131.5.0/16 --nodes 1", "", "10.131.5.0/16 has host bits: 10.131.0.0/16 would be"},
		"no prefix":     {"", "--cluster 10.131.0.0 --nodes 1", "", "--cluster: "},
		"no service":    {"", "--cluster 10.131.0.0/16 --nodes 1 --service x", "", "--service: "},
		"no length":     {"", "--cluster 10.131.0.0/16 --nodes 1 --per-node x", "", "--per-node x: want a length, as /24"},
		"many lengths":  {"", "--cluster 10.131.0.0/16 --nodes 1 --per-node 24,64", "", "--per-node has 2 lengths for 1 CIDRs"},
		"no growth":     {"", "--cluster 10.131.0.0/16 --nodes 1 --growth x", "", "--growth x: want a percentage"},
		"no file":       {"", "--cluster 10.131.0.0/16 --nodes 1 --datacenter " + dir + "/none", "", "no such file"},
		"UTF-16":        {"1\x000\x00.\x00", "--cluster 10.131.0.0/16 --nodes 1 --datacenter -", "", "stdin is no text, or in UTF-16, as PowerShell writes it: save it as UTF-8"},
		"nothing in it": {"hello\n", "--cluster 10.131.0.0/16 --nodes 1 --datacenter -", "", "stdin has no route in it"},
		"bad manifest":  {strings.Replace(datacenter, "10.132.0.0/16", "10.132.0.0/33", 1), "--cluster 10.131.0.0/16 --nodes 1 --datacenter -", "", "the manifests are not good"},
		"a manifest of JSON": {`{"apiVersion":"waymark.io/v1alpha1","kind":"DatacenterNetwork","metadata":{"name":"default"},"spec":{"cidrs":["10.132.0.0/16"]}}`,
			"--cluster 10.132.0.0/17 --nodes 100 --datacenter -", `
RANGE          FOR   ROOM                        FULL AT 0% A YEAR  VERDICT
10.132.0.0/17  pods  100 of 128 nodes, /24 each  never              does not fit

10.132.0.0/17 for pods:
  ! overlaps 10.132.0.0/16 of DatacenterNetwork default
  would do: 10.131.128.0/17, 10.131.0.0/17, 10.133.0.0/17

stdin: 1 networks, 0 routes, 0 lines that could not be read`, "found"},
		"other manifest": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "--cluster 10.131.0.0/16 --nodes 1 --datacenter -", "", "stdin: the manifests have no DatacenterNetwork"},
		"no agent":       {"", "--cluster 10.131.0.0/16 --nodes 1 --datacenter agent --run-dir " + dir, "", "no agent answers"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, tt.stdin, append([]string{"cidr", "check"}, strings.Fields(tt.args)...)...)
			out = strings.NewReplacer(dir, "DIR", table, "TABLE").Replace(out)
			if strings.Join(strings.Fields(out), " ") != strings.Join(strings.Fields(tt.want), " ") {
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

	out, err := run(t, "", "cidr", "check", "--cluster", "10.131.0.0/16", "--nodes", "100", "--growth", "30", "--datacenter", table, "-o", "json")
	var view cidrView
	if !errors.Is(err, errFound) || json.Unmarshal([]byte(out), &view) != nil || view.Fits || len(view.Ranges) != 1 || view.Ranges[0].Capacity != 256 ||
		len(view.Ranges[0].Findings) != 1 || len(view.Ranges[0].Proposals) != 3 || *view.Ranges[0].Years != 3.6 || view.Sources[0].Routes != 9 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestCIDRCheckOfAgent: what the agent has learned by BGP is in use.
func TestCIDRCheckOfAgent(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, telemetry.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	learned := func(yield func(netip.Prefix, []netip.Addr) bool) {
		_ = yield(netip.MustParsePrefix("0.0.0.0/0"), nil) && yield(netip.MustParsePrefix("10.0.0.0/8"), nil) && yield(netip.MustParsePrefix("10.131.9.0/24"), nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- (&telemetry.Server{Learned: learned}).ServeStatus(ctx, listener) }()
	out, err := run(t, "", "cidr", "check", "--cluster", "10.131.0.0/16", "--nodes", "10", "--datacenter", "agent", "--run-dir", dir)
	cancel()
	if end := <-ended; end != nil {
		t.Error(end)
	}
	if !errors.Is(err, errFound) {
		t.Errorf("ends with %v", err)
	}
	contains(t, out, "! overlaps 10.131.9.0/24 of route learned by BGP", "? lies in 10.0.0.0/8 of route learned by BGP: an aggregate, or somebody has been given the addresses",
		"agent: 0 networks, 3 routes, 0 lines that could not be read")
	if strings.Contains(out, "0.0.0.0/0") {
		t.Errorf("a default route is an overlap:\n%s", out)
	}
}

// testCIDRCheck plans a cluster beside one that is there.
func testCIDRCheck(t *testing.T) {
	out, err := run(t, "", "cidr", "check", "--cluster", "10.244.0.0/16", "--nodes", "10", "--datacenter", "cluster")
	if !errors.Is(err, errFound) {
		t.Errorf("ends with %v", err)
	}
	contains(t, out, "! overlaps 10.244.1.0/24 of Node node-1", "would do: 10.243.0.0/16, 10.245.0.0/16, 10.242.0.0/16")
}
