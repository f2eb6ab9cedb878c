package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// The network: the datacenter is this process's own namespace, the node another one, with a cable between them.
const (
	datacenterAddr = "198.18.0.1"
	datacenterASN  = 64512
	nodeAddr       = "198.18.0.2"
	cable          = "node" // in the datacenter's namespace
)

// node makes the node.
func node(s *measure.Scope) nettest.NS {
	ns := nettest.New(s, "node")
	nettest.Join(s, nettest.Self, cable, []string{datacenterAddr + "/30"}, ns, "eth0", []string{nodeAddr + "/30"})
	return ns
}

// agent is waymark-agent on the node, with its directory of manifests.
type agent struct {
	*nettest.Process
	manifests, runDir string
}

// startAgent starts the agent of this work tree, and waymark-bfd before it if the peer's lines ask for it.
func startAgent(s *measure.Scope, ns nettest.NS, peer ...string) agent {
	a := agent{manifests: s.TempDir(), runDir: s.TempDir()}
	a.node(s, firstPodCIDR)
	a.write(s, "bgp.yaml", `
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asn: 64513
  learn: {accept: [{prefix: 0.0.0.0/0, minLength: 0, maxLength: 32}]}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: datacenter}
spec:
  address: `+datacenterAddr+`
  asn: 64512
  timers: {connectRetry: 1s}
  `+strings.Join(peer, "\n  ")+"\n")
	if len(peer) > 0 {
		ns.Start(s, "bin/waymark-bfd", "--run-dir", a.runDir)
	}
	a.Process = ns.Start(s, "bin/waymark-agent", "--node", "node", "--source", "dir:"+a.manifests, "--run-dir", a.runDir)
	return a
}

const firstPodCIDR = "10.244.0.0/24"

// node writes the Node object.
func (a agent) node(s *measure.Scope, podCIDR string) {
	a.write(s, "node.yaml", `
apiVersion: v1
kind: Node
metadata: {name: node}
spec: {podCIDR: `+podCIDR+`, podCIDRs: [`+podCIDR+`]}
status: {addresses: [{type: InternalIP, address: `+nodeAddr+`}]}
`)
}

// write replaces a manifest in one step.
func (a agent) write(s *measure.Scope, name, text string) {
	temporary := filepath.Join(a.runDir, name)
	s.Check(os.WriteFile(temporary, []byte(text), 0o600), "write a manifest")
	s.Check(os.Rename(temporary, filepath.Join(a.manifests, name)), "write a manifest")
}

const learnerBIRD = `
router id ` + nodeAddr + `;
protocol device { scan time 10; }
protocol kernel { ipv4 { import none; export all; }; }
protocol bgp datacenter {
  local ` + nodeAddr + ` as 64513;
  neighbor ` + datacenterAddr + ` as 64512;
  connect delay time 1; connect retry time 1;
  ipv4 { import all; export none; };
}
`

const learnerFRR = `
router bgp 64513
 bgp router-id ` + nodeAddr + `
 no bgp ebgp-requires-policy
 neighbor ` + datacenterAddr + ` remote-as 64512
 neighbor ` + datacenterAddr + ` timers connect 1
exit
`

// reflector is a router of the datacenter that puts what the node announces into its kernel, and that ends the session as
// soon as BFD says so, graceful restart or not.
type reflector struct {
	name  string
	start func(s *measure.Scope)
}

var reflectors = []reflector{
	{"BIRD", func(s *measure.Scope) { nettest.StartBIRD(s, nettest.Self, reflectorBIRD) }},
	{"FRR", func(s *measure.Scope) { nettest.StartFRR(s, nettest.Self, true, reflectorFRR) }},
}

const reflectorBIRD = `
router id ` + datacenterAddr + `;
protocol device { scan time 10; }
protocol kernel { ipv4 { import none; export all; }; }
protocol bfd { interface "*" { interval 300 ms; multiplier 3; }; }
protocol bgp node {
  local ` + datacenterAddr + ` as 64512;
  neighbor ` + nodeAddr + ` as 64513;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  graceful restart on; bfd on;
  ipv4 { import all; export none; };
}
`

const reflectorFRR = `
router bgp 64512
 bgp router-id ` + datacenterAddr + `
 no bgp ebgp-requires-policy
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 neighbor ` + nodeAddr + ` remote-as 64513
 neighbor ` + nodeAddr + ` timers connect 1
 neighbor ` + nodeAddr + ` bfd 3 300 300
exit
`
