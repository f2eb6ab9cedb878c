package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/server"
)

// roleReflector is this program as a reflector with GoBGP; complete is what it prints when it has all routes.
const (
	roleReflector = "reflector"
	complete      = "complete"
)

func playReflector(address, routes string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := reflect(ctx, address, routes); err != nil {
		fmt.Fprintln(os.Stderr, "reflector:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// reflect takes all nodes as route reflector clients (RFC 4456).
func reflect(ctx context.Context, address, routes string) error {
	want, err := strconv.Atoi(routes)
	if err != nil {
		return fmt.Errorf("number of routes: %w", err)
	}
	s := server.NewBgpServer()
	go s.Serve()
	if err := s.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: nodeASN, RouterId: address, ListenPort: 179}}); err != nil {
		return err
	}
	have := map[string]bool{}
	if err := s.WatchEvent(ctx, server.WatchEventMessageCallbacks{OnBestPath: func(paths []*apiutil.Path, _ time.Time) {
		for _, p := range paths {
			have[p.Nlri.String()] = true
		}
		if len(have) == want {
			fmt.Println(complete)
		}
	}}, server.WatchBestPath(true)); err != nil {
		return err
	}
	if err := s.AddPeerGroup(ctx, &api.AddPeerGroupRequest{PeerGroup: &api.PeerGroup{
		Conf:           &api.PeerGroupConf{PeerGroupName: "nodes", PeerAsn: nodeASN},
		RouteReflector: &api.RouteReflector{RouteReflectorClient: true, RouteReflectorClusterId: address},
		AfiSafis: []*api.AfiSafi{{
			Config: &api.AfiSafiConfig{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Enabled: true},
		}},
	}}); err != nil {
		return err
	}
	if err := s.AddDynamicNeighbor(ctx, &api.AddDynamicNeighborRequest{DynamicNeighbor: &api.DynamicNeighbor{
		Prefix: "198.18.0.0/16", PeerGroup: "nodes",
	}}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
