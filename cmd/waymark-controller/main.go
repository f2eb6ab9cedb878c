// Command waymark-controller does what needs a view of the whole cluster, for the agents of its nodes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/waymark-bgp/waymark/controller"
	"github.com/waymark-bgp/waymark/internal/logformat"
	"github.com/waymark-bgp/waymark/internal/version"
)

const usage = `waymark-controller judges PodCIDRs, keeps the labels of NodeRoles and reports on all objects. It runs in the cluster, as
several replicas of which one works. Traffic does not depend on it.

`

// gcPercent is how much the heap grows before garbage is collected, in percent of what is in use. Reading all objects makes
// much more garbage than what is kept: with 5,000 nodes 50 instead of Go's 100 takes 65 MB off the peak of 190 MB.
const gcPercent = 50

func main() {
	var o controller.Options
	flags := flag.NewFlagSet(controller.Name, flag.ExitOnError) // libraries have put theirs into the common one
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	kubeconfig := flags.String("kubeconfig", "", "`file` that says how to reach the API server; empty: as a pod of the cluster does")
	flags.StringVar(&o.Namespace, "namespace", "waymark-system", "`namespace` of the Lease")
	flags.StringVar(&o.MetricsAddress, "metrics-address", ":9471", "TCP `address` and port that serve /metrics; 0: none")
	flags.StringVar(&o.HealthAddress, "health-address", ":9472", "TCP `address` and port that serve /healthz and /readyz; 0: none")
	flags.BoolVar(&o.LeaderElect, "leader-elect", true, "work only while this replica has the Lease")
	flags.DurationVar(&o.LeaseDuration, "lease-duration", 15*time.Second, "`time` after which another replica takes over from a silent one")
	flags.DurationVar(&o.RenewDeadline, "renew-deadline", 10*time.Second, "`time` after which a replica ends that cannot renew the Lease")
	flags.DurationVar(&o.RetryPeriod, "retry-period", 2*time.Second, "`time` between attempts to get or renew the Lease")
	logFormat := flags.String("log-format", "text", "`format` of the log on standard error: text or json")
	showVersion := flags.Bool("version", false, "print the version and end")
	_ = flags.Parse(os.Args[1:]) // it ends the program itself
	if *showVersion {
		fmt.Println("waymark-controller", version.String())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *kubeconfig, *logFormat, o, flags.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "waymark-controller:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, logFormat string, o controller.Options, args []string) error {
	handler := logformat.Handler(logFormat)
	switch {
	case handler == nil:
		return fmt.Errorf("--log-format %q is neither text nor json", logFormat)
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q", args[0])
	case o.Namespace == "":
		return errors.New("--namespace is empty")
	case o.LeaderElect && (o.RetryPeriod <= 0 || o.RenewDeadline <= o.RetryPeriod*12/10 || o.LeaseDuration <= o.RenewDeadline):
		return fmt.Errorf("--lease-duration %v must be more than --renew-deadline %v, and that more than 1.2 times --retry-period %v",
			o.LeaseDuration, o.RenewDeadline, o.RetryPeriod)
	}
	api, err := apiServer(kubeconfig)
	if err != nil {
		return fmt.Errorf("find the API server (--kubeconfig %q): %w", kubeconfig, err)
	}
	api.QPS = -1 // the API server protects itself by priority and fairness
	api.UserAgent = controller.Name + "/" + version.String()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	o.Log = slog.New(handler)
	o.Log.Info("controller started", "version", version.String(), "namespace", o.Namespace)
	return controller.Run(ctx, api, o)
}

func apiServer(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}
