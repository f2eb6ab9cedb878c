package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"github.com/waymark-bgp/waymark/internal/nettest"
)

// TestDeadNodeWithGoBGP: a router that is a GoBGP with BFD of its own keeps the prefix while the agent is gone, and
// withdraws it when the node has fallen silent.
func TestDeadNodeWithGoBGP(t *testing.T) {
	l := NewLab(t)
	router := play(t, l.Router, roleGoBGP)
	l.BFD(t)
	l.Speak(t, "bfd: {interval: 100ms, multiplier: 3}")
	begin := time.Now()
	agent := l.Agent(t)
	l.Settled(t, begin)
	l.BFDUp(t)
	says := func(event string, n int) func() error {
		return func() error {
			if got := strings.Count(router.Output(), event); got != n {
				return fmt.Errorf("the router said %q %d times, want %d:\n%s", event, got, n, router.Output())
			}
			return nil
		}
	}
	nettest.Eventually(t, 10*time.Second, says("best "+podCIDR, 1))

	agent.Kill()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err := says("withdrawn "+podCIDR, 0)(); err != nil {
			t.Fatalf("the agent alone was killed: %v", err)
		}
	}
	begin = time.Now()
	l.Agent(t)
	l.Settled(t, begin)

	l.Silence(t)
	begin = time.Now()
	nettest.Eventually(t, 4*time.Second, says("withdrawn "+podCIDR, 1))
	t.Logf("withdrawn by the router after %v", time.Since(begin).Round(time.Millisecond))
}

// roleGoBGP is a router with GoBGP and its BFD, 100 ms x 3. It prints what becomes of its best paths.
const roleGoBGP = "gobgp"

func playGoBGP() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := runGoBGP(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runGoBGP(ctx context.Context) error {
	s := server.NewBgpServer()
	go s.Serve()
	err := s.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: 64512, RouterId: routerAddr, ListenPort: 179}})
	if err != nil {
		return err
	}
	if err := s.WatchEvent(ctx, server.WatchEventMessageCallbacks{OnBestPath: func(paths []*apiutil.Path, _ time.Time) {
		for _, p := range paths {
			event := "best"
			if p.Withdrawal {
				event = "withdrawn"
			}
			fmt.Println(event, p.Nlri)
		}
	}}, server.WatchBestPath(true)); err != nil {
		return err
	}
	interval := uint32((100 * time.Millisecond).Microseconds())
	if err := s.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:            &api.PeerConf{NeighborAddress: nodeAddr, PeerAsn: 64513},
		Transport:       &api.Transport{PassiveMode: true},
		GracefulRestart: &api.GracefulRestart{Enabled: true, RestartTime: 60, DeferralTime: 5},
		Bfd:             &api.BfdPeerConfig{Enabled: true, DesiredMinimumTxInterval: interval, RequiredMinimumReceive: interval, DetectionMultiplier: 3},
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
		}},
	}}); err != nil {
		return err
	}
	nlri, err := packet.NewIPAddrPrefix(netip.MustParsePrefix("192.0.2.0/24"))
	if err != nil {
		return err
	}
	hop, err := packet.NewPathAttributeNextHop(netip.MustParseAddr(routerAddr))
	if err != nil {
		return err
	}
	if _, err := s.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{{
		Family: packet.RF_IPv4_UC, Nlri: nlri, Attrs: []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(0), hop},
	}}}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
