package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route/probe"
)

// TestRoutesVerify has a gateway with three nodes, whose first subnet is right. The second is behind the first node, which
// forwards, and the third is nowhere.
func TestRoutesVerify(t *testing.T) {
	gw, n1, n2 := nettest.New(t, "gw"), nettest.New(t, "n1"), nettest.New(t, "n2")
	nettest.Join(t, nettest.Self, "wan", []string{"192.0.2.1/24"}, gw, "wan", []string{"192.0.2.254/24"})
	t.Cleanup(func() { nettest.Self.IP(t, "link del wan") })
	gw.IP(t, "link add lan type bridge")
	gw.IP(t, "link set lan up")
	gw.IP(t, "addr add 10.132.2.254/24 dev lan")
	for ns, last := range map[nettest.NS]string{n1: "21", n2: "22"} {
		nettest.Join(t, ns, "eth0", []string{"10.132.2." + last + "/24"}, gw, string(ns), nil)
		gw.IP(t, "link set "+string(ns)+" master lan")
		ns.IP(t, "route add default via 10.132.2.254")
		ns.IP(t, "link add cni0 type bridge")
		ns.IP(t, "link set cni0 up")
		ns.IP(t, "addr add 10.131."+last+".1/24 dev cni0")
		gw.IP(t, "route add 10.131."+last+".0/24 via 10.132.2.21")
	}
	n1.IP(t, "route add 10.131.22.0/24 via 10.132.2.22")
	for _, prefix := range []string{"10.131.0.0/16", "10.132.0.0/16"} {
		nettest.Self.IP(t, "route add "+prefix+" via 192.0.2.254")
	}
	for _, ns := range []nettest.NS{gw, n1, n2} { // else it is by luck whom they answer
		ns.Run(t, "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
	}
	manifests := datacenter[:strings.Index(datacenter, "  - {name: core2")] +
		exportNode("node-1", "10.132.2.21", "10.131.21.0/24") + exportNode("node-2", "10.132.2.22", "10.131.22.0/24") +
		exportNode("node-3", "10.132.2.23", "10.131.23.0/24")

	for _, tt := range []struct {
		args, want string
		found      bool
	}{
		{"--gateway core1", "3 subnets behind core1: 3 sent\n", false},
		{"--probe", `
SUBNET          NODE    VERDICT      PROBED       WHY
10.131.22.0/24  node-2  wrong node   10.131.22.1  node node-1 (10.132.2.21) is on the way to 10.131.22.1
10.131.23.0/24  node-3  unreachable  10.131.23.1  192.0.2.254 knows no way on
3 subnets behind core1: 1 right, 1 wrong node, 1 unreachable
`, true},
	} {
		out, err := run(t, manifests, append([]string{"routes", "verify", "--from", "-"}, strings.Fields(tt.args)...)...)
		if out != strings.TrimPrefix(tt.want, "\n") || tt.found != errors.Is(err, errFound) || !tt.found && err != nil {
			t.Errorf("%s: %v\n%s", tt.args, err, out)
		}
	}

	out, err := run(t, manifests, "routes", "verify", "--from", "-", "--probe", "-o", "json")
	var v struct {
		Gateway  string
		Findings []probe.Finding
	}
	if jerr := json.Unmarshal([]byte(out), &v); jerr != nil || !errors.Is(err, errFound) || v.Gateway != "core1" || len(v.Findings) != 3 ||
		v.Findings[0].Verdict != probe.Right || len(v.Findings[1].Hops) != 3 || v.Findings[1].Hops[1].From.String() != "10.132.2.21" {
		t.Errorf("%v %v\n%s", jerr, err, out)
	}
	for args, want := range map[string]string{
		"--gateway core9": `no gateway "core9"; it has core1`,
		"--parallel 65":   "--parallel 65: want 1 to 64",
		"--wait 0s":       "must be more than 0s",
		"-o yaml":         "-o yaml: want text or json",
	} {
		if _, err := run(t, manifests, append([]string{"routes", "verify", "--from", "-"}, strings.Fields(args)...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	if _, err := run(t, datacenter, "routes", "verify", "--from", "-"); err == nil || !strings.Contains(err.Error(), "choose one of them with --gateway") {
		t.Error(err)
	}
}
