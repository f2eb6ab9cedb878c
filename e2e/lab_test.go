package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// Lab is one node between a router of the datacenter and a pod:
//
//	host 192.0.2.2 -- 192.0.2.1 router 198.18.0.1 -- 198.18.0.2 node 10.244.1.1 -- 10.244.1.2 pod
//
// The router has AS 64512 and announces the host's network, the node has AS 64513.
type Lab struct {
	Host, Router, Node, Pod nettest.NS
	Manifests, RunDir       string
}

const (
	hostAddr   = "192.0.2.2"
	routerAddr = "198.18.0.1"
	nodeAddr   = "198.18.0.2"
	podAddr    = "10.244.1.2"
	podCIDR    = "10.244.1.0/24"
)

// NewLab makes the network, with a foreign rule that masquerades pod traffic, as CNI plugins install it.
func NewLab(t testing.TB) *Lab {
	t.Helper()
	l := &Lab{
		Host: nettest.New(t, "host"), Router: nettest.New(t, "router"), Node: nettest.New(t, "node"), Pod: nettest.New(t, "pod"),
		Manifests: t.TempDir(), RunDir: t.TempDir(),
	}
	nettest.Join(t, l.Host, "eth0", []string{hostAddr + "/24"}, l.Router, "lan", []string{"192.0.2.1/24"})
	nettest.Join(t, l.Router, "fabric", []string{routerAddr + "/30"}, l.Node, "eth0", []string{nodeAddr + "/30"})
	nettest.Join(t, l.Node, "cni0", []string{"10.244.1.1/24"}, l.Pod, "eth0", []string{podAddr + "/24"})
	l.Host.IP(t, "route add default via 192.0.2.1")
	l.Pod.IP(t, "route add default via 10.244.1.1")
	l.Node.Run(t, "nft", "add table ip foreign; add chain ip foreign post { type nat hook postrouting priority srcnat; }; "+
		"add rule ip foreign post ip saddr "+podCIDR+" ip daddr != "+podCIDR+" masquerade")
	l.Write(t, "node.yaml", `
apiVersion: v1
kind: Node
metadata: {name: node}
spec: {podCIDR: `+podCIDR+`, podCIDRs: [`+podCIDR+`]}
status: {addresses: [{type: InternalIP, address: `+nodeAddr+`}]}
`)
	l.Write(t, "sources.yaml", `
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec: {cidrs: [192.0.2.0/24]}
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: datacenter-sees-pods}
spec: {destinationsFrom: DatacenterNetwork, source: Pod}
`)
	return l
}

// Speak writes the BGP objects: one peer, the router, with these lines added to its spec.
func (l *Lab) Speak(t testing.TB, peer ...string) {
	t.Helper()
	l.Accept(t, "{prefix: 192.0.2.0/24}")
	l.Write(t, "peer.yaml", `
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: router}
spec:
  address: `+routerAddr+`
  asn: 64512
  timers: {hold: 9s, keepalive: 3s, connectRetry: 1s}
  `+strings.Join(peer, "\n  ")+"\n")
}

// Accept writes the BGPConfiguration, with the rules of what to learn.
func (l *Lab) Accept(t testing.TB, rules string) {
	t.Helper()
	l.Write(t, "bgp.yaml", `
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asn: 64513
  gracefulRestart: {enabled: true, restartTime: 60s}
  learn: {accept: [`+rules+`]}
`)
}

// Write puts a manifest into the agent's directory in one step.
func (l *Lab) Write(t testing.TB, name, text string) {
	t.Helper()
	temporary := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(l.Manifests, name)); err != nil {
		t.Fatal(err)
	}
}

// Agent starts the agent on the node.
func (l *Lab) Agent(t testing.TB, args ...string) *nettest.Process {
	t.Helper()
	return l.Node.Start(t, program(t, "waymark-agent"), append([]string{
		"--node", "node", "--source", "dir:" + l.Manifests, "--run-dir", l.RunDir,
	}, args...)...)
}

// BFD starts waymark-bfd on the node.
func (l *Lab) BFD(t testing.TB) *nettest.Process {
	t.Helper()
	return l.Node.Start(t, program(t, "waymark-bfd"), "--run-dir", l.RunDir)
}

// Status asks the agent.
func (l *Lab) Status(t testing.TB) (agent.Status, error) {
	t.Helper()
	return telemetry.Client{RunDir: l.RunDir}.Status(t.Context())
}

// Settled waits until the agent started after the given time has its session and is done with taking over.
func (l *Lab) Settled(t testing.TB, after time.Time) {
	t.Helper()
	nettest.Eventually(t, 30*time.Second, func() error {
		s, err := l.Status(t)
		if err != nil {
			return err
		}
		if s.Started.Before(after) || len(s.Peers) != 1 || s.Peers[0].State != bgp.Established || s.Routes.Settling ||
			s.Routes.Installed != 1 || !s.Ready {
			return fmt.Errorf("not settled: %+v", s)
		}
		return nil
	})
}

// routerBIRD is BIRD's configuration of the router; bgp is added to its session with the node.
func routerBIRD(bgp string) string {
	return `
router id ` + routerAddr + `;
protocol device { scan time 1; }
protocol direct { ipv4; interface "lan"; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol bfd { interface "*" { interval 100 ms; multiplier 3; }; }
protocol bgp node {
  local ` + routerAddr + ` as 64512;
  neighbor ` + nodeAddr + ` as 64513;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  graceful restart on;
  ` + bgp + `
  ipv4 { import all; export where source ~ [RTS_DEVICE, RTS_STATIC]; };
}
`
}

// routerFRR is FRR's configuration of the router; bgp is added to its neighbor.
func routerFRR(bgp string) string {
	return `
router bgp 64512
 bgp router-id ` + routerAddr + `
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor ` + nodeAddr + ` remote-as 64513
 neighbor ` + nodeAddr + ` timers 3 9
 neighbor ` + nodeAddr + ` timers connect 1
 ` + bgp + `
 address-family ipv4 unicast
  network 192.0.2.0/24
 exit-address-family
exit
`
}
