package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestDrain: a node on its way out tells the router that it is the last choice, goes on as long as there is traffic,
// withdraws when there is none, and announces again when the label is gone. The session stays up all the time.
func TestDrain(t *testing.T) {
	type router struct {
		start func(t testing.TB, ns nettest.NS) func() (string, error) // of what it knows of the pod's prefix
		told  []string
	}
	for name, r := range map[string]router{
		"BIRD": {
			func(t testing.TB, ns nettest.NS) func() (string, error) {
				bird := nettest.StartBIRD(t, ns, routerBIRD(""))
				return func() (string, error) { return bird.Birdc("show route all for " + podAddr) }
			},
			[]string{"(65535,0)", "BGP.med: 4294967295"},
		},
		"FRR": {
			func(t testing.TB, ns nettest.NS) func() (string, error) {
				frr := nettest.StartFRR(t, ns, false, routerFRR(""))
				return func() (string, error) { return frr.Vtysh("show bgp ipv4 unicast " + podCIDR) }
			},
			[]string{"graceful-shutdown", "metric 4294967295"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLab(t)
			shows := r.start(t, l.Router)
			l.Speak(t)
			begin := time.Now()
			l.Agent(t)
			l.Settled(t, begin)
			reachable(t, l)
			announced := func(told bool) error {
				out, err := shows()
				if err == nil && !strings.Contains(out, nodeAddr) {
					err = fmt.Errorf("the router does not have %s: %s", podCIDR, out)
				}
				for _, sign := range r.told {
					if err == nil && strings.Contains(out, sign) != told {
						err = fmt.Errorf("leaving: want %v: %s", told, out)
					}
				}
				return err
			}
			phase := func(want string) error {
				s, err := l.Status(t)
				if err == nil && (s.Drain == nil || s.Drain.Phase != want) {
					err = fmt.Errorf("status says %+v, want %s", s.Drain, want)
				}
				return err
			}
			nettest.Eventually(t, 10*time.Second, func() error { return announced(false) })

			stream := StartStream(t, l.Host, hostAddr, l.Pod, podAddr)
			node := func(labels string) {
				l.Write(t, "node.yaml", `
apiVersion: v1
kind: Node
metadata: {name: node, labels: {`+labels+`}}
spec: {podCIDR: `+podCIDR+`, podCIDRs: [`+podCIDR+`]}
status: {addresses: [{type: InternalIP, address: `+nodeAddr+`}]}
`)
			}
			node(`waymark.io/drain: ""`)
			nettest.Eventually(t, 10*time.Second, func() error { return announced(true) })
			for until := time.Now().Add(7 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
				if err := announced(true); err != nil {
					t.Fatalf("withdrawn under traffic: %v", err)
				}
			}
			if err := phase(v1alpha1.Draining); err != nil {
				t.Error(err)
			}
			stream.Stop(t)
			nettest.Eventually(t, 15*time.Second, func() error {
				if announced(true) == nil {
					return fmt.Errorf("the router still has %s", podCIDR)
				}
				return phase(v1alpha1.Drained)
			})
			if left := l.Node.Run(t, "nft", "list", "tables"); strings.Contains(left, "traffic") {
				t.Errorf("drained, but it still counts: %s", left)
			}

			node("")
			nettest.Eventually(t, 10*time.Second, func() error { return announced(false) })
			reachable(t, l)
			if s, err := l.Status(t); err != nil || s.Peers[0].Flaps != 0 || s.Drain != nil {
				t.Errorf("after the drain: %+v, %v", s, err)
			}
		})
	}
}
