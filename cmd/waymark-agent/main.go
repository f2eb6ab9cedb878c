// waymark-agent announces a node's pod prefixes, learns the datacenter's routes and keeps the pods' source addresses.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/file"
	"github.com/waymark-bgp/waymark/agent/kube"
	"github.com/waymark-bgp/waymark/agent/sight"
	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bfd/control"
	"github.com/waymark-bgp/waymark/bgp/gobgp"
	"github.com/waymark-bgp/waymark/internal/logformat"
	"github.com/waymark-bgp/waymark/internal/rundir"
	"github.com/waymark-bgp/waymark/internal/version"
	"github.com/waymark-bgp/waymark/nat/audit/host"
	"github.com/waymark-bgp/waymark/nat/conntrack"
	"github.com/waymark-bgp/waymark/nat/nftables"
	"github.com/waymark-bgp/waymark/route/kernel"
	"github.com/waymark-bgp/waymark/route/tunnel"
)

type options struct {
	node, source, kubeconfig, runDir, sysctlDir, metricsAddress, logFormat, natBackend string
	withdrawOnExit, gobgpWritable                                                      bool
}

const usage = `waymark-agent announces this node's pod prefixes by BGP, learns the datacenter's routes into the kernel and keeps the
pods' source addresses. It runs as root, in the network namespace of the host.

    waymark-agent --node NAME --source dir:PATH
    waymark-agent --node NAME --source kube [--kubeconfig PATH]

`

func main() {
	var o options
	var showVersion bool
	flag.StringVar(&o.node, "node", "", "`name` of this machine's Node object, as kubectl get nodes prints it; required")
	flag.StringVar(&o.source, "source", "", "where the objects come from: `dir:PATH`, a directory of manifests, read again whenever it changes, or kube, the API server of the cluster; required")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that says how to reach the API server, with --source kube; empty: as a pod of the cluster")
	flag.StringVar(&o.runDir, "run-dir", "/run/waymark", "`directory` for sockets and for what one agent leaves to the next; made if it is not there")
	flag.StringVar(&o.sysctlDir, "sysctl-dir", "/proc/sys/net", "`directory` in which settings of tunnels to egress gateways are written: another one in a container, where this one is read-only")
	flag.StringVar(&o.metricsAddress, "metrics-address", "127.0.0.1:9470", "TCP `address` and port that serve /metrics, /healthz and /readyz; empty: none")
	flag.StringVar(&o.logFormat, "log-format", "text", "`format` of the log on standard error: text or json")
	flag.StringVar(&o.natBackend, "nat-backend", autoBackend, "what changes source addresses: `nftables`, iptables, or auto, which is nftables where the kernel and nft can do it, else iptables")
	flag.BoolVar(&o.withdrawOnExit, "withdraw-on-exit", false, "on SIGTERM withdraw what was announced, instead of letting peers keep it by graceful restart")
	flag.BoolVar(&o.gobgpWritable, "gobgp-writable", false, "let the gobgp command change the speaker, for experiments; the next apply may undo it")
	flag.BoolVar(&showVersion, "version", false, "print the version and end")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if showVersion {
		fmt.Println("waymark-agent", version.String())
		return
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "waymark-agent:", err)
		os.Exit(1)
	}
}

const kubernetes = "kube" // the source that is an API server

func (o options) check() error {
	dir, isDir := strings.CutPrefix(o.source, "dir:")
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.node == "":
		return errors.New("--node is missing: the name of this machine's Node object")
	case len(validation.IsDNS1123Subdomain(o.node)) > 0:
		return fmt.Errorf("--node %q: no Node can have this name: want lower case letters, digits, '-' and '.'", o.node)
	case o.source == "":
		return errors.New("--source is missing: dir:PATH, a directory of manifests, or kube, the API server")
	case o.source != kubernetes && (!isDir || dir == ""):
		return fmt.Errorf("--source %q: want dir:PATH or kube", o.source)
	case o.source != kubernetes && o.kubeconfig != "":
		return errors.New("--kubeconfig goes with --source kube only")
	case o.runDir == "":
		return errors.New("--run-dir is empty")
	case strings.Contains(o.runDir, ","):
		return fmt.Errorf("--run-dir %q: GoBGP would take the comma for the end of its socket's path", o.runDir)
	}
	return checkBackend(o.natBackend)
}

// objectSource is where the agent's snapshots come from.
type objectSource interface {
	agent.Source
	Run(ctx context.Context) error
}

// objects makes the source, and for an API server the reporter to it.
func (o options) objects(a *agent.Agent) (objectSource, *kube.Reporter, error) {
	notify := func() { a.Notify(agent.TriggerSource) }
	if o.source != kubernetes {
		return file.New(strings.TrimPrefix(o.source, "dir:"), a.Log, notify), nil, nil
	}
	klog.SetSlogLogger(a.Log)
	client, err := kube.NewClient(o.kubeconfig, "waymark-agent/"+a.Version)
	if err != nil {
		return nil, nil, err
	}
	source := kube.New(client, o.node, filepath.Join(o.runDir, "snapshot.json"), a.Log, notify)
	return source, &kube.Reporter{Source: source, Status: a.Status}, nil
}

// run fails before it has touched anything, if it is to fail because of what it was told.
func run(ctx context.Context, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	handler := logformat.Handler(o.logFormat)
	if handler == nil {
		return fmt.Errorf("--log-format %q: want text or json", o.logFormat)
	}
	log := slog.New(handler)
	boot, err := agent.BootID()
	if err != nil {
		return fmt.Errorf("read the boot ID: %w", err)
	}
	a := &agent.Agent{
		Node:           o.node,
		Version:        version.String(),
		Memory:         agent.Memory{Path: filepath.Join(o.runDir, "agent.json"), BootID: boot},
		WithdrawOnExit: o.withdrawOnExit,
		Log:            log,
	}
	source, reporter, err := o.objects(a)
	if err != nil {
		return err
	}
	lock, err := rundir.Lock(o.runDir, "waymark-agent")
	if err != nil {
		return err
	}
	defer lock.Close()
	metrics, err := o.listen()
	if err != nil {
		return err
	}
	socket, err := rundir.Listen(filepath.Join(o.runDir, telemetry.SocketName))
	if err != nil {
		return fmt.Errorf("status socket: %w", err)
	}
	log.Info("agent started", "version", a.Version, "node", o.node, "source", o.source, "runDir", o.runDir)

	sources, err := chooseBackend(ctx, o.natBackend, log)
	if err != nil {
		return fmt.Errorf("--nat-backend %s: %w", o.natBackend, err)
	}
	speaker := gobgp.New(log, filepath.Join(o.runDir, "gobgp.sock"), o.gobgpWritable, func() { a.Notify(agent.TriggerBGP) })
	routes := kernel.New()
	tunnels := tunnel.New(filepath.Join(o.runDir, "tunnels.json"), o.sysctlDir)
	paths := control.NewClient(o.runDir, func() { a.Notify(agent.TriggerPaths) }, log)
	a.Source, a.Speaker, a.Routes, a.NAT, a.Paths = source, speaker, routes, sources, paths
	a.Tunnels, a.Forget, a.ForgetPods = tunnels, conntrack.Forget, conntrack.ForgetSources
	a.Backend = sources.Name()
	a.Traffic = new(nftables.Traffic)
	shows := &telemetry.Server{Status: a.Status, Learned: speaker.Learned}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return tendMemory(ctx) })
	group.Go(func() error { return source.Run(ctx) })
	if reporter != nil {
		observer := &sight.Observer{Requests: func() []v1alpha1.SightRequest {
			if state := source.Snapshot().State; state != nil {
				return state.Spec.Sights
			}
			return nil
		}}
		reporter.Sights = observer.Reports
		group.Go(func() error { return observer.Run(ctx) })
		group.Go(func() error { return reporter.Run(ctx) })
	}
	group.Go(func() error { return routes.Watch(ctx, func() { a.Notify(agent.TriggerKernel) }) })
	group.Go(func() error { return tunnels.Watch(ctx, func() { a.Notify(agent.TriggerNAT) }) })
	group.Go(func() error { return sources.Watch(ctx, func() { a.Notify(agent.TriggerNAT) }) })
	group.Go(func() error { return paths.Run(ctx) })
	group.Go(func() error { return shows.ServeStatus(ctx, socket) })
	if metrics != nil {
		group.Go(func() error { return shows.ServeMetrics(ctx, metrics) })
	}
	group.Go(func() error { return (&agent.Auditor{Agent: a, Ask: host.AskAll, Beaten: sources.beaten()}).Run(ctx) })
	group.Go(func() error { return (&agent.PortCounter{Agent: a, Usage: conntrack.Usage}).Run(ctx) })
	group.Go(func() error { return a.Run(ctx) })
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// listen takes the metrics address; nil: none is wanted.
func (o options) listen() (net.Listener, error) {
	if o.metricsAddress == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", o.metricsAddress)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another program has %s: stop it, or choose another --metrics-address (empty: none): %w", o.metricsAddress, err)
	}
	if err != nil {
		return nil, fmt.Errorf("--metrics-address %q: %w", o.metricsAddress, err)
	}
	return listener, nil
}
