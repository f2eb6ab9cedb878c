package controller

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// asCached lists without copies: what is listed must not be changed. A copy of 5,000 nodes for each pass would be garbage of
// more than the whole cache.
const asCached = client.UnsafeDisableDeepCopy

// trim keeps of an object what somebody here reads, in place: of 5,000 Nodes all of it would be 150 MB, most of it names of
// images. A trimmed Node may be patched, never updated.
func trim(o any) (any, error) {
	if object, ok := o.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	if s, ok := o.(*corev1.Service); ok {
		s.Annotations = nil
		s.Spec = corev1.ServiceSpec{ClusterIPs: s.Spec.ClusterIPs, ExternalIPs: s.Spec.ExternalIPs, LoadBalancerIP: s.Spec.LoadBalancerIP}
		s.Status.Conditions = nil
	}
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	delete(n.Annotations, corev1.LastAppliedConfigAnnotation)
	n.Spec = corev1.NodeSpec{PodCIDR: n.Spec.PodCIDR, PodCIDRs: n.Spec.PodCIDRs, Taints: n.Spec.Taints}
	status := corev1.NodeStatus{Addresses: n.Status.Addresses}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	n.Status = status
	return n, nil
}

// newInformer reads lists page by page and trims each page before the next: an API server that does not stream lists would
// send all Nodes at once, whole.
func newInformer(lw toolscache.ListerWatcher, o runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	from := toolscache.ToListerWatcherWithContext(lw)
	return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		WatchFuncWithContext: from.WatchWithContext,
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			if options.ResourceVersion == "0" { // any version will do, which would mean the whole list whatever the limit is
				options.ResourceVersion = ""
			}
			list, err := from.ListWithContext(ctx, options)
			if err != nil {
				return nil, err
			}
			return list, meta.EachListItem(list, func(item runtime.Object) error {
				_, err := trim(item)
				return err
			})
		},
	}, o, resync, indexers)
}

// changed passes an update only if one of the parts of the object has changed, and all else.
func changed[T client.Object](same func(before, after T) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(T)
		after, also := e.ObjectNew.(T)
		return !ok || !also || before.GetUID() != after.GetUID() || !same(before, after)
	}}
}

// together asks for one pass over everything, a while after the first of some events: the others of that time come with it.
func together(while time.Duration) handler.EventHandler {
	add := func(q workqueue.TypedRateLimitingInterface[ctrl.Request]) { q.AddAfter(ctrl.Request{}, while) }
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			add(q)
		},
		UpdateFunc: func(_ context.Context, _ event.UpdateEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			add(q)
		},
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			add(q)
		},
		GenericFunc: func(_ context.Context, _ event.GenericEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
			add(q)
		},
	}
}

// again asks for another try soon when what was to be written has changed meanwhile, which is no error.
func again(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil
	}
	return ctrl.Result{}, err
}

// byName sorts what the cache lists in no order, in place.
func byName[T any, P interface {
	*T
	GetName() string
}](items []T) []T {
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(P(&a).GetName(), P(&b).GetName()) })
	return items
}
