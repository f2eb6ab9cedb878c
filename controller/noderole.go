package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=waymark.io,resources=noderoles,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=waymark.io,resources=noderoles/status,verbs=patch

// nodeRoles keeps the labels of NodeRoles on nodes.
type nodeRoles struct{ client.Client }

// finalizer holds a NodeRole that is deleted until its labels are removed.
const finalizer = "waymark.io/noderole"

func (r *nodeRoles) setup(m ctrl.Manager) error {
	// A node may be a standby of any role, and a role that goes may give its label to another: a change concerns all.
	all := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []ctrl.Request {
		var roles v1alpha1.NodeRoleList
		if err := r.List(ctx, &roles, asCached); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "list NodeRoles")
		}
		var requests []ctrl.Request
		for i := range roles.Items {
			requests = append(requests, ctrl.Request{NamespacedName: types.NamespacedName{Name: roles.Items[i].Name}})
		}
		return requests
	})
	return ctrl.NewControllerManagedBy(m).Named("noderole").
		Watches(&corev1.Node{}, all, builder.WithPredicates(changed(sameForRoles))).
		Watches(&v1alpha1.NodeRole{}, all, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
}

func sameForRoles(a, b *corev1.Node) bool {
	return isReady(a) == isReady(b) && agent.Leaving(a) == agent.Leaving(b) && equality.Semantic.DeepEqual(a.Labels, b.Labels) &&
		a.Annotations[v1alpha1.AnnotationRoles] == b.Annotations[v1alpha1.AnnotationRoles]
}

// Reconcile implements reconcile.Reconciler.
func (r *nodeRoles) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var role v1alpha1.NodeRole
	if err := r.Get(ctx, request.NamespacedName, &role); err != nil {
		if apierrors.IsNotFound(err) {
			roleReady.DeleteLabelValues(request.Name)
			err = nil
		}
		return ctrl.Result{}, err
	}
	var nodes corev1.NodeList
	var roles v1alpha1.NodeRoleList
	if err := r.List(ctx, &nodes, asCached); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.List(ctx, &roles, asCached); err != nil {
		return ctrl.Result{}, err
	}
	if role.DeletionTimestamp != nil {
		return again(r.end(ctx, &role, nodes.Items))
	}
	selector, err := metav1.LabelSelectorAsSelector(&role.Spec.NodeSelector)
	if err != nil || len(role.Validate()) > 0 || shadowed(&role, roles.Items) {
		return ctrl.Result{}, nil // a condition says so
	}
	if before := role.DeepCopy(); controllerutil.AddFinalizer(&role, finalizer) {
		if err := r.Patch(ctx, &role, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return again(fmt.Errorf("add a finalizer to NodeRole %s: %w", role.Name, err))
		}
	}
	minReady := 1
	if role.Spec.MinReady != nil {
		minReady = int(*role.Spec.MinReady)
	}
	seen := roleNodes(&role, selector, nodes.Items)
	changed, err := r.apply(ctx, &role, nodes.Items, assign(role.Spec.Nodes, minReady, seen))
	if err == nil && !changed {
		err = r.report(ctx, &role, roleStatus(role.Status, seen))
	}
	return again(err)
}

// shadowed says whether another role keeps this one's label.
func shadowed(role *v1alpha1.NodeRole, roles []v1alpha1.NodeRole) bool {
	return slices.ContainsFunc(agent.Check(agent.Snapshot{Roles: roles}), func(p agent.Problem) bool { return p.Object == "NodeRole/"+role.Name })
}

// apply changes the nodes and waits until the cache shows them so: a decision over nodes as they were before might remove one
// label too many. The change comes back as events, and with them the next decision.
func (r *nodeRoles) apply(ctx context.Context, role *v1alpha1.NodeRole, nodes []corev1.Node, change roleChange) (changed bool, err error) {
	var patched []*corev1.Node
	for i := range nodes {
		set := slices.Contains(change.add, nodes[i].Name)
		if !set && !slices.Contains(change.remove, nodes[i].Name) && !slices.Contains(change.forget, nodes[i].Name) {
			continue
		}
		if err := r.mark(ctx, role, &nodes[i], set); err != nil {
			return true, err
		}
		patched = append(patched, &nodes[i])
	}
	for _, old := range patched {
		err := wait.PollUntilContextTimeout(ctx, 2*time.Millisecond, 5*time.Second, true, func(ctx context.Context) (bool, error) {
			var node corev1.Node
			err := r.Get(ctx, client.ObjectKeyFromObject(old), &node)
			return apierrors.IsNotFound(err) || err == nil && node.ResourceVersion != old.ResourceVersion, client.IgnoreNotFound(err)
		})
		if err != nil {
			return true, fmt.Errorf("see the change of Node %s: %w", old.Name, err)
		}
	}
	return len(patched) > 0, nil
}

func (r *nodeRoles) mark(ctx context.Context, role *v1alpha1.NodeRole, old *corev1.Node, set bool) error {
	node := old.DeepCopy()
	mark(node, role, set)
	if err := r.Patch(ctx, node, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("label Node %s for NodeRole %s: %w", node.Name, role.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("label changed", "node", node.Name, "role", role.Name, "label", role.Spec.Label.Key, "set", set)
	return nil
}

// end removes the labels of a role that is being deleted, then lets it go.
func (r *nodeRoles) end(ctx context.Context, role *v1alpha1.NodeRole, nodes []corev1.Node) error {
	for i := range nodes {
		if slices.Contains(rolesOf(&nodes[i]), role.Name) {
			if err := r.mark(ctx, role, &nodes[i], false); err != nil {
				return err
			}
		}
	}
	before := role.DeepCopy()
	if !controllerutil.RemoveFinalizer(role, finalizer) {
		return nil
	}
	if err := r.Patch(ctx, role, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("let NodeRole %s go: %w", role.Name, err)
	}
	return nil
}

func (r *nodeRoles) report(ctx context.Context, role *v1alpha1.NodeRole, status v1alpha1.NodeRoleStatus) error {
	roleReady.WithLabelValues(role.Name).Set(float64(status.Ready))
	if equality.Semantic.DeepEqual(role.Status, status) {
		return nil
	}
	before := role.DeepCopy()
	role.Status = status
	if err := r.Status().Patch(ctx, role, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("report on NodeRole %s: %w", role.Name, err)
	}
	return nil
}
