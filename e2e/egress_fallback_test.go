package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/egresslab"
	"github.com/waymark-bgp/waymark/internal/nattest"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestEgressFallback: without a gateway traffic leaves as the policy's fallback says, and as soon as there is one again with
// the egress address. There is never a third source.
func TestEgressFallback(t *testing.T) {
	l := newEgressLab(t)
	addPartners(t, l, 10, 11)
	client := l.Node(t, "n1")
	const address4, address6 = "198.51.100.7", "2001:db8:51::7"
	policy := func(fallback string, partner int) string {
		return l.Policy("bank-"+fallback, to(partner), `addresses: [`+address4+`, "`+address6+`"]`, "fallback: "+upperFirst(fallback))
	}
	startEgress(t, l, "n3 n4", 2, policy("drop", 9), policy("node", 10), policy("pod", 11))
	fallbacks := []struct {
		partner      int
		want4, want6 string
	}{{9, "", ""}, {10, client.Address, client.Address6}, {11, client.Pod4, client.Pod6}}
	n3, n4 := l.Node(t, "n3"), l.Node(t, "n4")
	for _, c := range []struct {
		name       string
		lose, mend func()
	}{
		{"all dead", func() { n3.Cut(t); n4.Cut(t) }, func() { n4.Mend(t) }},
		{"one was dead", func() { n4.Cut(t) }, func() { n3.Mend(t); n4.Mend(t) }},
		{"none matches", func() { l.Describe(t, "") }, func() { l.Describe(t, "n4") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var probers [][2]*egresslab.Prober
			for _, f := range fallbacks {
				p := partners(f.partner)
				probers = append(probers, [2]*egresslab.Prober{egresslab.StartProber(t, client.Pod, "udp", p[0], probeInterval), egresslab.StartProber(t, client.Pod, "udp", p[1], probeInterval)})
			}
			time.Sleep(300 * time.Millisecond)
			c.lose()
			for _, f := range fallbacks {
				p := partners(f.partner)
				eventuallySource(t, client.Pod, p[0], f.want4)
				eventuallySource(t, client.Pod, p[1], f.want6)
			}
			c.mend()
			for _, f := range fallbacks {
				p := partners(f.partner)
				eventuallySource(t, client.Pod, p[0], address4)
				eventuallySource(t, client.Pod, p[1], address6)
			}
			for i, f := range fallbacks {
				onlySources(t, probers[i][0].Stop(), "", address4, f.want4)
				onlySources(t, probers[i][1].Stop(), "", address6, f.want6)
			}
		})
	}
}

func upperFirst(word string) string { return string(word[0]-'a'+'A') + word[1:] }

// eventuallySource waits until the other end sees this source; "" is no answer at all.
func eventuallySource(t testing.TB, ns nettest.NS, to, want string) {
	t.Helper()
	nettest.Eventually(t, 15*time.Second, func() error {
		got, err := nattest.Seen(ns, "udp", "", to)
		if got != want {
			return fmt.Errorf("%s to %s: source %q, want %q; %v", ns, to, got, want, err)
		}
		return nil
	})
}
