package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=services,verbs=list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=noderoutingstates,verbs=get;list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=bgpconfigurations;bgppeers;egresspolicies;addresspools;datacenternetworks;noderoles;registrychecks;staticrouteexports,verbs=get;list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=bgpconfigurations/status;bgppeers/status;egresspolicies/status;addresspools/status;datacenternetworks/status;noderoles/status;registrychecks/status;staticrouteexports/status,verbs=patch

// validity says of every object, in its condition Valid and by Events, whether it is good by itself and beside the others,
// and whether the nodes can put it in force. It reads no Secrets: the nodes that need one report that it is missing.
type validity struct {
	client.Client
	events events.EventRecorder
}

const validateTogether = 500 * time.Millisecond

func (r *validity) setup(m ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(m).Named("validation").
		Watches(&corev1.Node{}, together(validateTogether), builder.WithPredicates(changed(sameForObjects))).
		Watches(&corev1.Service{}, together(validateTogether), builder.WithPredicates(changed(sameService))).
		Watches(&v1alpha1.EgressPolicy{}, together(validateTogether), builder.WithPredicates(addressesOrSpec)).
		Watches(&v1alpha1.NodeRoutingState{}, together(validateTogether), builder.WithPredicates(changed(sameProblems)))
	for _, kind := range []client.Object{&v1alpha1.BGPConfiguration{}, &v1alpha1.BGPPeer{}, &v1alpha1.AddressPool{},
		&v1alpha1.DatacenterNetwork{}, &v1alpha1.NodeRole{}, &v1alpha1.StaticRouteExport{}, &v1alpha1.RegistryCheck{}} {
		b = b.Watches(kind, together(validateTogether), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	}
	return b.Complete(r)
}

// sameForObjects says whether no selector, annotation or prefix of a Node has changed that an object may speak of.
func sameForObjects(a, b *corev1.Node) bool {
	return samePrefixes(a, b) && equality.Semantic.DeepEqual(a.Labels, b.Labels) && equality.Semantic.DeepEqual(a.Annotations, b.Annotations)
}

func sameProblems(a, b *v1alpha1.NodeRoutingState) bool {
	return slices.Equal(a.Status.Problems, b.Status.Problems)
}

// Reconcile implements reconcile.Reconciler.
func (r *validity) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var nodes corev1.NodeList
	var services corev1.ServiceList
	var states v1alpha1.NodeRoutingStateList
	var configurations v1alpha1.BGPConfigurationList
	var peers v1alpha1.BGPPeerList
	var policies v1alpha1.EgressPolicyList
	var pools v1alpha1.AddressPoolList
	var networks v1alpha1.DatacenterNetworkList
	var roles v1alpha1.NodeRoleList
	var exports v1alpha1.StaticRouteExportList
	var registries v1alpha1.RegistryCheckList
	for _, list := range []client.ObjectList{&nodes, &services, &states, &configurations, &peers, &policies, &pools, &networks, &roles, &exports, &registries} {
		if err := r.List(ctx, list, asCached); err != nil {
			return ctrl.Result{}, err
		}
	}
	objects := map[string]v1alpha1.Object{}
	collect(objects, "BGPConfiguration", configurations.Items)
	collect(objects, "BGPPeer", byName(peers.Items))
	collect(objects, "EgressPolicy", policies.Items)
	collect(objects, "AddressPool", pools.Items)
	collect(objects, "DatacenterNetwork", networks.Items)
	collect(objects, "NodeRole", roles.Items)
	collect(objects, "StaticRouteExport", exports.Items)
	collect(objects, "RegistryCheck", registries.Items)
	found := objectProblems(agent.Snapshot{
		Nodes:          byName(nodes.Items),
		Services:       byName(services.Items),
		Configurations: configurations.Items,
		Peers:          peers.Items,
		Policies:       policies.Items,
		Pools:          pools.Items,
		Datacenters:    networks.Items,
		Roles:          roles.Items,
		Exports:        exports.Items,
		Registries:     registries.Items,
	}, objects, byName(states.Items))
	var errs []error
	for name, o := range objects {
		errs = append(errs, r.write(ctx, o, valid(o.GetGeneration(), found[name])))
	}
	return again(errors.Join(errs...))
}

func (r *validity) write(ctx context.Context, before v1alpha1.Object, c metav1.Condition) error {
	after := before.DeepCopyObject().(v1alpha1.Object) // a copy is of the same type
	changed, news := judged(statusOf(after), c)
	if !changed {
		return nil
	}
	if err := r.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("report on %T %s: %w", after, after.GetName(), err)
	}
	switch {
	case !news:
	case c.Status == metav1.ConditionTrue:
		r.events.Eventf(after, nil, corev1.EventTypeNormal, c.Reason, "Validate", "nothing is wrong any more")
	default:
		r.events.Eventf(after, nil, corev1.EventTypeWarning, c.Reason, "Validate", "%s", c.Message)
	}
	return nil
}

// kind is a type whose pointer is an object of ours.
type kind[T any] interface {
	*T
	v1alpha1.Object
}

func collect[T any, P kind[T]](all map[string]v1alpha1.Object, name string, items []T) {
	for i := range items {
		all[name+"/"+P(&items[i]).GetName()] = P(&items[i])
	}
}
