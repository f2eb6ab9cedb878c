package kube

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// trim keeps what the agent reads of an object, and says what is wrong with that. What goes is most of the memory (the
// images of a Node, managedFields), and whatever changes without a meaning for us: two trimmed objects are equal when nobody
// need be told, as after a heartbeat of the kubelet or a report of our own.
func trim(object any) (metav1.Object, field.ErrorList) {
	switch o := object.(type) {
	case *corev1.Node:
		n := &corev1.Node{
			ObjectMeta: identity(o),
			Spec:       corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs, Taints: o.Spec.Taints},
			Status:     corev1.NodeStatus{Addresses: o.Status.Addresses},
		}
		n.Labels, n.Annotations = o.Labels, o.Annotations
		delete(n.Annotations, corev1.LastAppliedConfigAnnotation)
		return n, v1alpha1.ValidateNode(n.Spec.PodCIDRs, n.Annotations)
	case *corev1.Secret:
		return &corev1.Secret{ObjectMeta: identity(o), Data: o.Data}, nil
	case *corev1.Pod:
		p := &corev1.Pod{
			ObjectMeta: identity(o),
			Spec:       corev1.PodSpec{HostNetwork: o.Spec.HostNetwork},
			Status:     corev1.PodStatus{Phase: o.Status.Phase, PodIPs: o.Status.PodIPs},
		}
		p.Labels, p.DeletionTimestamp = o.Labels, o.DeletionTimestamp
		return p, nil
	case *corev1.Namespace:
		n := &corev1.Namespace{ObjectMeta: identity(o)}
		n.Labels = o.Labels
		return n, nil
	}
	trimmed := trimOwn(object.(v1alpha1.Object)) // the reflector passes nothing else on
	return trimmed, trimmed.Validate()
}

func trimOwn(object v1alpha1.Object) v1alpha1.Object {
	switch o := object.(type) {
	case *v1alpha1.BGPConfiguration:
		return &v1alpha1.BGPConfiguration{ObjectMeta: identity(o), Spec: o.Spec}
	case *v1alpha1.BGPPeer:
		return &v1alpha1.BGPPeer{ObjectMeta: identity(o), Spec: o.Spec}
	case *v1alpha1.EgressPolicy:
		return &v1alpha1.EgressPolicy{ObjectMeta: identity(o), Spec: o.Spec, Status: v1alpha1.EgressPolicyStatus{Addresses: o.Status.Addresses}}
	case *v1alpha1.AddressPool:
		return &v1alpha1.AddressPool{ObjectMeta: identity(o), Spec: o.Spec}
	case *v1alpha1.DatacenterNetwork:
		return &v1alpha1.DatacenterNetwork{ObjectMeta: identity(o), Spec: o.Spec}
	case *v1alpha1.NodeRoutingState:
		return &v1alpha1.NodeRoutingState{ObjectMeta: identity(o), Spec: o.Spec}
	}
	return object
}

// identity is what the agent needs of an object's metadata, whatever the kind.
func identity(o metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
		Generation: o.GetGeneration(), CreationTimestamp: o.GetCreationTimestamp(),
	}
}
