package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestCheckReach: the node is this namespace, node-1 with the pod shop/a, and behind it a datacenter.
func TestCheckReach(t *testing.T) {
	pod, router := nettest.New(t, "pod-a"), nettest.New(t, "datacenter")
	nettest.Join(t, nettest.Self, "pod0", []string{"10.244.1.1/24"}, pod, "eth0", []string{"10.244.1.7/24"})
	nettest.Join(t, nettest.Self, "eth9", []string{"10.132.2.1/24"}, router, "eth0", []string{"10.132.2.254/24"})
	pod.IP(t, "route add default via 10.244.1.1")
	router.IP(t, "route add 10.244.2.0/24 dev lo")
	router.IP(t, "addr add 10.132.7.20/32 dev lo")
	router.IP(t, "route add unreachable 10.132.8.0/24")
	router.IP(t, "route add 10.244.1.0/24 via 10.132.2.1")
	router.IP(t, "route add blackhole 10.132.9.0/24")
	router.Run(t, "nft", "table ip filter { chain input { type filter hook input priority 0; tcp dport 2181 drop; }; }")
	nettest.Run(t, "ip", "route", "add", "default", "via", "10.132.2.254")
	answerDubbo(t, "10.244.1.1:20880")
	dir := t.TempDir()
	objects := filepath.Join(dir, "cluster.yaml")
	// node-1 announces its prefix to nobody.
	text := strings.Replace(shopCluster, "sessions: [{peer: rr1, state: Established}]}\n- apiVersion", "sessions: [{peer: rr1, state: Active, lastError: connection refused}]}\n- apiVersion", 1)
	if err := os.WriteFile(objects, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(args ...string) (string, error) {
		return run(t, "", append([]string{"check", "reach", "--objects", objects, "--timeout", "500ms"}, args...)...)
	}
	for _, tt := range []struct {
		name  string
		args  []string
		found bool
		want  string
	}{
		{"a pod from its node", []string{"--from", "here", "--to", "10.244.1.1:20880", "--protocol", "dubbo"}, false, "speaks dubbo"},
		{"the node's own network", []string{"--from", "node", "--to", "10.244.1.1:20880"}, false, "Connected"},
		{"nobody listens", []string{"--to", "10.244.1.7:1"}, true, "NobodyListens"},
		{"nobody listens at this host", []string{"--to", "127.0.0.1:1"}, true, "127.0.0.1 is reached, and nobody listens on port 1"},
		{"from a pod", []string{"--from", "pod:10.244.1.7", "--to", "10.244.1.1:20880", "--protocol", "dubbo"}, false, "speaks dubbo"},
		{"from a pod to the datacenter, and no way back", []string{"--from", "pod:10.244.1.7", "--to", "10.132.7.20:2181"}, true,
			"answers to 10.244.1.7 do not find it: node-1 announces 10.244.1.0/24 to nobody, its sessions are down: rr1 (Active: connection refused)"},
		{"a silent router, from a pod", []string{"--from", "pod:10.244.1.7", "--to", "10.132.9.1:80"}, true, "come as far as 10.244.1.1"},
		{"a silent router", []string{"--to", "10.132.9.1:80"}, true, "10.132.9.1 is a host of the datacenter: nothing comes back"},
		{"a router without a route, from here", []string{"--to", "10.132.8.1:2181"}, true, "no route"},
		{"a protocol that it does not speak", []string{"--to", "10.244.1.1:20880", "--protocol", "tri"}, true, "NotSpoken"},
	} {
		text, err := check(tt.args...)
		t.Logf("%s:\n%s", tt.name, text)
		if errors.Is(err, errFound) != tt.found || err != nil && !tt.found || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	text, err := check("--to", "10.244.1.7:1", "-o", "json")
	var view reachView
	if !errors.Is(err, errFound) || json.Unmarshal([]byte(text), &view) != nil || view.Node != "node-1" || view.Whose != "shop/a" || len(view.Findings) != 1 {
		t.Errorf("%v\n%s", err, text)
	}
	for _, args := range [][]string{
		{"--to", "10.244.1.7"}, {"--to", "10.244.1.7:0"}, {"--to", "10.244.1.7:1", "--from", "there"}, {"--to", "10.244.1.7:1", "--timeout", "0s"},
		{"--to", "10.244.1.1:20880", "--protocol", "dubo"},
		{"--to", "10.132.7.20:1", "--from", "pod:10.244.1.99"}, {"--to", "zk.example.com:1", "--from", "pod:10.244.1.7"}, {"--to", "[fd00::1]:1", "--from", "pod:10.244.1.7"},
	} {
		if text, err := check(args...); err == nil || errors.Is(err, errFound) {
			t.Errorf("%v: %v\n%s", args, err, text)
		}
	}
	if err := os.WriteFile(objects, []byte("---\n{kind: Node, metadata: {name: node-2}, spec: {podCIDRs: [10.244.2.0/24]}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err = check("--to", "10.244.2.7:1")
	if !errors.Is(err, errFound) {
		t.Error(err)
	}
	contains(t, text, "announced 10.244.2.0/24: not known: no report")
}
