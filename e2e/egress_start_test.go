package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
)

// startEgress writes the objects and policies, starts agent and BFD everywhere, and waits until the egress addresses are there
// and all their gateways known to be alive.
func startEgress(t testing.TB, l *egresslab.Lab, gateways string, addresses int, policies ...string) {
	t.Helper()
	l.Describe(t, gateways)
	l.Write(t, "objects.yaml", egresslab.Objects)
	writePolicies(t, l, policies...)
	for _, n := range l.Nodes {
		n.Start(t, "--source", "dir:"+l.Manifests)
	}
	l.Settled(t, addresses)
}

// writePolicies makes these all the policies. Without any there is no file: an empty one would keep what it had.
func writePolicies(t testing.TB, l *egresslab.Lab, policies ...string) {
	t.Helper()
	const file = "policy.yaml"
	if len(policies) > 0 {
		l.Write(t, file, strings.Join(policies, ""))
	} else if err := os.Remove(filepath.Join(l.Manifests, file)); err != nil {
		t.Fatal(err)
	}
}

// addPartners gives the partner more addresses where it tells what it sees: 203.0.113.LAST and 2001:db8:113::LAST.
func addPartners(t testing.TB, l *egresslab.Lab, last ...int) {
	t.Helper()
	for _, i := range last {
		for _, p := range partners(i) {
			bits, flags := "/24", []string{}
			if netip.MustParseAddr(p).Is6() {
				bits, flags = "/64", []string{"nodad"}
			}
			l.Partner.Run(t, "ip", append([]string{"addr", "add", p + bits, "dev", "eth0"}, flags...)...)
			nattest.TellSource(t, l.Partner, p)
		}
	}
}

// partners are the addresses of the partner that end so, IPv4 and IPv6.
func partners(last int) [2]string {
	return [2]string{fmt.Sprintf("203.0.113.%d", last), fmt.Sprintf("2001:db8:113::%d", last)}
}

// to is the partner's addresses as a policy has them.
func to(last ...int) string {
	text := ""
	for _, i := range last {
		p := partners(i)
		text += fmt.Sprintf(`%s/32, "%s/128", `, p[0], p[1])
	}
	return text
}

// onlySources fails the test when a probe saw a source that is not one of these; "" is no answer.
func onlySources(t testing.TB, probes []egresslab.Probe, allowed ...string) {
	t.Helper()
	for source := range egresslab.Sources(probes) {
		if !slices.Contains(allowed, source) {
			t.Errorf("sources %v, want none but %v", egresslab.Sources(probes), allowed)
			return
		}
	}
}
