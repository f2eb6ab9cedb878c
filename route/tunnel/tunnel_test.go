package tunnel

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/route"
)

var outers = map[string]struct{ local, one, two string }{
	"outer IPv4": {node4, one4, two4},
	"outer IPv6": {node6, one6, two6},
}

// A marked packet of the pod goes through the tunnel to the gateway of its mark and keeps the pod's source; one without a
// mark does not.
func TestPathLeadsToItsGateway(t *testing.T) {
	for name, outer := range outers {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1500)
			l.apply(t, source(outer.local, outer.one, outer.two))
			gateways := []nettest.NS{l.gateways[outer.one], l.gateways[outer.two]}
			for i, g := range []string{outer.one, outer.two} {
				l.applyAt(t, g, exit(g, route.TunnelExit{VNI: vni}))
				count(t, gateways[i])
			}
			for _, mark := range []int{0, 1, 2, 1} {
				l.mark(t, mark)
				for _, to := range []string{peer4, peer6} {
					if err := ping(l.pod, to); err != nil {
						t.Fatalf("mark %d: %v", mark, err)
					}
					for i, g := range gateways {
						want := 0
						if mark == i+1 {
							want = 1
						}
						if have := counted(t, g); have != want {
							t.Errorf("mark %d to %s: gateway %d has seen %d packets of the pod, want %d", mark, to, i+1, have, want)
						}
					}
				}
			}
			// A tunnel that is led into itself counts collisions.
			collisions, err := os.ReadFile("/sys/class/net/" + route.TunnelDevice(vni) + "/statistics/collisions")
			if err != nil || strings.TrimSpace(string(collisions)) != "0" {
				t.Errorf("collisions: %s, %v", collisions, err)
			}
		})
	}
}

// The path of a mark moves to the other gateway.
func TestPathMoves(t *testing.T) {
	for name, outer := range outers {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1500)
			for _, g := range []string{outer.one, outer.two} {
				l.applyAt(t, g, exit(g, route.TunnelExit{VNI: vni}))
				count(t, l.gateways[g])
			}
			l.mark(t, 1)
			for _, g := range []string{outer.one, outer.two, outer.one} {
				l.apply(t, source(outer.local, g))
				for _, to := range []string{peer4, peer6} {
					if err := ping(l.pod, to); err != nil {
						t.Fatal(err)
					}
				}
				if have := counted(t, l.gateways[g]); have != 2 {
					t.Errorf("gateway %s has seen %d packets of the pod, want 2", g, have)
				}
			}
		})
	}
}

// The largest packet that fits into the underlay passes, and of a larger one the sender is told.
func TestMTU(t *testing.T) {
	for name, outer := range outers {
		for _, mtu := range []int{1400, 9000} {
			t.Run(fmt.Sprintf("%s/%d", name, mtu), func(t *testing.T) {
				l := newLab(t, mtu)
				l.apply(t, source(outer.local, outer.one))
				l.applyAt(t, outer.one, exit(outer.one, route.TunnelExit{VNI: vni}))
				l.mark(t, 1)
				overhead := 50
				if strings.Contains(outer.local, ":") {
					overhead = 70
				}
				under, err := l.kernel.Underlay(addresses(outer.local))
				if want := (route.Underlay{Device: "eth0", MTU: mtu - overhead}); err != nil || under != want {
					t.Errorf("underlay %+v, %v, want %+v", under, err, want)
				}
				for to, header := range map[string]int{peer4: 28, peer6: 48} {
					size := mtu - overhead - header
					if err := ping(l.pod, to, "-Mdo", fmt.Sprintf("-s%d", size)); err != nil {
						t.Error(err)
					}
					out, err := l.pod.Try("ping", "-n", "-c1", "-W1", "-Mdo", fmt.Sprintf("-s%d", size+1), to)
					if err == nil || !strings.Contains(out, fmt.Sprintf("mtu = %d", mtu-overhead)) && !strings.Contains(out, fmt.Sprintf("mtu=%d", mtu-overhead)) {
						t.Errorf("a packet of one byte more to %s: %v\n%s", to, err, out)
					}
				}
			})
		}
	}
}

// While the device of a path is missing, nothing leaves another way.
func TestNothingLeavesAnotherWay(t *testing.T) {
	l := newLab(t, 1500)
	l.apply(t, source(node4, one4))
	l.applyAt(t, one4, exit(one4, route.TunnelExit{VNI: vni}))
	l.mark(t, 1)
	nettest.Self.IP(t, "link del "+route.TunnelDevice(vni))
	for _, to := range []string{peer4, peer6} {
		if err := ping(l.pod, to); err == nil {
			t.Errorf("the pod reaches %s without the tunnel", to)
		}
	}
	if result := l.apply(t, source(node4, one4)); !result.Changed || !result.Repaired {
		t.Errorf("result %+v", result)
	}
	for _, to := range []string{peer4, peer6} {
		if err := ping(l.pod, to); err != nil {
			t.Error(err)
		}
	}
}
