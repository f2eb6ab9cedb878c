package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeManifests writes what a user would without a cluster to ask: the Node objects as kubectl prints them, with PodCIDRs
// that nobody allocates, and the waymark.io objects.
func writeManifests() error {
	for i, n := range nodes {
		nodes[i] = n.withPods(fmt.Sprintf("10.244.%d.0/24", i+1))
	}
	for _, n := range nodes {
		if err := errors.Join(
			writeFiles(n.manifestsDir(), objects),
			writeFiles(n.manifestsDir(), map[string]string{"nodes.yaml": nodesYAML()}),
		); err != nil {
			return err
		}
	}
	return nil
}

var objects = map[string]string{"bgp.yaml": bgpYAML, "sources.yaml": sourcesYAML}

func writeFiles(dir string, texts map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.TrimLeft(text, "\n")), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// nodesYAML is what `kubectl get nodes -o yaml` prints, without the longest parts of status.
func nodesYAML() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nitems:\n")
	for i, n := range nodes {
		fmt.Fprintf(&b, `- apiVersion: v1
  kind: Node
  metadata:
    annotations:
      node.alpha.kubernetes.io/ttl: "0"
      waymark.io/asn: "%[5]d"
    creationTimestamp: "2026-01-12T08:00:0%[1]dZ"
    labels:
      kubernetes.io/arch: amd64
      kubernetes.io/hostname: %[2]s
      kubernetes.io/os: linux
    name: %[2]s
    resourceVersion: "%[1]d1874"
    uid: 0b6f1f7e-6a55-4c1e-9d35-3f1c3f7a2d0%[1]d
  spec:
    podCIDR: %[3]s
    podCIDRs:
    - %[3]s
  status:
    addresses:
    - address: %[4]s
      type: InternalIP
    - address: %[2]s
      type: Hostname
    conditions:
    - lastHeartbeatTime: "2026-01-12T08:05:00Z"
      lastTransitionTime: "2026-01-12T08:00:30Z"
      message: kubelet is posting ready status
      reason: KubeletReady
      status: "True"
      type: Ready
    nodeInfo:
      architecture: amd64
      kubeletVersion: v1.36.3
      operatingSystem: linux
`, i+1, n.name, n.podCIDR, n.address, n.asn)
	}
	b.WriteString("kind: List\nmetadata:\n  resourceVersion: \"\"\n")
	return b.String()
}

var bgpYAML = fmt.Sprintf(`
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec:
  asn: 64513 # of nodes without the annotation waymark.io/asn
  advertise: {communities: ["64512:100"]}
  learn: {accept: [{prefix: 10.0.0.0/8, minLength: 16, maxLength: 28}]}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: reflector}
spec:
  address: %s
  asn: %d
  families: [ipv4]
  timers: {connectRetry: 1s}
  bfd: {interval: %v, multiplier: %d}
`, gatewayAddress, reflectorASN, bfdInterval, bfdMultiplier)

const sourcesYAML = `
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec:
  cidrs: [10.132.0.0/16]
  clusterCIDRs: [` + clusterCIDR + `]
  gateways: [{name: core, address: ` + coreAddress + `, dialect: linux, nodeSubnets: [` + nodeNetwork + `]}]
---
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: datacenter-sees-pods}
spec: {destinationsFrom: DatacenterNetwork, source: Pod}
`
