package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestCapabilities runs agent and BFD with nothing but what their pods have: a session with a password (TCP MD5) and BFD,
// learned routes, nftables, real-time priority, and the raw socket that hears why another router refuses.
func TestCapabilities(t *testing.T) {
	node, router, stranger := nettest.New(t, "node"), nettest.New(t, "router"), nettest.New(t, "stranger")
	nettest.Join(t, router, "eth0", []string{"198.18.0.1/30"}, node, "eth0", []string{"198.18.0.2/30"})
	nettest.Join(t, stranger, "eth0", []string{"198.18.0.5/30"}, node, "eth1", []string{"198.18.0.6/30"})
	nettest.StartFRR(t, router, true, `
router bgp 64512
 bgp router-id 198.18.0.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 198.18.0.2 remote-as 64513
 neighbor 198.18.0.2 password sesame
 neighbor 198.18.0.2 bfd 3 100 100
 address-family ipv4 unicast
  network 192.0.2.0/24
 exit-address-family
exit
`)
	nettest.StartFRR(t, stranger, false, "router bgp 64700\n neighbor 198.18.0.6 remote-as 64513\nexit\n")
	objects := t.TempDir()
	if err := os.WriteFile(filepath.Join(objects, "objects.yaml"), []byte(`
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 198.18.0.2}, {type: InternalIP, address: "2001:db8::2"}]}
---
apiVersion: v1
kind: Secret
metadata: {namespace: waymark-system, name: waymark-bgp}
stringData: {router: sesame}
---
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {asn: 64513, learn: {accept: [{prefix: 192.0.2.0/24}]}}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec:
  address: 198.18.0.1
  asn: 64512
  passwordSecret: {namespace: waymark-system, name: waymark-bgp, key: router}
  bfd: {interval: 100ms, multiplier: 3}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: stranger}
spec: {address: 198.18.0.5, asn: 64701}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: all}
spec: {destinations: [192.0.2.0/24], source: Pod}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: bank}
spec: {destinations: [203.0.113.0/24], source: Gateway, gateway: {addresses: [198.18.0.3, "2001:db8::3"]}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	k := kubelet{node: node, host: t.TempDir(), fields: map[string]string{"spec.nodeName": "node-1"},
		replace: map[string]string{"--source=kube": "--source=dir:" + objects}}
	base := kustomize(t, "base")
	pod := func(name string) *nettest.Process {
		return k.run(t, as[appsv1.DaemonSet](t, base["DaemonSet/"+namespace+"/"+name]).Spec.Template.Spec)
	}
	watcher := pod("waymark-bfd")
	pod("waymark-agent")

	runDir := filepath.Join(k.host, "run/waymark")
	nettest.Eventually(t, 60*time.Second, func() error {
		s, err := telemetry.Client{RunDir: runDir}.Status(t.Context())
		if err != nil {
			return err
		}
		if len(s.Peers) != 2 || s.Peers[0].State != bgp.Established || s.Peers[0].BFD == nil || s.Peers[0].BFD.State != bfd.Up {
			return fmt.Errorf("no session with a password and BFD: %+v", s.Peers)
		}
		if want := "peer says AS 64700, configured 64701"; s.Peers[1].LastError != want {
			return fmt.Errorf("the stranger's reason is %q, want %q", s.Peers[1].LastError, want)
		}
		if s.Routes.Installed != 1 || len(s.Announced) != 3 || !s.Ready || len(s.Egress) != 2 || !s.Egress[0].Owns || !s.Egress[1].Owns {
			return fmt.Errorf("not in force: %+v", s)
		}
		return nil
	})
	if out := node.IP(t, "route show proto 179"); !strings.HasPrefix(out, "192.0.2.0/24 via 198.18.0.1") {
		t.Errorf("kernel routes: %s", out)
	}
	if out := node.Run(t, "nft", "list", "table", "inet", "waymark"); !strings.Contains(out, "10.244.1.0/24") {
		t.Errorf("nftables: %s", out)
	}
	if out := nettest.Run(t, "ps", "-L", "-o", "cls=", "-p", fmt.Sprint(watcher.Pid())); !strings.Contains(out, "RR") {
		t.Errorf("no thread of waymark-bfd has real-time priority: %s", out)
	}
	if info, err := os.Stat(runDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run directory: %v %v, want mode 0700", info.Mode(), err)
	}
}

// TestPodIsConfined shows that the kubelet of these tests confines: what the test above needs is not there by accident.
func TestPodIsConfined(t *testing.T) {
	node := nettest.New(t, "node")
	k := kubelet{node: node, host: t.TempDir(), fields: map[string]string{"spec.nodeName": "node-1"}}
	pod := as[appsv1.DaemonSet](t, kustomize(t, "base")["DaemonSet/"+namespace+"/waymark-agent"]).Spec.Template.Spec
	for _, c := range []struct{ script, want string }{
		{"touch /new", "Read-only file system"},
		{"touch /run/new", "Read-only file system"},
		{"touch /run/waymark/new", ""},
		{"echo 0 >/proc/sys/net/ipv4/ip_forward", "Read-only file system"},
		{"ip link add name other type veth", ""},
		{"mount -t tmpfs tmpfs /mnt", "permission denied"},
		{"chrt --rr 1 true", "Operation not permitted"},
	} {
		pod.Containers[0].Command, pod.Containers[0].Args = []string{"sh", "-c", c.script}, nil
		words := k.command(t, pod, pod.Containers[0])
		out, err := node.Try(words[0], words[1:]...)
		if (err == nil) != (c.want == "") || !strings.Contains(out, c.want) {
			t.Errorf("%s: got %v %s, want %q", c.script, err, out, c.want)
		}
	}
}
