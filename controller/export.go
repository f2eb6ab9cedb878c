package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=waymark-system,resources=configmaps,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=waymark.io,resources=staticrouteexports;datacenternetworks;addresspools,verbs=get;list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=staticrouteexports/status,verbs=patch

// routeExports keeps for each StaticRouteExport a ConfigMap with the commands that its gateway needs, and says in the status
// whether the gateway has the routes and whether packets take them.
type routeExports struct {
	client.Client
	events    events.EventRecorder
	namespace string // of the ConfigMaps
	paths     *pathProber
	gateways  map[string]string // by export, that there are metrics of
}

const exportTogether = time.Second

func (r *routeExports) setup(m ctrl.Manager) error {
	r.paths, r.gateways = newPathProber(), map[string]string{}
	if err := m.Add(r.paths); err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(m).Named("export").
		Watches(&corev1.Node{}, together(exportTogether), builder.WithPredicates(changed(samePrefixes))).
		Watches(&corev1.ConfigMap{}, together(exportTogether)).
		WatchesRawSource(source.Channel(r.paths.done, together(time.Millisecond)))
	for _, kind := range []client.Object{&v1alpha1.StaticRouteExport{}, &v1alpha1.DatacenterNetwork{}, &v1alpha1.AddressPool{}} {
		b = b.Watches(kind, together(exportTogether), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	}
	return b.Complete(r)
}

// exportSources are what all exports are made of.
type exportSources struct {
	nodes    []corev1.Node
	networks []v1alpha1.DatacenterNetwork
	pools    []v1alpha1.AddressPool
}

// Reconcile implements reconcile.Reconciler.
func (r *routeExports) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var nodes corev1.NodeList
	var networks v1alpha1.DatacenterNetworkList
	var pools v1alpha1.AddressPoolList
	var exports v1alpha1.StaticRouteExportList
	for _, list := range []client.ObjectList{&nodes, &networks, &pools, &exports} {
		if err := r.List(ctx, list, asCached); err != nil {
			return ctrl.Result{}, err
		}
	}
	r.forget(exports.Items)
	r.paths.forget(exports.Items)
	sources := &exportSources{byName(nodes.Items), networks.Items, pools.Items}
	var errs []error
	var wait time.Duration
	for i := range exports.Items {
		if exports.Items[i].DeletionTimestamp != nil {
			continue
		}
		next, err := r.bring(ctx, &exports.Items[i], sources)
		errs = append(errs, err)
		if wait == 0 || next < wait {
			wait = next
		}
	}
	if result, err := again(errors.Join(errs...)); err != nil || result.RequeueAfter > 0 {
		return result, err
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// forget removes the metrics of exports that are gone, or of another gateway now.
func (r *routeExports) forget(exports []v1alpha1.StaticRouteExport) {
	for name, gateway := range r.gateways {
		if !slices.ContainsFunc(exports, func(e v1alpha1.StaticRouteExport) bool { return e.Name == name && e.Spec.Gateway == gateway }) {
			staticRoutes.DeletePartialMatch(map[string]string{"export": name})
			delete(r.gateways, name)
		}
	}
	for i := range exports {
		r.gateways[exports[i].Name] = exports[i].Spec.Gateway
	}
}

// notice is an Event, told when what it says has been written.
type notice struct{ kind, reason, action, text string }

// bring brings one export up to date, and says after how long it is to be looked at again.
func (r *routeExports) bring(ctx context.Context, before *v1alpha1.StaticRouteExport, sources *exportSources) (time.Duration, error) {
	e := before.DeepCopy()
	notices, next, err := r.work(ctx, e, sources)
	var refused *exportRefusal
	if errors.As(err, &refused) {
		notices = append(notices, say(e, v1alpha1.ConditionExported, metav1.ConditionFalse, refused.reason, refused.Error())...)
		err = nil
	}
	if err != nil {
		return next, err
	}
	measure(e)
	if equality.Semantic.DeepEqual(before.Status, e.Status) {
		return next, nil
	}
	if err := r.Status().Patch(ctx, e, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return next, fmt.Errorf("report on StaticRouteExport %s: %w", e.Name, err)
	}
	for _, n := range notices {
		r.events.Eventf(e, nil, n.kind, n.reason, n.action, "%s", short(n.text))
	}
	return next, nil
}

// work publishes the commands, compares the router and asks for probes, and writes into the status what came of it.
func (r *routeExports) work(ctx context.Context, e *v1alpha1.StaticRouteExport, sources *exportSources) (notices []notice, next time.Duration, err error) {
	next = exportInterval(e)
	if errs := e.Validate(); len(errs) > 0 {
		return nil, next, &exportRefusal{"Invalid", errs.ToAggregate()}
	}
	want, err := agent.WantStaticRoutes(sources.nodes, sources.networks, e.Spec.Gateway)
	if err != nil {
		return nil, next, &exportRefusal{"NoGateway", err}
	}
	x, err := newExporting(e, &want)
	if err != nil {
		return nil, next, err
	}
	e.Status.Format, e.Status.Routes = x.format, int32(len(x.routes))
	e.Status.MissingCount, e.Status.Missing = int32(len(want.Missing)), nil
	for _, m := range want.Missing[:min(len(want.Missing), shownLines)] {
		e.Status.Missing = append(e.Status.Missing, short(m))
	}

	running, err := r.running(ctx, e)
	if err != nil {
		return nil, next, err
	}
	notices = x.compare(running, sources)
	if err := r.publish(ctx, x); err != nil {
		return nil, next, err
	}
	message := ""
	if n := len(want.Missing); n > 0 {
		message = fmt.Sprintf("%d without a route, the first: %s", n, want.Missing[0])
	}
	notices = append(notices, say(e, v1alpha1.ConditionExported, metav1.ConditionTrue, "Exported", message)...)

	due, said := r.paths.follow(e, &want, sources)
	return append(notices, said...), min(next, due), nil
}

// say puts a condition into the status; the notice is for news.
func say(e *v1alpha1.StaticRouteExport, kind string, status metav1.ConditionStatus, reason, message string) []notice {
	message = short(message)
	_, news := judged(&e.Status.ObjectStatus, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: e.Generation,
	})
	if !news {
		return nil
	}
	n := notice{corev1.EventTypeNormal, reason, kind, message}
	if status != metav1.ConditionTrue {
		n.kind = corev1.EventTypeWarning
	}
	if message == "" {
		n.text = map[string]string{
			v1alpha1.ConditionExported:  "the commands are ready",
			v1alpha1.ConditionInStep:    "the router has the routes that it needs",
			v1alpha1.ConditionReachable: "packets to all pod subnets come to their nodes",
		}[kind]
	}
	return []notice{n}
}

// unsay removes a condition that nobody asks for.
func unsay(e *v1alpha1.StaticRouteExport, kind string) {
	meta.RemoveStatusCondition(&e.Status.Conditions, kind)
}

func exportInterval(e *v1alpha1.StaticRouteExport) time.Duration {
	if e.Spec.Interval == nil {
		return 10 * time.Minute
	}
	return e.Spec.Interval.Duration
}

// measure sets the metrics by the status.
func measure(e *v1alpha1.StaticRouteExport) {
	set := func(state string, n int32) {
		staticRoutes.WithLabelValues(e.Name, e.Spec.Gateway, state).Set(float64(n))
	}
	set("wanted", e.Status.Routes)
	set("missing", e.Status.MissingCount)
	if d := e.Status.Difference; d != nil {
		set("differing", d.Missing+d.NearMiss+d.Wrong+d.Overlap+d.Remove+d.Unread)
	} else {
		staticRoutes.DeleteLabelValues(e.Name, e.Spec.Gateway, "differing")
	}
	for state, n := range probed(e) {
		if e.Status.Probe != nil {
			set(state, n)
		} else {
			staticRoutes.DeleteLabelValues(e.Name, e.Spec.Gateway, state)
		}
	}
}

func probed(e *v1alpha1.StaticRouteExport) map[string]int32 {
	p := e.Status.Probe
	if p == nil {
		p = &v1alpha1.ProbeReport{}
	}
	return map[string]int32{"right": p.Right, "wrong": p.Wrong, "silent": p.Silent}
}
