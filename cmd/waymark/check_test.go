package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

func TestCheckSource(t *testing.T) {
	nattest.NewLab(t)
	runDir := t.TempDir()
	check := func(args ...string) (string, error) {
		return run(t, "", append([]string{"check", "source", "--run-dir", runDir, "--kubeconfig", filepath.Join(runDir, "none")}, args...)...)
	}
	if text, err := check("--pod", nattest.Pod4, "--to", nattest.Outside4); err != nil {
		t.Errorf("without any rule: %v\n%s", err, text)
	}

	nettest.Run(t, "iptables-nft", "-t", "nat", "-N", "FLANNEL-POSTRTG")
	nettest.Run(t, "iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-j", "FLANNEL-POSTRTG")
	nettest.Run(t, "iptables-nft", "-t", "nat", "-A", "FLANNEL-POSTRTG", "-d", "224.0.0.0/4", "-j", "RETURN")
	nettest.Run(t, "iptables-nft", "-t", "nat", "-A", "FLANNEL-POSTRTG", "-s", "10.244.0.0/16", "-j", "MASQUERADE", "--random-fully")
	text, err := check("--pod", nattest.Pod4, "--to", nattest.Outside4+":443")
	t.Logf("%s", text)
	if !errors.Is(err, errFound) || !strings.Contains(text, "Source: "+nattest.Node4) {
		t.Errorf("behind flannel: %v\n%s", err, text)
	}
	text, err = check("--pod", nattest.Pod4, "--to", nattest.Outside4+":443", "-o", "json")
	var view sourceView
	if !errors.Is(err, errFound) || json.Unmarshal([]byte(text), &view) != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := ruleView{Tool: "iptables-nft", Family: "ip", Table: "nat", Chain: "FLANNEL-POSTRTG", Line: 2, Owner: "flannel",
		Text: "-A FLANNEL-POSTRTG -s 10.244.0.0/16 -j MASQUERADE --random-fully"}
	if view.Rule == nil || *view.Rule != want || view.OK || view.Answer.Source.String() != nattest.Node4 {
		t.Errorf("got %+v, rule %+v", view, view.Rule)
	}

	nattest.Apply(t, nftables.New(), nattest.Plan(nat.Policy{Name: "keep", Source: nat.SourcePod}))
	if text, err := check("--pod", nattest.Pod4, "--to", nattest.Outside4+":443"); err != nil || !strings.Contains(text, "(waymark)") {
		t.Errorf("with a policy: %v\n%s", err, text)
	}

	t.Run("a pod by its name, from what the agent has kept", func(t *testing.T) {
		snapshot := `{"snapshot":{"Pods":[{"metadata":{"namespace":"default","name":"web-0"},"status":{"podIPs":[{"ip":"` + nattest.Pod4 + `"},{"ip":"` + nattest.Pod6 + `"}]}}]}}`
		if err := os.WriteFile(filepath.Join(runDir, "snapshot.json"), []byte(snapshot), 0o600); err != nil {
			t.Fatal(err)
		}
		for to, source := range map[string]string{nattest.Outside4: nattest.Pod4, "[" + nattest.Outside6 + "]:443": nattest.Pod6} {
			if text, err := check("--pod", "default/web-0", "--to", to); err != nil || !strings.Contains(text, "Source: "+source) {
				t.Errorf("to %s: %v\n%s", to, err, text)
			}
		}
	})
	for _, args := range [][]string{
		{"--pod", "default/other", "--to", nattest.Outside4},
		{"--pod", "web", "--to", nattest.Outside4},
		{"--pod", nattest.Pod4, "--to", nattest.Outside6},
		{"--pod", nattest.Pod4, "--to", "example.com"},
		{"--pod", nattest.Pod4, "--to", nattest.Outside4, "--protocol", "quic"},
	} {
		if text, err := check(args...); err == nil || errors.Is(err, errFound) {
			t.Errorf("%v: %v\n%s", args, err, text)
		}
	}
}

func TestCheckSourceOfAServiceIsForItsEndpoint(t *testing.T) {
	nattest.NewLab(t)
	nettest.Run(t, "sh", "-c", `iptables="iptables-nft -t nat"; set -e
for c in KUBE-SERVICES KUBE-SVC-X KUBE-SEP-A KUBE-SEP-B KUBE-MARK-MASQ KUBE-POSTROUTING; do $iptables -N $c; done
$iptables -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
$iptables -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/x cluster IP" -m tcp --dport 80 -j KUBE-SVC-X
$iptables -A KUBE-SVC-X -m statistic --mode random --probability 0.5 -j KUBE-SEP-A
$iptables -A KUBE-SVC-X -j KUBE-SEP-B
$iptables -A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination `+nattest.Outside4+`:7000
$iptables -A KUBE-SEP-B -p tcp -m tcp -j DNAT --to-destination `+nattest.Elsewhere4+`:7000
$iptables -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
$iptables -A POSTROUTING -j KUBE-POSTROUTING
$iptables -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
$iptables -A KUBE-POSTROUTING -j MASQUERADE`)
	text, err := run(t, "", "check", "source", "--run-dir", t.TempDir(), "--pod", nattest.Pod4, "--to", "10.96.0.10:80")
	t.Logf("%s", text)
	if err != nil || !strings.Contains(text, "10.96.0.10 is translated first") {
		t.Errorf("%v\n%s", err, text)
	}
}
