package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/internal/podnet"
	"github.com/waymark-bgp/waymark/internal/zookeepertest"
	"github.com/waymark-bgp/waymark/registry"
	"github.com/waymark-bgp/waymark/registry/zookeeper"
)

const (
	zk4, zk6             = "10.132.7.20", "2001:db8:7::20"
	zkNode4, zkNode6     = "10.132.7.21", "2001:db8:7::21"
	zkPodNet4, zkPodNet6 = "10.244.1.", "2001:db8:244:1::"
	zkPods               = 6
)

// zooKeeperLab is this host as node-1 with six pods, and ZooKeeper in another namespace.
func zooKeeperLab(t *testing.T) (zk nettest.NS, objects string) {
	t.Helper()
	zk = nettest.New(t, "zk")
	nettest.Join(t, nettest.Self, "eth0", []string{zkNode4 + "/24", zkNode6 + "/64"}, zk, "eth0", []string{zk4 + "/24", zk6 + "/64"})
	zk.IP(t, "route add "+zkPodNet4+"0/24 via "+zkNode4)
	zk.IP(t, "route add "+zkPodNet6+"/64 via "+zkNode6)
	var text strings.Builder
	fmt.Fprintf(&text, `---
{kind: Node, metadata: {name: node-1}, spec: {podCIDRs: [%s0/24, "%s/64"]}, status: {addresses: [{type: InternalIP, address: %s}, {type: InternalIP, address: "%s"}]}}`,
		zkPodNet4, zkPodNet6, zkNode4, zkNode6)
	for i := 1; i <= zkPods; i++ {
		pod := nettest.New(t, fmt.Sprintf("pod%d", i))
		nettest.Join(t, nettest.Self, fmt.Sprintf("veth%d", i), nil, pod, "eth0", []string{podAt(i, 4) + "/32", podAt(i, 6) + "/128"})
		nettest.Self.IP(t, fmt.Sprintf("route add %s dev veth%d", podAt(i, 4), i))
		nettest.Self.IP(t, fmt.Sprintf("route add %s dev veth%d", podAt(i, 6), i))
		nettest.Self.IP(t, fmt.Sprintf("addr add fe80::1/64 dev veth%d nodad", i))
		pod.IP(t, "route add "+zkNode4+" dev eth0")
		pod.IP(t, "route add default via "+zkNode4)
		pod.IP(t, "route add default via fe80::1 dev eth0")
		fmt.Fprintf(&text, "\n---\n{kind: Pod, metadata: {namespace: shop, name: cart-%d}, spec: {nodeName: node-1}, status: {phase: Running, podIPs: [{ip: %s}, {ip: \"%s\"}]}}", i, podAt(i, 4), podAt(i, 6))
	}
	objects = filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(objects, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return zk, objects
}

func podAt(i, family int) string {
	if family == 4 {
		return fmt.Sprint(zkPodNet4, 10+i)
	}
	return fmt.Sprint(zkPodNet6, 10+i)
}

// masquerade what pods send, as CNI plugins do, until the returned function is called.
func masquerade(t *testing.T) func() {
	t.Helper()
	nettest.Run(t, "nft", "table inet flannel-like { chain postrouting { type nat hook postrouting priority srcnat; "+
		"ip saddr "+zkPodNet4+"0/24 oifname eth0 masquerade; ip6 saddr "+zkPodNet6+"/64 oifname eth0 masquerade; }; }")
	var done bool
	stop := func() {
		if !done {
			nettest.Run(t, "nft", "delete", "table", "inet", "flannel-like")
		}
		done = true
	}
	t.Cleanup(stop)
	return stop
}

// session of a pod with a server, until the test ends or it is closed.
func session(t *testing.T, pod, server string) (*zookeeper.Session, error) {
	t.Helper()
	namespace, err := podnet.Find(netip.MustParseAddr(pod))
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	conn, err := namespace.DialContext(context.Background(), "tcp", server)
	if err != nil {
		return nil, err
	}
	return zookeeper.Open(context.Background(), conn, registry.Secret{}, 5*time.Second)
}

func has(t *testing.T, text string, err, want error, parts ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("ends with %v, want %v", err, want)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("does not say %q", part)
		}
	}
	t.Logf("%s", text)
}

func TestCheckZooKeeper(t *testing.T) {
	zk, objects := zooKeeperLab(t)
	for family, address := range map[int]string{4: zk4, 6: zk6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			stop := masquerade(t)
			node := map[int]string{4: zkNode4, 6: zkNode6}[family]
			server := zookeepertest.Start(t, zk, address, "maxClientCnxns=5\n4lw.commands.whitelist=*").Address().String()
			check := func(args ...string) (string, error) {
				return run(t, "", append([]string{"check", "zookeeper", server, "--from", objects}, args...)...)
			}
			var sessions []*zookeeper.Session
			open := func(i int) error {
				s, err := session(t, podAt(i, family), server)
				if err == nil {
					sessions = append(sessions, s)
				}
				return err
			}
			for i := 1; i <= 4; i++ {
				if err := open(i); err != nil {
					t.Fatal(err)
				}
			}
			text, err := check()
			has(t, text, err, errFound,
				"Masqueraded: "+node+" holds sessions as node node-1: what its 6 pods send is masqueraded",
				"LimitNear: "+node+", node node-1, has 4 of the 5 connections",
				"after 1 more it is refused",
				"Forecast: node-1 has 6 pods with 4 connections to "+server+" as one address: 1 more fit; with so many each, the limit of 5 is exceeded with 8 pods")
			text, err = check("--from-pod", "shop/cart-5")
			has(t, text, err, errFound, "sees pod shop/cart-5, which is "+podAt(5, family)+", as "+node+", the address of node node-1: it is masqueraded there")

			if err := open(5); err != nil {
				t.Fatal(err)
			}
			// The doctor is at the node, whose address is full: it hears by the AdminServer.
			text, err = check()
			has(t, text, err, errFound, "LimitReached: "+node+", node node-1, has 5 of the 5 connections", "pods are refused now")
			if err := open(6); err == nil {
				t.Error("the sixth is not refused")
			}
			text, err = check("--from-pod", "shop/cart-6")
			has(t, text, err, errFound, "further ones are refused; it has refused ", "from pod shop/cart-6 to "+server+": the server hangs up at once")

			for _, s := range sessions {
				s.Close()
			}
			sessions = nil
			stop()
			for i := 1; i <= zkPods; i++ {
				if err := open(i); err != nil {
					t.Errorf("pod %d without masquerade: %v", i, err)
				}
			}
			var report zooKeeperReport
			nettest.Eventually(t, 20*time.Second, func() error {
				text, err := check("--from-pod", "shop/cart-6", "-o", "json")
				return errors.Join(err, json.Unmarshal([]byte(text), &report))
			})
			if len(report.Clients) != zkPods || report.Clients[0].Class != registry.PodAddress || report.Clients[0].Node != "node-1" || !report.Sights[0].OK {
				t.Errorf("got %+v", report)
			}
			text, err = check("--from-pod", podAt(6, family))
			has(t, text, err, nil, "Right: "+server+" sees pod shop/cart-6 with its own address", "Nothing found", "masqueraded, 1 of these pods would be refused")
			for _, s := range sessions {
				s.Close()
			}
		})
	}
}

// TestCheckZooKeeperEnsemble names one server of three: all are asked, and one that is dead is a finding.
func TestCheckZooKeeperEnsemble(t *testing.T) {
	zk, objects := zooKeeperLab(t)
	hosts := []zookeepertest.Host{{NS: zk, Address: zk4}}
	for _, address := range []string{"10.132.7.30", "10.132.7.31"} {
		zk.IP(t, "addr add "+address+"/24 dev eth0")
		hosts = append(hosts, zookeepertest.Host{NS: zk, Address: address})
	}
	servers := zookeepertest.StartEnsemble(t, "4lw.commands.whitelist=*", hosts...)
	for i := range servers {
		s, err := session(t, podAt(i+1, 4), servers[i].Address().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
	}
	check := func(args ...string) (zooKeeperReport, error) {
		t.Helper()
		var report zooKeeperReport
		text, err := run(t, "", append([]string{"check", "zookeeper", "--from", objects, "--timeout", "1s", "-o", "json"}, args...)...)
		if json.Unmarshal([]byte(text), &report) != nil {
			t.Logf("%v: %v: %s", args, err, text)
		}
		return report, err
	}
	for _, named := range []string{zk4, zk4 + ":2181,10.132.7.31:2181"} {
		nettest.Eventually(t, 20*time.Second, func() error {
			report, err := check(named, "--from-pod", "shop/cart-1")
			if err != nil || len(report.Servers) != 3 || len(report.Clients) != 3 || len(report.Sights) != 3 {
				return fmt.Errorf("%s: %w: %+v", named, err, report)
			}
			return nil
		})
	}
	servers[1].Kill()
	nettest.Eventually(t, 20*time.Second, func() error { // when it led, the others elect
		report, err := check(zk4)
		if !errors.Is(err, errFound) || len(report.Servers) != 3 || len(report.Findings) != 1 || report.Findings[0].Reason != registry.NotAsked {
			return fmt.Errorf("with a dead server: %w: %+v", err, report)
		}
		return nil
	})
	if report, err := check("10.132.7.30"); err == nil || errors.Is(err, errFound) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the dead one alone: %v: %+v", err, report)
	}
}

func TestCheckZooKeeperErrors(t *testing.T) {
	other := filepath.Join(t.TempDir(), "cluster.yaml")
	text := `---
{kind: Node, metadata: {name: node-2}, spec: {podCIDRs: [10.244.2.0/24]}}
---
{kind: Pod, metadata: {namespace: shop, name: far}, status: {phase: Running, podIPs: [{ip: 10.244.2.7}]}}`
	if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"pod shop/far is not on this host: no network namespace on this host has the address 10.244.2.7; run this on node-2", []string{"127.0.0.1", "--from", other, "--from-pod", "shop/far"}},
		{"run this on its node", []string{"127.0.0.1", "--offline", "--from-pod", "10.244.9.9"}},
		{"want NAMESPACE/NAME or an address", []string{"127.0.0.1", "--offline", "--from-pod", "far"}},
		{"or --from FILE, or --offline", []string{"127.0.0.1", "--kubeconfig", none}},
		{"want HOST or HOST:PORT", []string{"127.0.0.1:zk", "--offline"}},
		{"want HOST or HOST:PORT", []string{"zookeeper://127.0.0.1:2181/root", "--offline"}},
		{"want more than 0", []string{"127.0.0.1", "--offline", "--timeout", "0s"}},
		{"connection refused", []string{"::1", "--offline"}},
		{"name a server", nil},
	} {
		if out, err := run(t, "", append([]string{"check", "zookeeper"}, tt.args...)...); err == nil || errors.Is(err, errFound) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v\n%s", tt.args, err, out)
		}
	}
}
