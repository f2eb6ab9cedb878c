package main

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bfd/control"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// side is a waymark-bfd with the agent's side of it.
type side struct {
	*nettest.Process
	client *control.Client
	stop   func() // ends the agent's side
}

// begin starts a side in a namespace, or only the agent's side when there is a process.
func begin(t *testing.T, ns nettest.NS, dir string, process *nettest.Process, config bfd.Config) side {
	t.Helper()
	if process == nil {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		process = ns.Start(t, "env", asProgram+"=1", self, "--run-dir", dir)
	}
	c, stop := follow(t, dir)
	c.Set(config)
	return side{process, c, stop}
}

// await waits until good is true of all sessions that were wanted, and returns them.
func (s side) await(t *testing.T, timeout time.Duration, what string, good func(bfd.Status) bool) []bfd.Status {
	t.Helper()
	var report control.Report
	nettest.Eventually(t, timeout, func() error {
		var connected bool
		report, connected = s.client.Report()
		if !connected || len(report.Sessions) == 0 {
			return fmt.Errorf("connected: %v, %+v", connected, report)
		}
		for _, st := range report.Sessions {
			if !good(st) {
				return fmt.Errorf("session with %s is not %s: %+v", st.Peer, what, st)
			}
		}
		return nil
	})
	return report.Sessions
}

func (s side) awaitGuests(t *testing.T, up int) {
	t.Helper()
	nettest.Eventually(t, 8*time.Second, func() error { // they are told every 5 s
		if report, connected := s.client.Report(); !connected || report.Passive.Up != up || report.Passive.Problem != "" {
			return fmt.Errorf("connected: %v, %+v, want %d up", connected, report.Passive, up)
		}
		return nil
	})
}

// A node two hops away uses a gateway, by IPv4 and IPv6.
func TestGatewayOfANode(t *testing.T) {
	router, far := nettest.New(t, "router"), nettest.New(t, "node")
	nettest.Join(t, nettest.Self, "eth0", []string{"192.0.2.1/24", "2001:db8::1/64"}, router, "eth0", []string{"192.0.2.2/24", "2001:db8::2/64"})
	nettest.Join(t, router, "eth1", []string{"198.51.100.1/24", "2001:db8:1::1/64"}, far, "eth0", []string{"198.51.100.2/24", "2001:db8:1::2/64"})
	for _, line := range []string{"route add 198.51.100.0/24 via 192.0.2.2", "route add 2001:db8:1::/64 via 2001:db8::2"} {
		nettest.Self.IP(t, line)
	}
	for _, line := range []string{"route add default via 198.51.100.1", "route add default via 2001:db8:1::1"} {
		far.IP(t, line)
	}
	const interval = 100 * time.Millisecond
	answers := bfd.Config{Passive: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/32"), netip.MustParsePrefix("2001:db8:1::2/128")}}
	asks := bfd.Config{}
	for _, peer := range []string{"192.0.2.1", "2001:db8::1"} {
		asks.Sessions = append(asks.Sessions, bfd.SessionConfig{
			Key:    bfd.Key{Peer: netip.MustParseAddr(peer), Multihop: true},
			Timing: bfd.Timing{DesiredMinTx: interval, RequiredMinRx: interval, DetectMult: 3},
		})
	}
	up := func(st bfd.Status) bool { return st.State == bfd.Up && st.DetectionTime == 3*interval }
	within := func(begin time.Time, all []bfd.Status, limit time.Duration) {
		t.Helper()
		for _, st := range all {
			if took := st.Since.Sub(begin); took > limit {
				t.Errorf("session with %s: noticed after %v, want %v", st.Peer, took, limit)
			}
		}
	}

	gatewayDir, nodeDir := t.TempDir(), t.TempDir()
	gateway := begin(t, nettest.Self, gatewayDir, nil, answers)
	node := begin(t, far, nodeDir, nil, asks)
	before := node.await(t, 10*time.Second, "up", up)
	gateway.awaitGuests(t, 2)

	gateway.stop() // its agent
	time.Sleep(time.Second)
	gateway = begin(t, nettest.Self, gatewayDir, gateway.Process, answers)
	gateway.awaitGuests(t, 2)
	for i, st := range node.await(t, 0, "up", up) {
		if !st.Since.Equal(before[i].Since) || st.Failures != 0 {
			t.Errorf("without the gateway's agent: %+v, before %+v", st, before[i])
		}
	}

	for _, down := range []bool{true, false} {
		answers.PathDown = down
		gateway.client.Set(answers)
		node.await(t, time.Second, "up with the diagnostic", func(st bfd.Status) bool {
			return up(st) && (st.RemoteDiag == bfd.DiagConcatenatedPath) == down
		})
	}

	gateway.Kill()
	killed := time.Now()
	dead := node.await(t, 3*time.Second, "down", func(st bfd.Status) bool { return st.State == bfd.Down })
	within(killed, dead, 400*time.Millisecond)
	for _, st := range dead {
		if st.AdminDownByPeer() || st.Failures != 1 {
			t.Errorf("killed: %+v", st)
		}
	}
	gateway = begin(t, nettest.Self, gatewayDir, nil, answers)
	node.await(t, 10*time.Second, "up again", up)

	stopping := time.Now()
	if err := gateway.Stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	stopped := node.await(t, time.Second, "down by intent", func(st bfd.Status) bool { return st.State == bfd.Down && st.AdminDownByPeer() })
	within(stopping, stopped, 200*time.Millisecond)
	for _, st := range stopped {
		if st.Failures != 1 {
			t.Errorf("a planned stop counts as a failure: %+v", st)
		}
	}

	gateway = begin(t, nettest.Self, gatewayDir, nil, answers)
	node.await(t, 10*time.Second, "up again", up)
	gateway.awaitGuests(t, 2)
	node.Kill()
	gateway.awaitGuests(t, 0)
}
