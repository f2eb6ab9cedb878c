// waymark-agent announces a node's pod prefixes, learns the datacenter's routes and keeps the pods' source addresses.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/file"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/bfd/control"
	"github.com/waymark-bgp/waymark/bgp/gobgp"
	"github.com/waymark-bgp/waymark/internal/rundir"
	"github.com/waymark-bgp/waymark/nat/nftables"
	"github.com/waymark-bgp/waymark/route/kernel"
)

type options struct {
	node, source, runDir, metricsAddress, logFormat string
	withdrawOnExit, gobgpWritable                   bool
}

func main() {
	var o options
	flag.StringVar(&o.node, "node", "", "name of this machine's Node object (required)")
	flag.StringVar(&o.source, "source", "", "where the objects come from: dir:PATH, a directory of manifests (required)")
	flag.StringVar(&o.runDir, "run-dir", "/run/waymark", "directory for sockets and for what one agent leaves to the next")
	flag.StringVar(&o.metricsAddress, "metrics-address", "127.0.0.1:9470", "address for /metrics, /healthz and /readyz; empty: none")
	flag.StringVar(&o.logFormat, "log-format", "text", "text or json")
	flag.BoolVar(&o.withdrawOnExit, "withdraw-on-exit", false, "on SIGTERM withdraw what was announced, instead of keeping it by graceful restart")
	flag.BoolVar(&o.gobgpWritable, "gobgp-writable", false, "let the gobgp command change the speaker, for experiments")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "waymark-agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, isDir := strings.CutPrefix(o.source, "dir:")
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.node == "":
		return errors.New("--node is missing: the name of this machine's Node object")
	case !isDir || dir == "":
		return fmt.Errorf("--source %q: want dir:PATH", o.source)
	}
	log, err := logger(o.logFormat)
	if err != nil {
		return err
	}
	boot, err := agent.BootID()
	if err != nil {
		return fmt.Errorf("read the boot ID: %w", err)
	}
	if err := os.MkdirAll(o.runDir, 0o755); err != nil {
		return fmt.Errorf("make the run directory: %w", err)
	}
	lock, err := rundir.Lock(o.runDir, "waymark-agent")
	if err != nil {
		return err
	}
	defer lock.Close()

	sources := nftables.New()
	a := &agent.Agent{
		Node:           o.node,
		Backend:        sources.Name(),
		Memory:         agent.Memory{Path: filepath.Join(o.runDir, "agent.json"), BootID: boot},
		WithdrawOnExit: o.withdrawOnExit,
		Log:            log,
	}
	source := file.New(dir, log, func() { a.Notify(agent.TriggerSource) })
	speaker := gobgp.New(log, filepath.Join(o.runDir, "gobgp.sock"), o.gobgpWritable, func() { a.Notify(agent.TriggerBGP) })
	routes := kernel.New()
	paths := control.NewClient(o.runDir, func() { a.Notify(agent.TriggerPaths) }, log)
	a.Source, a.Speaker, a.Routes, a.NAT, a.Paths = source, speaker, routes, sources, paths
	shows := &telemetry.Server{Status: a.Status, Learned: speaker.Learned}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return tendMemory(ctx) })
	group.Go(func() error { return source.Run(ctx) })
	group.Go(func() error { return routes.Watch(ctx, func() { a.Notify(agent.TriggerKernel) }) })
	group.Go(func() error { return sources.Watch(ctx, func() { a.Notify(agent.TriggerNAT) }) })
	group.Go(func() error { return paths.Run(ctx) })
	group.Go(func() error { return shows.ServeSocket(ctx, filepath.Join(o.runDir, telemetry.SocketName)) })
	if o.metricsAddress != "" {
		group.Go(func() error { return shows.ServeMetrics(ctx, o.metricsAddress) })
	}
	group.Go(func() error { return a.Run(ctx) })
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func logger(format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, nil)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", format)
}
