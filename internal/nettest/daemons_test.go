package nettest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDaemonsTalk lets FRR announce a prefix to BIRD and to OpenBGPD, and looks at it from all sides.
func TestDaemonsTalk(t *testing.T) {
	frrNS, birdNS, openNS := New(t, "frr"), New(t, "bird"), New(t, "open")
	Join(t, frrNS, "eth0", []string{"192.0.2.1/30"}, birdNS, "eth0", []string{"192.0.2.2/30"})
	Join(t, frrNS, "eth1", []string{"192.0.2.5/30"}, openNS, "eth0", []string{"192.0.2.6/30"})

	bird := StartBIRD(t, birdNS, `
router id 192.0.2.2;
protocol device {}
protocol bfd { interface "*" { interval 100 ms; }; }
protocol bgp frr { local 192.0.2.2 as 64513; neighbor 192.0.2.1 as 64512; bfd on; connect delay time 1; error wait time 1, 2; ipv4 { import all; export none; }; }
`)
	open := StartOpenBGPD(t, openNS, `
AS 64514
router-id 192.0.2.6
fib-update no
neighbor 192.0.2.5 { remote-as 64512 }
allow from any
`)
	config := `
router bgp 64512
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 192.0.2.2 remote-as 64513
 neighbor 192.0.2.2 timers connect 1
 neighbor 192.0.2.2 bfd
 neighbor 192.0.2.6 remote-as 64514
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
exit
`
	frr := StartFRR(t, frrNS, true, config)
	seen := func() {
		t.Helper()
		Eventually(t, 20*time.Second, func() error {
			if out, err := bird.Birdc("show route 198.51.100.0/24"); err != nil || !strings.Contains(out, "AS64512i") {
				return fmt.Errorf("not in BIRD: %w: %s", err, out)
			}
			return nil
		})
		Eventually(t, 20*time.Second, func() error {
			var rib struct{ RIB []struct{ Prefix string } }
			if err := open.JSON(&rib, "show", "rib", "198.51.100.0/24"); err != nil || len(rib.RIB) != 1 {
				return fmt.Errorf("not in OpenBGPD: %w: %v", err, rib)
			}
			return nil
		})
		Eventually(t, 20*time.Second, func() error {
			var peers []struct{ Status string }
			if err := frr.JSON("show bfd peers json", &peers); err != nil || len(peers) != 1 || peers[0].Status != "up" {
				return fmt.Errorf("BFD is not up: %w: %v", err, peers)
			}
			return nil
		})
	}
	seen()
	frr.RestartBGP(t, config)
	seen()
}
