package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// +kubebuilder:rbac:groups=waymark.io,resources=noderoutingstates;bgppeers;egresspolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=bgppeers/status;egresspolicies/status,verbs=patch

// statuses adds up what the nodes report, in the status of BGPPeers and EgressPolicies.
type statuses struct{ client.Client }

const addUpTogether = time.Second

func (r *statuses) setup(m ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(m).Named("status").
		Watches(&v1alpha1.NodeRoutingState{}, together(addUpTogether), builder.WithPredicates(changed(sameReport))).
		Watches(&v1alpha1.BGPPeer{}, together(addUpTogether), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.EgressPolicy{}, together(addUpTogether), builder.WithPredicates(addressesOrSpec)).
		Complete(r)
}

// Reconcile implements reconcile.Reconciler.
func (r *statuses) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var states v1alpha1.NodeRoutingStateList
	var peers v1alpha1.BGPPeerList
	var policies v1alpha1.EgressPolicyList
	for _, list := range []client.ObjectList{&states, &peers, &policies} {
		if err := r.List(ctx, list, asCached); err != nil {
			return ctrl.Result{}, err
		}
	}
	for kind, n := range nodeKinds(states.Items) {
		nodesByState.WithLabelValues(kind).Set(float64(n))
	}
	var errs []error
	reported := sessions(states.Items)
	for i := range peers.Items {
		peer := peers.Items[i].DeepCopy()
		status := reported[peer.Name]
		status.ObjectStatus = peer.Status.ObjectStatus
		peer.Status = status
		errs = append(errs, r.write(ctx, &peers.Items[i], peer, peers.Items[i].Status, peer.Status))
	}
	for i := range policies.Items {
		policy := policies.Items[i].DeepCopy()
		count, ready := application(policy, states.Items)
		policy.Status.Nodes = count
		meta.SetStatusCondition(&policy.Status.Conditions, ready)
		errs = append(errs, r.write(ctx, &policies.Items[i], policy, policies.Items[i].Status, policy.Status))
	}
	return again(errors.Join(errs...))
}

func (r *statuses) write(ctx context.Context, before, after client.Object, old, status any) error {
	if equality.Semantic.DeepEqual(old, status) {
		return nil
	}
	if err := r.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("report on %T %s: %w", after, after.GetName(), err)
	}
	return nil
}
