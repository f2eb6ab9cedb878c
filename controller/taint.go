package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=waymark.io,resources=noderoutingstates;bgpconfigurations;egresspolicies,verbs=get;list;watch

// taints removes the taint waymark.io/not-ready from new nodes when they have settled.
type taints struct{ client.Client }

// lookAgain is after how long a node is looked at again that waits for something else than a report of its own.
const lookAgain = 2 * time.Second

func (r *taints) setup(m ctrl.Manager) error {
	heldNode := predicate.NewPredicateFuncs(func(o client.Object) bool {
		node, ok := o.(*corev1.Node)
		return ok && held(node)
	})
	stateOfHeld := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
		name := types.NamespacedName{Name: o.GetName()}
		var node corev1.Node
		if err := r.Get(ctx, name, &node); err != nil || !held(&node) {
			return nil // without a Node there is no taint, and a new one is an event of its own
		}
		return []ctrl.Request{{NamespacedName: name}}
	})
	return ctrl.NewControllerManagedBy(m).Named("taint").
		Watches(&corev1.Node{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(heldNode)).
		Watches(&v1alpha1.NodeRoutingState{}, stateOfHeld).
		Complete(r)
}

// Reconcile implements reconcile.Reconciler.
func (r *taints) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var node corev1.Node
	var state v1alpha1.NodeRoutingState
	if err := r.Get(ctx, request.NamespacedName, &node); err != nil || !held(&node) {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.Get(ctx, request.NamespacedName, &state); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !state.Status.Gate.Open {
		return ctrl.Result{}, nil // when it opens, that is an event
	}
	var configurations v1alpha1.BGPConfigurationList
	var policies v1alpha1.EgressPolicyList
	for _, list := range []client.ObjectList{&configurations, &policies} {
		if err := r.List(ctx, list, asCached); err != nil {
			return ctrl.Result{}, err
		}
	}
	var configuration *v1alpha1.BGPConfiguration
	for i := range configurations.Items {
		configuration = &configurations.Items[i] // the API server takes only the one named default
	}
	if !settled(&node, &state, configuration, policies.Items) {
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	}
	before := node.DeepCopy()
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, holds)
	if err := r.Patch(ctx, &node, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return again(fmt.Errorf("remove taint %s from Node %s: %w", v1alpha1.NotReady, node.Name, err))
	}
	ctrl.LoggerFrom(ctx).Info("the node has settled: taint removed", "node", node.Name)
	return ctrl.Result{}, nil
}
