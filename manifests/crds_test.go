// Package manifests holds what is installed on a cluster: the CustomResourceDefinitions, a kustomize base and a Helm chart.
// Its tests apply them to a real API server.
package manifests

import (
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// startKube is an API server that knows the kinds.
func startKube(t testing.TB) *nettest.Kube {
	t.Helper()
	k := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	k.DefineKinds(t)
	return k
}

// TestObjectsAtTheAPIServer applies good objects of every kind, then each of them with one thing wrong, and wants to read
// what to change.
func TestObjectsAtTheAPIServer(t *testing.T) {
	k := startKube(t)
	good := map[string]string{
		"BGPConfiguration": `
metadata: {name: default}
spec:
  asn: 64513
  listenPort: 179
  gracefulRestart: {enabled: true, restartTime: 120s}
  advertise: {podCIDRs: true, egressAddresses: true, communities: ["64512:100"]}
  learn: {accept: [{prefix: 10.0.0.0/8, minLength: 8, maxLength: 28}, {prefix: "2001:db8::/32"}], metric: 200, table: 254}
  drain: {timeout: 30s}
`,
		"BGPPeer": `
metadata: {name: rr1}
spec:
  nodeSelector: {matchLabels: {rack: a}}
  address: 10.132.2.254
  asn: 64512
  port: 179
  passwordSecret: {namespace: waymark-system, name: rr, key: password}
  multihop: {ttl: 2}
  timers: {hold: 90s, keepalive: 30s, connectRetry: 5s}
  bfd: {interval: 300ms, multiplier: 3}
  families: [ipv4, ipv6]
  import: [{prefix: 0.0.0.0/0, minLength: 0, maxLength: 0, action: Reject}]
  export: []
  maxPrefixes: 20000
  allowOwnAS: 1
  passive: false
  attributes: {med: 10, localPreference: 200, prepend: 1, communities: [], largeCommunities: ["4200000000:1:100"]}
`,
		"EgressPolicy": `
metadata: {name: partner-bank}
spec:
  priority: 100
  pods: {namespaceSelector: {matchLabels: {team: pay}}}
  destinations: [203.0.113.0/24]
  source: Gateway
  gateway: {nodeSelector: {matchLabels: {cluster.k8s/egress: enabled}}, addresses: [10.132.2.240], fallback: Drop, bfd: {interval: 200ms, multiplier: 3}}
`,
		"AddressPool": `
metadata: {name: egress}
spec: {cidrs: [10.132.2.240/29, "2001:db8:1::/64"], use: Egress}
`,
		"DatacenterNetwork": `
metadata: {name: default}
spec:
  cidrs: [10.132.0.0/16]
  clusterCIDRs: [10.244.0.0/16]
  gateways: [{name: core1, address: 10.132.2.254, dialect: huawei-vrp, nodeSubnets: [10.132.2.0/24]}]
`,
		"NodeRole": `
metadata: {name: egress}
spec: {label: {key: cluster.k8s/egress, value: enabled}, nodeSelector: {matchLabels: {egress: "yes"}}, nodes: 2, minReady: 1}
`,
		"StaticRouteExport": `
metadata: {name: core1}
spec:
  gateway: core1
  format: cisco-ios
  vrf: prod
  namePrefix: k8s-
  preference: 50
  tag: 4200
  track: 3
  aggregate: true
  running: {configMap: core1-running, key: core1.cfg}
  probe: true
  interval: 10m
`,
		"RegistryCheck": `
metadata: {name: shop}
spec:
  registry:
    zookeeper:
      servers: ["10.132.7.20:2181", "[2001:db8::20]:2181", zk.example.com:2181]
      chroot: /prod/shop
      root: dubbo
      adminPort: 8080
      tls: {secret: {namespace: waymark-system, name: waymark-registry}, serverName: zk.example.com}
      authSecret: {namespace: waymark-system, name: waymark-registry, key: auth}
  interval: 5m
  dials: 50
  timeout: 3s
  protocols: [dubbo, tri]
  fromPods: [{namespace: shop, name: cart-0}, {namespace: shop, selector: {matchLabels: {app: cart}}}]
  egressPolicy: datacenter
`,
		"NodeRoutingState": `
metadata: {name: node-1}
spec: {podCIDRs: [{prefix: 10.244.1.0/24}], tunnelPeers: [10.132.2.0/29, "2001:db8::1/128"]}
`,
	}
	apply := func(kind, text string, args ...string) error {
		_, err := k.KubectlAs(k.Admin, "apiVersion: waymark.io/v1alpha1\nkind: "+kind+text,
			append([]string{"apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"}, args...)...)
		return err
	}
	for kind, text := range good {
		if err := apply(kind, text); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	}
	for _, c := range []struct{ kind, old, new, want string }{
		{"BGPConfiguration", "name: default", "name: other", `there is only one object of this kind, and its name is "default"`},
		{"BGPConfiguration", "asn: 64513", "asn: 0", `spec.asn: Invalid value: 0: spec.asn in body should be greater than or equal to 1`},
		{"BGPConfiguration", "asn: 64513", "asn: 4294967296", `should be less than or equal to 4294967295`},
		{"BGPConfiguration", "listenPort: 179", "listenPort: 65536", `should be less than or equal to 65535`},
		{"BGPConfiguration", "120s", "4096s", `must be 1s..4095s in whole seconds`},
		{"BGPConfiguration", "120s", "1500ms", `must be 1s..4095s in whole seconds`},
		{"BGPConfiguration", "64512:100", "64512", `must be 2 numbers of 0..65535 joined by colons, as "64512:100"`},
		{"BGPConfiguration", "64512:100", "65536:1", `must be 2 numbers of 0..65535 joined by colons, as "64512:100"`},
		{"BGPConfiguration", "10.0.0.0/8", "10.0.0.1/8", `must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32`},
		{"BGPConfiguration", "minLength: 8", "minLength: 7", `must not be less than the length of prefix`},
		{"BGPConfiguration", "minLength: 8", "minLength: 29", `maxLength is less than minLength`},
		{"BGPConfiguration", "table: 254", "table: 255", `is the kernel's table of local addresses`},
		{"BGPConfiguration", "timeout: 30s", "timeout: 2h", `must be 0s..3600s`},
		{"BGPConfiguration", "podCIDRs: true", "podCidrs: true", `.spec.advertise.podCidrs: field not declared in schema`},
		{"BGPPeer", "address: 10.132.2.254", "address: rr1", `is not an IPv4 or IPv6 address, as 10.132.2.254 or 2001:db8::1`},
		{"BGPPeer", "address: 10.132.2.254", "address: 10.132.2.254/24", `is not an IPv4 or IPv6 address`},
		{"BGPPeer", "address: 10.132.2.254", "families: []", `set exactly one of address and fromNodeAnnotation`},
		{"BGPPeer", "address: 10.132.2.254", "address: 10.132.2.254\n  fromNodeAnnotation: waymark.io/tor", `set exactly one of address and fromNodeAnnotation`},
		{"BGPPeer", "asn: 64512", "asn: 0", `should be greater than or equal to 1`},
		{"BGPPeer", "port: 179", "port: 0", `should be greater than or equal to 1`},
		{"BGPPeer", "ttl: 2", "ttl: 1", `should be greater than or equal to 2`},
		{"BGPPeer", "multihop: {ttl: 2}", "multihop: {ttl: 2}\n  ttlSecurity: {hops: 1}", `ttlSecurity excludes multihop`},
		{"BGPPeer", "hold: 90s", "hold: 2s", `must be 3s..65535s in whole seconds`},
		{"BGPPeer", "hold: 90s", "hold: 30s", `keepalive must be less than the hold time`},
		{"BGPPeer", "hold: 90s", "hold: ninety", `must be 3s..65535s in whole seconds`},
		{"BGPPeer", "300ms", "9ms", `must be 10ms..60s`},
		{"BGPPeer", "multiplier: 3", "multiplier: 1", `should be greater than or equal to 2`},
		{"BGPPeer", "ipv6]", "ipv5]", `supported values: "ipv4", "ipv6"`},
		{"BGPPeer", "action: Reject", "action: Drop", `supported values: "Accept", "Reject"`},
		{"BGPPeer", "allowOwnAS: 1", "allowOwnAS: 11", `should be less than or equal to 10`},
		{"BGPPeer", "4200000000:1:100", "4294967296:1:100", `must be 3 numbers of 0..4294967295 joined by colons`},
		{"EgressPolicy", "203.0.113.0/24", "203.0.113.0", `must be a prefix without host bits`},
		{"EgressPolicy", "source: Gateway", "source: Pod", `gateway is required with source: Gateway and forbidden with any other`},
		{"EgressPolicy", "source: Gateway", "source: Elsewhere", `supported values: "Pod", "Node", "Gateway"`},
		{"EgressPolicy", "fallback: Drop", "pool: egress", `pool excludes addresses: set one of the two`},
		{"EgressPolicy", "10.132.2.240", "10.132.2", `is not an IPv4 or IPv6 address`},
		{"EgressPolicy", "10.132.2.240", "10.132.2.240, 10.132.2.240", `duplicate`},
		{"EgressPolicy", "10.132.2.240", "127.0.0.1", `is not an address that others could answer to`},
		{"EgressPolicy", "interval: 200ms", "interval: 9ms", `must be 10ms..60s`},
		{"EgressPolicy", "fallback: Drop", "fallback: None", `supported values: "Drop", "Node", "Pod"`},
		{"EgressPolicy", "priority: 100", "priority: -1", `should be greater than or equal to 0`},
		{"AddressPool", "use: Egress", "use: LoadBalancer", `cannot change, addresses may be in use: make another pool`},
		{"AddressPool", "10.132.2.240/29", "10.132.2.241/29", `must be a prefix without host bits`},
		{"AddressPool", "cidrs: [10.132.2.240/29, \"2001:db8:1::/64\"]", "cidrs: []", `should have at least 1 items`},
		{"DatacenterNetwork", "name: default", "name: dc2", `there is only one object of this kind, and its name is "default"`},
		{"DatacenterNetwork", "cidrs: [10.132.0.0/16]", "cidrs: [0.0.0.0/0]", `is everything: no pod could have an address`},
		{"DatacenterNetwork", "huawei-vrp", "ios", `supported values: "cisco-ios"`},
		{"DatacenterNetwork", "nodeSubnets: [10.132.2.0/24]", "nodeSubnets: []", `should have at least 1 items`},
		{"NodeRole", "key: cluster.k8s/egress", "key: cluster.k8s/other", `cannot change, nodes may bear it: make another NodeRole`},
		{"NodeRole", "minReady: 1", "minReady: 3", `minReady is more than nodes`},
		{"StaticRouteExport", "name: core1", "name: " + strings.Repeat("a", 201), `the name is longer than 200 characters`},
		{"StaticRouteExport", "gateway: core1", "gateway: ''", `should be at least 1 chars long`},
		{"StaticRouteExport", "cisco-ios", "ios", `supported values: "cisco-ios"`},
		{"StaticRouteExport", "vrf: prod", "vrf: 'a b'", `spec.vrf in body should match`},
		{"StaticRouteExport", "namePrefix: k8s-", "namePrefix: '!'", `spec.namePrefix in body should match`},
		{"StaticRouteExport", "preference: 50", "preference: 0", `should be greater than or equal to 1`},
		{"StaticRouteExport", "tag: 4200", "tag: 4294967296", `should be less than or equal to 4294967295`},
		{"StaticRouteExport", "track: 3", "track: 65536", `should be less than or equal to 65535`},
		{"StaticRouteExport", "track: 3", "track: 3\n  bfd: true", `routes depend on bfd or on a track object, not on both`},
		{"StaticRouteExport", "configMap: core1-running", "configMap: ''", `should be at least 1 chars long`},
		{"StaticRouteExport", "interval: 10m", "interval: 59s", `must be 60s..86400s`},
		{"StaticRouteExport", "probe: true", "probes: true", `.spec.probes: field not declared in schema`},
		{"RegistryCheck", "name: shop", "name: " + strings.Repeat("a", 64), `the name is longer than 63 characters`},
		{"RegistryCheck", "10.132.7.20:2181", "10.132.7.20", `servers[0] in body should match`},
		{"RegistryCheck", "zk.example.com:2181", "10.132.7.20:2181", `duplicate entries for key [="10.132.7.20:2181"]`},
		{"RegistryCheck", "chroot: /prod/shop", "chroot: prod", `chroot in body should match`},
		{"RegistryCheck", "adminPort: 8080", "adminPort: 65536", `should be less than or equal to 65535`},
		{"RegistryCheck", "key: auth", "key: ''", `should be at least 1 chars long`},
		{"RegistryCheck", "key: auth", "password: sesame", `authSecret.password: field not declared in schema`},
		{"RegistryCheck", "    zookeeper:", "    nacos: {servers: [\"10.132.7.30:8848\"]}\n    zookeeper:", `set one of zookeeper and nacos`},
		{"RegistryCheck", "interval: 5m", "interval: 29s", `must be 30s..86400s`},
		{"RegistryCheck", "dials: 50", "dials: 201", `should be less than or equal to 200`},
		{"RegistryCheck", "timeout: 3s", "timeout: 31s", `must be 100ms..30s`},
		{"RegistryCheck", "[dubbo, tri]", "[dubbo, 'a b']", `protocols[1] in body should match`},
		{"RegistryCheck", "name: cart-0", "name: cart-0, selector: {}", `set one of name and selector`},
		{"RegistryCheck", "egressPolicy: datacenter", "egressPolicy: ''", `should be at least 1 chars long`},
		{"NodeRoutingState", "prefix: 10.244.1.0/24", "prefx: 10.244.1.0/24", `.spec.podCIDRs[0].prefx: field not declared in schema`},
	} {
		text := good[c.kind]
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s has no %q", c.kind, c.old)
		}
		err := apply(c.kind, strings.Replace(text, c.old, c.new, 1), "--dry-run=server")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %q: got %v\nwant %s", c.kind, c.new, err, c.want)
		}
	}
	report := func(kind, name, status string) error {
		return apply(kind, "\nmetadata: {name: "+name+"}\nstatus: "+status, "--subresource=status")
	}
	const owned = `{gateway: n1, addresses: [{address: 10.132.2.240, vni: 7, term: 3, gateways: [{node: n1, address: 10.132.2.11}, {node: n2, address: 10.132.2.12, leaving: true}]}, {vni: 8, term: 1}]}`
	if err := report("EgressPolicy", "partner-bank", owned); err != nil {
		t.Error(err)
	}
	if err := report("NodeRoutingState", "node-1", "{wanted: 0, egress: [{address: 10.132.2.240, vni: 7, term: 3, owner: n1, failovers: 2}, {vni: 8, term: 1}]}"); err != nil {
		t.Error(err)
	}
	if err := report("StaticRouteExport", "core1", `{routes: 2, missingCount: 1, missing: [a], difference: {right: 1, missing: 1, nearMiss: 0, wrong: 0, overlap: 0, remove: 0, unread: 0, foreign: 3, lines: [a]}, probe: {time: "2026-01-01T00:00:00Z", right: 1, wrong: 0, silent: 1, aside: 0, findings: [{prefix: 10.244.1.0/24, node: n1, verdict: silent}]}}`); err != nil {
		t.Error(err)
	}
	for wrong, want := range map[string]string{
		"vni: 0": "should be greater than or equal to 1", "vni: 16777216": "should be less than or equal to 16777215",
	} {
		if err := report("EgressPolicy", "partner-bank", strings.Replace(owned, "vni: 7", wrong, 1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", wrong, err, want)
		}
	}
	for kind, columns := range map[string][]string{
		"bgppeers":          {"ASN", "ADDRESS", "UP", "WANTED"},
		"egresspolicies":    {"SOURCE", "GATEWAY", "READY"},
		"nrs":               {"GATE", "DRAIN"},
		"sre":               {"GATEWAY", "FORMAT", "ROUTES", "MISSING", "IN STEP", "REACHABLE"},
		"rck":               {"REACHABLE", "PODS SEEN", "LIMIT NEAR", "FINDINGS", "LAST RUN"},
		"bgpconfigurations": {"ASN", "VALID"},
	} {
		out, err := k.Kubectl("get", kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, column := range columns {
			if !strings.Contains(out, column) {
				t.Errorf("kubectl get %s has no column %s:\n%s", kind, column, out)
			}
		}
	}
	if out, err := k.Kubectl("explain", "bgppeer.spec.allowOwnAS"); err != nil || !strings.Contains(out, "how often our own ASN may be in a path") {
		t.Errorf("kubectl explain: %v\n%s", err, out)
	}
}
