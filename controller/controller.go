// Package controller does what needs a view of the whole cluster: it judges who owns which PodCIDR and which egress address,
// keeps the labels of NodeRoles and the ConfigMaps of StaticRouteExports, says of every object whether it is valid and in force, and lets new nodes go when their routes stand. Traffic
// does not depend on it: while it is gone, the agents go on with what they were told.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// Name of the controller: of its Lease, and as it signs Events.
const Name = "waymark-controller"

// Options of a controller.
type Options struct {
	// Namespace of the Lease, and of the ConfigMaps of StaticRouteExports.
	Namespace string
	// LeaderElect: of several replicas one works and the others wait. Each needs its own process.
	LeaderElect bool
	// LeaseDuration is how long the others wait for a leader that is silent; it gives up after RenewDeadline, and tries
	// every RetryPeriod.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// MetricsAddress and HealthAddress are TCP addresses that serve /metrics, and /healthz and /readyz; "0": none.
	MetricsAddress, HealthAddress string
	Log                           *slog.Logger
}

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=waymark-system,resources=leases,verbs=get;create;update
// +kubebuilder:rbac:groups="",namespace=waymark-system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Run works until ctx ends. An error is a reason to start anew: the API server refuses, an address is taken, or another
// replica has the Lease. There is one Run in a process, because the metrics are the process's.
func Run(ctx context.Context, api *rest.Config, o Options) error {
	log := logr.FromSlogHandler(o.Log.Handler())
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	m, err := ctrl.NewManager(api, ctrl.Options{
		Scheme: scheme,
		Logger: log,
		Cache: cache.Options{
			DefaultTransform:            trim,
			NewInformer:                 newInformer,
			ReaderFailOnMissingInformer: true, // a kind that nobody meant to watch
			ByObject:                    map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{o.Namespace: {}}}},
		},
		LeaderElection:                o.LeaderElect,
		LeaderElectionID:              Name,
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.LeaseDuration,
		RenewDeadline:                 &o.RenewDeadline,
		RetryPeriod:                   &o.RetryPeriod,
		Metrics:                       server.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:        o.HealthAddress,
	})
	if err != nil {
		return fmt.Errorf("prepare the controller: %w", err)
	}
	// All kinds are read before there is a Lease: a standby knows everything when its turn comes.
	for _, kind := range []client.Object{
		&corev1.Node{}, &corev1.Service{}, &v1alpha1.NodeRoutingState{}, &v1alpha1.NodeRole{}, &v1alpha1.BGPConfiguration{}, &v1alpha1.BGPPeer{},
		&v1alpha1.EgressPolicy{}, &v1alpha1.AddressPool{}, &v1alpha1.DatacenterNetwork{},
		&v1alpha1.StaticRouteExport{}, &v1alpha1.RegistryCheck{}, &corev1.ConfigMap{},
	} {
		if _, err := m.GetCache().GetInformer(ctx, kind, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	events := m.GetEventRecorder(Name)
	err = errors.Join(
		m.AddHealthzCheck("alive", healthz.Ping),
		m.AddReadyzCheck("cache", func(r *http.Request) error { return synced(r.Context(), m.GetCache()) }),
		(&nodeStates{m.GetClient(), events}).setup(m),
		(&nodeRoles{m.GetClient()}).setup(m),
		(&egressOwners{Client: m.GetClient(), events: events}).setup(m),
		(&routeExports{Client: m.GetClient(), events: events, namespace: o.Namespace}).setup(m),
		(&registryChecks{Client: m.GetClient(), events: events}).setup(m),
		(&statuses{m.GetClient()}).setup(m),
		(&validity{m.GetClient(), events}).setup(m),
		(&taints{m.GetClient()}).setup(m),
	)
	if err != nil {
		return fmt.Errorf("prepare the controller: %w", err)
	}
	return m.Start(ctx)
}

func synced(ctx context.Context, c cache.Cache) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if !c.WaitForCacheSync(ctx) {
		return errors.New("the objects have not been read yet")
	}
	return nil
}
