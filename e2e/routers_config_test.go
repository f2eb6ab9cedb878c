package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bgp"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

const (
	podCIDR6 = "2001:db8:3::/64"
	// foreign is a subnet of the node that the routers have not been told of.
	foreign = "10.245.7.0/24"
	key     = "correct-horse-battery-staple"
)

// told are the routers whose configuration the command writes. Besides it each has what no command can know: its router ID, and
// the routes that it announces.
var told = []struct {
	name string
	// start returns how to ask for the preference of a route.
	start      func(t testing.TB, l *Lab, config, asn string) func(prefix string) (string, error)
	preference string // how the answer has it
}{
	{"frr", func(t testing.TB, l *Lab, config, asn string) func(string) (string, error) {
		frr := nettest.StartFRR(t, l.Router, true, config+`
router bgp `+asn+`
 bgp router-id `+routerAddr+`
 no bgp network import-check
 address-family ipv4 unicast
  network 192.0.2.0/24
 exit-address-family
exit
`)
		return func(prefix string) (string, error) { return frr.Vtysh("show bgp ipv4 unicast " + prefix) }
	}, "localpref %s,"},
	{"bird", func(t testing.TB, l *Lab, config, _ string) func(string) (string, error) {
		bird := nettest.StartBIRD(t, l.Router, `
router id `+routerAddr+`;
protocol device { scan time 1; }
protocol direct { ipv4; ipv6; } # next hops of a session over routers are looked up
protocol kernel { ipv4 { export where source = RTS_BGP; }; }
protocol kernel { ipv6 { export where source = RTS_BGP; }; }
`+config)
		return func(prefix string) (string, error) { return bird.Birdc("show route all for " + prefix) }
	}, "BGP.local_pref: %s\n"},
}

// sessions are what the routers are configured for.
var sessions = []struct {
	name, mode, asn string
	annotations     string   // of the node
	peer            []string // lines of the BGPPeer
	leaving         string   // preference of a node that leaves
}{
	{"one each", "each", "64512", "", nil, "0"},
	{"by range", "range", "64512", "", nil, "0"},
	{"by range with an AS each", "range", "64512", `waymark.io/asn: "64777"`, nil, "0"},
	{"TTL security", "each", "64512", "", []string{"ttlSecurity: {hops: 1}"}, "0"},
	{"multihop", "range", "64512", "", []string{"multihop: {ttl: 3}"}, "0"},
	{"iBGP", "each", "64513", "", []string{"asn: 64513"}, "1"},
}

// RouterConfig asks the command for the router's side of the manifests, with the key put in by hand.
func (l *Lab) RouterConfig(t testing.TB, args ...string) string {
	t.Helper()
	out := nettest.Run(t, program(t, "waymark"), append([]string{"routers", "config", "--from", l.Manifests}, args...)...)
	if strings.Contains(out, key) {
		t.Fatalf("the key is in the text:\n%s", out)
	}
	var lines []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "!") && !strings.HasPrefix(line, "#") {
			line = strings.ReplaceAll(line, "<PASSWORD>", key)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// TestGeneratedRouterConfig: a router with nothing but the text of `waymark routers config` has the session, with a key and BFD,
// takes the pods' subnets of both families, refuses what it was not told of, reaches the pod, and goes another way when the node leaves.
func TestGeneratedRouterConfig(t *testing.T) {
	for _, router := range told {
		for _, session := range sessions {
			t.Run(router.name+"/"+session.name, func(t *testing.T) {
				l := NewLab(t)
				l.Router.IP(t, "addr add 2001:db8:2::1/64 dev fabric nodad")
				l.Node.IP(t, "addr add 2001:db8:2::2/64 dev eth0 nodad")
				l.Node.IP(t, "addr add 2001:db8:3::1/64 dev cni0 nodad")
				node := func(metadata, podCIDRs string) {
					l.Write(t, "node.yaml", `
apiVersion: v1
kind: Node
metadata: {name: node, annotations: {`+session.annotations+`}`+metadata+`}
spec: {podCIDRs: [`+podCIDRs+`]}
status: {addresses: [{type: InternalIP, address: `+nodeAddr+`}, {type: InternalIP, address: "2001:db8:2::2"}]}
`)
				}
				if session.annotations != "" {
					l.Write(t, "other.yaml", `
apiVersion: v1
kind: Node
metadata: {name: other}
spec: {podCIDRs: [10.244.2.0/24]}
status: {addresses: [{type: InternalIP, address: 198.18.0.3}]}
`)
				}
				node("", podCIDR+`, "`+podCIDR6+`"`)
				l.Write(t, "datacenter.yaml", `
apiVersion: waymark.io/v1alpha1
kind: DatacenterNetwork
metadata: {name: default}
spec:
  cidrs: [192.0.2.0/24]
  clusterCIDRs: [10.244.0.0/16, "2001:db8:3::/48"]
  gateways: [{name: router, address: `+routerAddr+`, dialect: `+router.name+`, nodeSubnets: [198.18.0.0/30]}]
---
apiVersion: v1
kind: Secret
metadata: {name: router, namespace: waymark-system}
stringData: {key: `+key+`}
`)
				l.Write(t, "sources.yaml", `
apiVersion: waymark.io/v1alpha1
kind: EgressPolicy
metadata: {name: datacenter-sees-pods}
spec: {destinationsFrom: DatacenterNetwork, source: Pod}
`)
				l.Accept(t, "{prefix: 192.0.2.0/24}")
				l.SpeakOtherwise(t, append(session.peer, "passwordSecret: {namespace: waymark-system, name: router, key: key}", "bfd: {interval: 100ms, multiplier: 3}")...)
				ask := router.start(t, l, l.RouterConfig(t, "--neighbors", session.mode), session.asn)

				node("", podCIDR+`, "`+podCIDR6+`", `+foreign)
				l.BFD(t)
				l.Agent(t)
				nettest.Eventually(t, 20*time.Second, func() error { return l.exchanged(t) })
				nettest.Eventually(t, 10*time.Second, func() error { return routeAt(l.Router, podCIDR, true) })
				nettest.Eventually(t, 10*time.Second, func() error {
					out, err := l.Router.Try("ip", "-6", "route", "show", podCIDR6)
					if err == nil && !strings.Contains(out, "via 2001:db8:2::2") {
						err = fmt.Errorf("the router has %q for %s", out, podCIDR6)
					}
					return err
				})
				l.BFDUp(t)
				reachable(t, l)
				if err := routeAt(l.Router, foreign, false); err != nil {
					t.Errorf("the router takes what it was not told of: %v", err)
				}
				node(`, labels: {waymark.io/drain: ""}`, podCIDR+`, "`+podCIDR6+`", `+foreign)
				nettest.Eventually(t, 5*time.Second, func() error {
					out, err := ask(podCIDR)
					if err == nil && !strings.Contains(out, fmt.Sprintf(router.preference, session.leaving)) {
						err = fmt.Errorf("the router does not see that the node leaves: %s", out)
					}
					return err
				})
			})
		}
	}
}

// exchanged says whether the node has its session with the router, has told it everything, and has learned its route.
func (l *Lab) exchanged(t testing.TB) error {
	s, err := l.Status(t)
	if err == nil && (len(s.Peers) != 1 || s.Peers[0].State != bgp.Established || s.Peers[0].Announced != 3 || len(s.Peers[0].Families) != 2 ||
		s.Routes.Installed != 1) {
		err = fmt.Errorf("peers %+v, %d learned routes in the kernel", s.Peers, s.Routes.Installed)
	}
	return err
}
