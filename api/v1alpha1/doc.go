// Package v1alpha1 holds the objects of group waymark.io, their defaults and the validation of what one object can know by
// itself. The same YAML is read from the API server or from files. All objects are cluster-scoped.
//
// +kubebuilder:object:generate=true
// +groupName=waymark.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group and Version of the objects.
const (
	Group      = "waymark.io"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
)

// GroupVersion of the objects.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// AddToScheme makes the types known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&AddressPool{}, &AddressPoolList{},
		&BGPConfiguration{}, &BGPConfigurationList{},
		&BGPPeer{}, &BGPPeerList{},
		&DatacenterNetwork{}, &DatacenterNetworkList{},
		&EgressPolicy{}, &EgressPolicyList{},
		&NodeRole{}, &NodeRoleList{},
		&NodeRoutingState{}, &NodeRoutingStateList{},
		&RegistryCheck{}, &RegistryCheckList{},
		&StaticRouteExport{}, &StaticRouteExportList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// Annotations, labels and taints on Node objects.
const (
	AnnotationASN      = "waymark.io/asn"       // overrides BGPConfiguration.spec.asn for this node
	AnnotationRouterID = "waymark.io/router-id" // overrides the router ID, else the node's IPv4 InternalIP
	Drain              = "waymark.io/drain"     // label or taint: withdraw what this node announces
	// NotReady is a taint for new nodes. The controller removes it when the node's prefixes are announced.
	NotReady = "waymark.io/not-ready"
	// AnnotationRoles lists the NodeRoles whose label on this node the controller has set, joined by commas.
	AnnotationRoles = "waymark.io/roles"
)

// DefaultName is the name of the objects of which there is only one.
const DefaultName = "default"
