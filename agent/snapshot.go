package agent

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// Snapshot is everything the agent knows of the outside at one moment. It is immutable.
type Snapshot struct {
	// Synced says that nothing is missing. Because of a snapshot that is not synced nothing may be removed.
	Synced bool
	// Nodes holds our own node, and others as far as the source knows them (for the overlap check).
	Nodes          []corev1.Node
	Configurations []v1alpha1.BGPConfiguration
	Peers          []v1alpha1.BGPPeer
	Policies       []v1alpha1.EgressPolicy
	Pools          []v1alpha1.AddressPool
	Datacenters    []v1alpha1.DatacenterNetwork
	Services       []corev1.Service             // as the next, for the checks only
	Roles          []v1alpha1.NodeRole          // nodes have no use for them
	Exports        []v1alpha1.StaticRouteExport // nor for these
	Registries     []v1alpha1.RegistryCheck
	Secrets        []corev1.Secret
	Problems       []Problem // what the source could not read or refused

	// Controlled: there is a controller that judges who owns a PodCIDR, because this source does not know the other nodes.
	Controlled bool
	// State is what the controller has told this node; nil: nothing yet, or there is none.
	State *v1alpha1.NodeRoutingState
	// Pods of this node, and the Namespaces they are in, if a policy selects pods.
	Pods       []corev1.Pod
	Namespaces []corev1.Namespace
	// Restored is when the snapshot was taken, if it is what an earlier agent has kept because the API server cannot be
	// reached; else zero.
	Restored time.Time
}

// node is the node of a name; nil: the source has none.
func (s *Snapshot) node(name string) *corev1.Node {
	i := slices.IndexFunc(s.Nodes, func(n corev1.Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return &s.Nodes[i]
}

// Problem is an object, or a part of one, that is not in force, and why.
type Problem struct {
	Object  string `json:"object,omitempty"` // "BGPPeer/rr1"; empty: none in particular
	Where   string `json:"where,omitempty"`  // "peers.yaml:12"; empty: not from a file
	Reason  string `json:"reason"`           // one CamelCase word, as in a condition: Invalid, Overlap, MissingSecret
	Message string `json:"message"`
}

func (p Problem) String() string {
	s := fmt.Sprintf("%s: %s", p.Reason, p.Message)
	if p.Object != "" {
		s = p.Object + ": " + s
	}
	if p.Where != "" {
		s = p.Where + ": " + s
	}
	return s
}
