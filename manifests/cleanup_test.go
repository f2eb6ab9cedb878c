package manifests

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestCleanup runs the cleanup pod on a node that an agent has left, and on one where none has been.
func TestCleanup(t *testing.T) {
	node := nettest.New(t, "node")
	nettest.Join(t, node, "eth0", []string{"198.18.0.2/30", "2001:db8::2/64"}, nettest.New(t, "router"), "eth0", nil)
	for _, route := range []string{
		"route add 192.0.2.0/24 via 198.18.0.1 proto 179 metric 200",
		"route add 192.0.2.0/24 via 198.18.0.1 proto 179 metric 200 table 1000",
		"route add 2001:db8:1::/48 via 2001:db8::1 proto 179 metric 200",
		"route add 203.0.113.0/24 via 198.18.0.1",
	} {
		node.IP(t, route)
	}
	node.Run(t, "nft", "add table inet waymark; add chain inet waymark nat { type nat hook postrouting priority 90; }; add table inet waymark-traffic; add table inet other")
	for _, set := range []string{"waymark4-0123456789abcdef", "other"} {
		node.Run(t, "ipset", "create", set, "hash:net")
	}
	for _, variant := range []string{"nft", "legacy"} {
		for _, rule := range []string{
			"-N WAYMARK-POSTROUTING", "-A WAYMARK-POSTROUTING -m set --match-set waymark4-0123456789abcdef dst -j RETURN",
			"-A POSTROUTING -j WAYMARK-POSTROUTING", "-A POSTROUTING -j RETURN",
		} {
			node.Run(t, "iptables-"+variant, append([]string{"-t", "nat"}, strings.Fields(rule)...)...)
		}
	}
	for _, tunnel := range []string{
		"link add waymark77 type vxlan id 77 dstport 8479 local 198.18.0.2", "link set waymark77 up", "link add other type vxlan id 78 dstport 4789 local 198.18.0.2",
		"rule add fwmark 0x100000/0x3ff00000 lookup 1790001 priority 179 protocol 180", "-6 rule add fwmark 0x100000/0x3ff00000 lookup 1790001 priority 179 protocol 180",
		"rule add lookup 55 priority 100", "route add default dev waymark77 table 1790001 proto 180", "-6 route add blackhole default table 1790001 proto 180",
		"neigh add proxy 198.18.0.3 dev eth0 protocol 180", "neigh add proxy 2001:db8::3 dev eth0 protocol 180", "neigh add proxy 198.18.0.1 dev eth0",
	} {
		node.IP(t, tunnel)
	}
	node.Run(t, "sysctl", "-qw", "net.ipv4.neigh.eth0.proxy_delay=0", "net.ipv6.conf.eth0.proxy_ndp=1")
	k := kubelet{node: node, host: t.TempDir()}
	runDir := filepath.Join(k.host, "run/waymark")
	if err := errors.Join(os.MkdirAll(runDir, 0o700), os.WriteFile(filepath.Join(runDir, "agent.json"), nil, 0o600),
		os.WriteFile(filepath.Join(runDir, "tunnels.json"), []byte(
			`{"/proc/sys/net/ipv4/neigh/eth0/proxy_delay":"70","/proc/sys/net/ipv6/conf/eth0/proxy_ndp":"0","/proc/sys/net/ipv6/conf/gone/proxy_ndp":"0"}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	pod := as[appsv1.DaemonSet](t, kustomize(t, "cleanup")["DaemonSet/"+namespace+"/waymark-cleanup"]).Spec.Template.Spec
	for range 2 {
		k.run(t, pod)
		if out := node.IP(t, "-4 route show table all proto 179") + node.IP(t, "-6 route show table all proto 179"); out != "" {
			t.Errorf("routes are left: %s", out)
		}
		if out := node.IP(t, "-4 route show table all proto 180") + node.IP(t, "-6 route show table all proto 180") +
			node.IP(t, "rule show priority 179") + node.IP(t, "-6 rule show priority 179") + node.IP(t, "-6 neigh show proxy"); out != "" {
			t.Errorf("ways to gateways are left: %s", out)
		}
		if out := node.IP(t, "rule show priority 100"); out == "" {
			t.Error("a rule that is not ours is gone")
		}
		if out := strings.Fields(node.IP(t, "neigh show proxy")); len(out) == 0 || out[0] != "198.18.0.1" || strings.Contains(strings.Join(out, " "), "198.18.0.3") {
			t.Errorf("proxy neighbours: %s", out)
		}
		if out := node.IP(t, "-brief link show type vxlan"); strings.Contains(out, "waymark") || !strings.Contains(out, "other") {
			t.Errorf("tunnels: %s", out)
		}
		if out := strings.Fields(node.Run(t, "sysctl", "-n", "net.ipv4.neigh.eth0.proxy_delay", "net.ipv6.conf.eth0.proxy_ndp")); strings.Join(out, " ") != "70 0" {
			t.Errorf("settings: %s", out)
		}
		if out := node.IP(t, "route show 203.0.113.0/24"); out == "" {
			t.Error("a route that is not ours is gone")
		}
		if out := node.Run(t, "nft", "list", "tables"); strings.Contains(out, "waymark") || !strings.Contains(out, "table inet other") {
			t.Errorf("tables: %s", out)
		}
		for _, variant := range []string{"nft", "legacy"} {
			if out := node.Run(t, "iptables-"+variant, "-t", "nat", "-S"); strings.Contains(out, "WAYMARK") || !strings.Contains(out, "-A POSTROUTING -j RETURN") {
				t.Errorf("rules of %s: %s", variant, out)
			}
		}
		if out := node.Run(t, "ipset", "list", "-name"); strings.TrimSpace(out) != "other" {
			t.Errorf("sets: %s", out)
		}
		if err := os.RemoveAll(filepath.Join(k.host, "run/xtables.lock")); err != nil { // everybody's
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Join(k.host, "run")); err != nil || len(left) > 0 {
			t.Errorf("in /run: %v %v", left, err)
		}
	}
}
