package controller

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=datacenternetworks;egresspolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=noderoutingstates,verbs=get;list;watch;create;patch;delete

// nodeStates keeps one NodeRoutingState for each Node, with the verdicts on its PodCIDRs, and on a gateway with those who may
// send it tunnels. All nodes are judged in one pass,
// because one Node may change the verdict on any other.
type nodeStates struct {
	client.Client
	events events.EventRecorder
}

const (
	judgeTogether = 100 * time.Millisecond // of many new nodes
	parallel      = 16                     // writes at the same time
)

func (r *nodeStates) setup(m ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(m).Named("nodestate").
		Watches(&corev1.Node{}, together(judgeTogether), builder.WithPredicates(changed(samePrefixes))).
		Watches(&v1alpha1.NodeRoutingState{}, together(judgeTogether), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.EgressPolicy{}, together(judgeTogether), builder.WithPredicates(addressesOrSpec)).
		Watches(&v1alpha1.DatacenterNetwork{}, together(judgeTogether), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
}

// samePrefixes says whether a Node claims what it has claimed before.
func samePrefixes(a, b *corev1.Node) bool {
	return a.Spec.PodCIDR == b.Spec.PodCIDR && equality.Semantic.DeepEqual(a.Spec.PodCIDRs, b.Spec.PodCIDRs) &&
		equality.Semantic.DeepEqual(a.Status.Addresses, b.Status.Addresses)
}

// Reconcile implements reconcile.Reconciler.
func (r *nodeStates) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var nodes corev1.NodeList
	var networks v1alpha1.DatacenterNetworkList
	var policies v1alpha1.EgressPolicyList
	var states v1alpha1.NodeRoutingStateList
	for _, list := range []client.ObjectList{&nodes, &networks, &policies, &states} {
		if err := r.List(ctx, list, asCached); err != nil {
			return ctrl.Result{}, err
		}
	}
	changes, conflicts := stateChanges(nodes.Items, networks.Items, policies.Items, states.Items)
	podCIDRConflicts.Set(float64(conflicts))
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, change := range changes {
		group.Go(func() error { return r.apply(ctx, change) })
	}
	return again(group.Wait())
}

func (r *nodeStates) apply(ctx context.Context, c stateChange) error {
	if c.replaces() {
		err := r.Delete(ctx, c.before, client.Preconditions{UID: &c.before.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete NodeRoutingState %s: %w", c.before.Name, err)
		}
	}
	switch {
	case c.after == nil:
		return nil
	case c.before == nil || c.replaces():
		if err := r.Create(ctx, c.after); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create NodeRoutingState %s: %w", c.after.Name, err)
		}
	default:
		state := c.before.DeepCopy()
		state.Spec.PodCIDRs, state.Spec.TunnelPeers = c.after.Spec.PodCIDRs, c.after.Spec.TunnelPeers
		if err := r.Patch(ctx, state, client.MergeFrom(c.before)); err != nil {
			return fmt.Errorf("change NodeRoutingState %s: %w", c.after.Name, err)
		}
	}
	for _, v := range c.refusals() {
		node := &corev1.Node{}
		node.Name, node.UID = c.after.Name, c.after.OwnerReferences[0].UID
		r.events.Eventf(node, nil, corev1.EventTypeWarning, "Overlap", "Judge", "%s", short(v.Conflict))
	}
	return nil
}
