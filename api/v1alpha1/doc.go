// Package v1alpha1 holds the objects of group waymark.io, their defaults and the validation of what one object can know by
// itself. The same YAML is read from the API server or from files. All objects are cluster-scoped.
package v1alpha1

// Group and Version of the objects.
const (
	Group      = "waymark.io"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
)

// Annotations, labels and taints on Node objects that the agent reads.
const (
	AnnotationASN      = "waymark.io/asn"       // overrides BGPConfiguration.spec.asn for this node
	AnnotationRouterID = "waymark.io/router-id" // overrides the router ID, else the node's IPv4 InternalIP
	Drain              = "waymark.io/drain"     // label or taint: withdraw what this node announces
)

// DefaultName is the name of the objects of which there is only one.
const DefaultName = "default"
