package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func routersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "routers",
		Short: "The router's side of the nodes' BGP sessions: its configuration, and why a session does not come up",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(routersConfigCommand(), routersExplainCommand())
	return cmd
}

// source is where a command takes objects from: the cluster, or files.
type source struct {
	access
	from string
}

func (s *source) flags(cmd *cobra.Command, what string) {
	s.access.flags(cmd)
	cmd.Flags().StringVar(&s.from, "from", "cluster", "`source` of "+what+": cluster, a file, a directory, or - for standard input")
}

// read returns the objects, and of files what they are written in.
func (s *source) read(ctx context.Context, stdin io.Reader) (*cluster, map[string][]byte, error) {
	if s.from == "cluster" {
		c, err := s.access.read(ctx)
		return c, nil, err
	}
	manifests, err := readManifests(stdin, []string{s.from})
	if err != nil {
		return nil, nil, err
	}
	all, err := goodManifests(manifests)
	if err != nil {
		return nil, nil, err
	}
	return &cluster{
		nodes: all.Nodes, configurations: all.Configurations, peers: all.Peers, policies: all.Policies, pools: all.Pools,
		datacenters: all.Datacenters,
	}, manifests, nil
}
