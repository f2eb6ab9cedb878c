package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// explained is what `waymark routers explain` says.
type explained struct {
	Cause, Seen, Means, Lines string
	Changes                   []struct{ Side, Text string }
	Exchanged                 []struct{ Version, Announced, Received, Most int }
}

// Explain asks why the node's session is not up.
func (l *Lab) Explain(t testing.TB) (explained, error) {
	t.Helper()
	cmd := nettest.Self.Command(program(t, "waymark"), "routers", "explain", "node", "router", "--run-dir", l.RunDir, "--from", l.Manifests,
		"--format", "frr", "-o", "json")
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	var e explained
	if read := json.Unmarshal(out, &e); read != nil {
		return e, fmt.Errorf("%w: %s: %s", err, out, problem.String())
	}
	if up := e.Cause == "Up"; up != (err == nil) {
		return e, fmt.Errorf("cause %s, and the command ends with %v", e.Cause, err)
	}
	return e, nil
}

// unlucky are routers with which a session does not come up.
var unlucky = []struct {
	name  string
	peer  []string // lines of the BGPPeer
	start func(t testing.TB, l *Lab)
	cause string   // "": one of several
	words []string // in the explanation
	lines string   // in the router's lines
}{
	{"the node has another AS", nil, frrWith("neighbor " + nodeAddr + " remote-as 64999"),
		"AS", []string{"The router does not expect AS 64513 at the address of this node", "waymark.io/asn"}, "remote-as 64513"},
	{"the router has another AS", nil, birdWith("as 64512", "as 64999"),
		"AS", []string{"The router says in its OPEN that it has AS 64999", "spec.asn: 64999 in BGPPeer router"}, "remote-as 64513"},
	{"keys that differ", []string{"passwordSecret: {namespace: s, name: n, key: k}"}, frrWith("neighbor " + nodeAddr + " password other"),
		"Silent", []string{"does not answer at all", "a key (MD5)", `key "k" of Secret s/n`}, "password <PASSWORD>"},
	{"a key on the router alone", nil, birdWith("graceful restart on;", `graceful restart on; password "other";`),
		"Silent", []string{"no key and no TTL security here", "spec.passwordSecret"}, ""},
	{"no BGP", nil, func(testing.TB, *Lab) {},
		"Refused", []string{"nothing listens at the port"}, "neighbor 198.18.0.2 peer-group waymark-router"},
	{"no such neighbour", nil, frrWith("no neighbor " + nodeAddr + "\n neighbor 198.18.0.77 remote-as 1"),
		"NoNeighbor", []string{"no session from the address of this node"}, "neighbor 198.18.0.2 peer-group waymark-router"},
	{"one router ID", []string{"asn: 64513"}, func(t testing.TB, l *Lab) {
		nettest.StartFRR(t, l.Router, false, strings.NewReplacer("router bgp 64512", "router bgp 64513", "router-id "+routerAddr, "router-id "+nodeAddr).Replace(routerFRR("")))
	}, "RouterID", []string{"The node's is " + nodeAddr, "waymark.io/router-id"}, ""},
	{"TTL security on the node alone", []string{"ttlSecurity: {hops: 1}"}, frrWith(""),
		"Hops", []string{"The BGPPeer has TTL security", "with at least 1 hops"}, "ttl-security hops 1"},
	{"TTL security on the router alone", nil, frrWith("neighbor " + nodeAddr + " ttl-security hops 1"),
		"", []string{"Then the BGPPeer needs spec.ttlSecurity"}, ""},
	{"behind a router without multihop", []string{"address: " + hostAddr}, func(t testing.TB, l *Lab) {
		l.Node.IP(t, "route add 192.0.2.0/24 via "+routerAddr)
		nettest.StartBIRD(t, l.Host, strings.NewReplacer(routerAddr, hostAddr, `protocol direct { ipv4; interface "lan"; }`, "").Replace(routerBIRD("multihop 5;")))
	}, "Hops", []string{"The BGPPeer has no spec.multihop"}, ""},
	{"hold time", nil, frrWith("bgp minimum-holdtime 200"),
		"HoldTime", []string{"offers a hold time of 9s", "spec.timers.hold"}, "timers 3 9"},
	{"no common family", []string{"families: [ipv6]"}, frrWith(""),
		"Family", []string{"no address family in common", "The node offers IPv6.", "spec.families"}, "address-family ipv6 unicast"},
	{"the router's limit of prefixes", nil, frrWith("address-family ipv4 unicast\n  neighbor " + nodeAddr + " maximum-prefix 1\n exit-address-family"),
		"PrefixLimit", []string{"has announced more prefixes than the router takes", "waymark routes"}, "maximum-prefix"},
	{"the node's limit of prefixes", []string{"maxPrefixes: 1"}, birdWith("protocol kernel", "protocol static { ipv4; route 10.9.1.0/24 blackhole; route 10.9.2.0/24 blackhole; }\nprotocol kernel"),
		"OurPrefixLimit", []string{"more than the 1 ipv4 prefixes", "spec.maxPrefixes"}, ""},
	{"no way to the router", []string{"address: 203.0.113.9"}, func(testing.TB, *Lab) {},
		"NoRoute", []string{"no way to the router", "has no spec.multihop"}, ""},
	{"no Secret", []string{"passwordSecret: {namespace: s, name: none, key: k}"}, frrWith(""),
		"Waiting", []string{`there is no key "k" in Secret s/none`}, ""},
}

func frrWith(lines string) func(testing.TB, *Lab) {
	return func(t testing.TB, l *Lab) { nettest.StartFRR(t, l.Router, false, routerFRR(lines)) }
}

func birdWith(old, replacement string) func(testing.TB, *Lab) {
	return func(t testing.TB, l *Lab) {
		nettest.StartBIRD(t, l.Router, strings.Replace(routerBIRD(""), old, replacement, 1))
	}
}

// manySubnets gives the node three subnets of pods, and a key.
func (l *Lab) manySubnets(t testing.TB) {
	t.Helper()
	l.Write(t, "node.yaml", `
apiVersion: v1
kind: Node
metadata: {name: node}
spec: {podCIDRs: [`+podCIDR+`, 10.244.5.0/24, 10.244.6.0/24]}
status: {addresses: [{type: InternalIP, address: `+nodeAddr+`}]}
---
apiVersion: v1
kind: Secret
metadata: {name: n, namespace: s}
stringData: {k: mine}
`)
}

// SpeakOtherwise is Speak with lines that may take the place of the usual ones.
func (l *Lab) SpeakOtherwise(t testing.TB, lines ...string) {
	t.Helper()
	for _, usual := range []string{"address: " + routerAddr, "asn: 64512", "timers: {hold: 9s, keepalive: 3s, connectRetry: 1s}"} {
		field, _, _ := strings.Cut(usual, ":")
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, field+":") }) {
			lines = append(lines, usual)
		}
	}
	l.Write(t, "peer.yaml", "apiVersion: waymark.io/v1alpha1\nkind: BGPPeer\nmetadata: {name: router}\nspec: {"+strings.Join(lines, ", ")+"}\n")
}

// TestSessionsExplained: whatever keeps a session from coming up with a real router, the command names it, says what it means
// and what to change, and shows the lines that the router should have.
func TestSessionsExplained(t *testing.T) {
	for _, tt := range unlucky {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLab(t)
			l.manySubnets(t)
			tt.start(t, l)
			l.SpeakOtherwise(t, tt.peer...)
			l.Accept(t, "{prefix: 0.0.0.0/0, minLength: 8}")
			l.Agent(t)
			nettest.Eventually(t, 40*time.Second, func() error { return l.explains(t, tt.cause, tt.words, tt.lines) })
		})
	}
}

// explains says whether the explanation is the expected one.
func (l *Lab) explains(t testing.TB, cause string, words []string, lines string) error {
	e, err := l.Explain(t)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s: %s\n%s\n%v\n%s", e.Cause, e.Seen, e.Means, e.Changes, e.Lines)
	if cause != "" && e.Cause != cause {
		return fmt.Errorf("the cause is not %s:\n%s", cause, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("no %q in\n%s", w, text)
		}
	}
	if !strings.Contains(e.Lines, lines) {
		return fmt.Errorf("no %q in the lines\n%s", lines, e.Lines)
	}
	return nil
}

// TestSessionExplainedFromUpToShutDown: a session that is up is told with what goes over it and the limits that are near. Then
// somebody shuts it down on the router with a word, and that word is told.
func TestSessionExplainedFromUpToShutDown(t *testing.T) {
	l := NewLab(t)
	l.manySubnets(t)
	frr := nettest.StartFRR(t, l.Router, false, routerFRR(""))
	l.Speak(t, "maxPrefixes: 1")
	begin := time.Now()
	l.Agent(t)
	l.Settled(t, begin)
	nettest.Eventually(t, 10*time.Second, func() error {
		return l.explains(t, "Up", []string{"1 of 1 IPv4 prefixes that the node takes are there"}, "")
	})
	e, err := l.Explain(t)
	if err != nil || len(e.Exchanged) != 1 || e.Exchanged[0].Version != 4 || e.Exchanged[0].Announced != 3 || e.Exchanged[0].Received != 1 {
		t.Errorf("%v: %+v", err, e)
	}
	frr.Configure(t, "router bgp 64512\n neighbor "+nodeAddr+" shutdown message moved to rack 7\nexit\n")
	nettest.Eventually(t, 10*time.Second, func() error {
		return l.explains(t, "Shutdown", []string{`They say why: "moved to rack 7".`}, "")
	})
}

// TestDeadPathExplained: BFD of the router is not heard any more. The session ends for it, and is explained by it; when it has come
// back without BFD, that is told too.
func TestDeadPathExplained(t *testing.T) {
	l := NewLab(t)
	nettest.StartBIRD(t, l.Router, routerBIRD("bfd on;"))
	l.Speak(t, "bfd: {interval: 100ms, multiplier: 3}")
	l.BFD(t)
	begin := time.Now()
	l.Agent(t)
	l.Settled(t, begin)
	l.BFDUp(t)
	l.Node.Run(t, "nft", "add table inet bfd; add chain inet bfd in { type filter hook prerouting priority -400; }; add rule inet bfd in udp dport 3784 drop")
	nettest.Eventually(t, 5*time.Second, func() error { return l.explains(t, "BFD", []string{"UDP 3784", "waymark-bfd"}, "bfd profile") })
	nettest.Eventually(t, 20*time.Second, func() error { return l.explains(t, "Up", []string{"BFD is wanted and not up (Down)"}, "") })
}
