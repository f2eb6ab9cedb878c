package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"github.com/waymark-bgp/waymark/route"
	"github.com/waymark-bgp/waymark/route/kernel"
)

// The reflector is set up for BFD as the nodes are.
const (
	bfdInterval   = 300 * time.Millisecond
	bfdMultiplier = 3
)

// playReflector is a route reflector that is also the datacenter's gateway: what the nodes announce goes on to the other
// nodes and into this machine's kernel. It is BFD-strict: a path that BFD sees fail loses its routes at once.
func playReflector(ctx context.Context, socket string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	s := server.NewBgpServer(server.GrpcListenAddress("unix://"+socket), server.LoggerOption(log, new(slog.LevelVar)))
	go s.Serve()
	defer s.Stop()
	if err := configure(ctx, s); err != nil {
		return err
	}

	changed := make(chan struct{}, 1)
	err := s.WatchEvent(ctx, server.WatchEventMessageCallbacks{OnBestPath: func(paths []*apiutil.Path, _ time.Time) {
		for _, p := range paths {
			log.Info("best path", "prefix", p.Nlri, "withdrawn", p.Withdrawal)
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}}, server.WatchBestPath(true))
	if err != nil {
		return fmt.Errorf("follow the best paths: %w", err)
	}
	table := kernel.New()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := install(ctx, s, table); err != nil {
			log.Error("install routes", "error", err)
		}
	}
}

// install brings the best paths into the kernel.
func install(ctx context.Context, s *server.BgpServer, table *kernel.Table) error {
	routes, err := best(s)
	if err != nil {
		return fmt.Errorf("read the RIB: %w", err)
	}
	_, err = table.Apply(ctx, route.Desired{Table: route.MainTable, Metric: 200, Routes: maps.All(routes)})
	return err
}

func configure(ctx context.Context, s *server.BgpServer) error {
	if err := s.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: reflectorASN, RouterId: gatewayAddress, ListenPort: 179,
	}}); err != nil {
		return fmt.Errorf("start BGP: %w", err)
	}
	// Nodes on a shared network reach each other directly: the next hop stays the node.
	if err := s.AddPolicy(ctx, &api.AddPolicyRequest{Policy: &api.Policy{Name: "reflect", Statements: []*api.Statement{{
		Name: "keep-next-hop",
		Actions: &api.Actions{
			RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT,
			Nexthop:     &api.NexthopAction{Unchanged: true},
		},
	}}}}); err != nil {
		return fmt.Errorf("add the export policy: %w", err)
	}
	if err := s.AddPolicyAssignment(ctx, &api.AddPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name: "global", Direction: api.PolicyDirection_POLICY_DIRECTION_EXPORT,
		Policies: []*api.Policy{{Name: "reflect"}}, DefaultAction: api.RouteAction_ROUTE_ACTION_ACCEPT,
	}}); err != nil {
		return fmt.Errorf("assign the export policy: %w", err)
	}
	for _, n := range nodes {
		if err := s.AddPeer(ctx, &api.AddPeerRequest{Peer: neighbor(n)}); err != nil {
			return fmt.Errorf("add neighbor %s: %w", n.address, err)
		}
	}
	return announce(s, netip.MustParsePrefix(outsideNetwork))
}

func neighbor(n node) *api.Peer {
	interval := uint32(bfdInterval.Microseconds())
	return &api.Peer{
		Conf:            &api.PeerConf{NeighborAddress: n.address, PeerAsn: n.asn, Description: n.name},
		Transport:       &api.Transport{PassiveMode: true},
		Timers:          &api.Timers{Config: &api.TimersConfig{HoldTime: 90, KeepaliveInterval: 30, IdleHoldTimeAfterReset: 1}},
		GracefulRestart: &api.GracefulRestart{Enabled: true, RestartTime: 120, DeferralTime: 10},
		Bfd: &api.BfdPeerConfig{
			Enabled: true, DesiredMinimumTxInterval: interval, RequiredMinimumReceive: interval, DetectionMultiplier: bfdMultiplier,
		},
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
		}},
	}
}

// announce originates a prefix, with this machine as its next hop.
func announce(s *server.BgpServer, prefix netip.Prefix) error {
	nlri, err := packet.NewIPAddrPrefix(prefix)
	if err != nil {
		return err
	}
	nextHop, err := packet.NewPathAttributeNextHop(netip.IPv4Unspecified())
	if err != nil {
		return err
	}
	_, err = s.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{{
		Family: packet.RF_IPv4_UC, Nlri: nlri, Age: time.Now().Unix(),
		Attrs: []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP), nextHop},
	}}})
	if err != nil {
		return fmt.Errorf("announce %s: %w", prefix, err)
	}
	return nil
}

// best is what was learned, with the next hop of the best path.
func best(s *server.BgpServer) (map[netip.Prefix][]netip.Addr, error) {
	routes := map[netip.Prefix][]netip.Addr{}
	request := apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: packet.RF_IPv4_UC}
	return routes, s.ListPath(request, func(nlri packet.NLRI, paths []*apiutil.Path) {
		i := slices.IndexFunc(paths, func(p *apiutil.Path) bool { return p.Best })
		prefix, err := netip.ParsePrefix(nlri.String())
		if i < 0 || err != nil {
			return
		}
		for _, a := range paths[i].Attrs {
			if hop, ok := a.(*packet.PathAttributeNextHop); ok && !hop.Value.IsUnspecified() {
				routes[prefix] = []netip.Addr{hop.Value}
			}
		}
	})
}
