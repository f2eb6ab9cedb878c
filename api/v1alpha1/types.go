package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EgressPolicy decides with which source address pods reach destinations.
type EgressPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              EgressPolicySpec `json:"spec"`
}

// EgressPolicySpec is the desired state.
type EgressPolicySpec struct {
	Priority *int32        `json:"priority,omitempty"` // lower first, ties by name; default 1000
	Pods     *PodSelection `json:"pods,omitempty"`     // absent: all pods
	// Destinations that the policy is about. Absent, with DestinationsFrom too: everything outside the cluster.
	Destinations []string `json:"destinations,omitempty"`
	// DestinationsFrom may be DatacenterNetwork: its cidrs.
	DestinationsFrom    string         `json:"destinationsFrom,omitempty"`
	ExcludeDestinations []string       `json:"excludeDestinations,omitempty"`
	Source              string         `json:"source"` // Pod | Node | Gateway
	Gateway             *EgressGateway `json:"gateway,omitempty"`
}

// The sources of an EgressPolicy.
const (
	SourcePod     = "Pod"
	SourceNode    = "Node"
	SourceGateway = "Gateway"
)

// DestinationsFromDatacenterNetwork is the value of spec.destinationsFrom.
const DestinationsFromDatacenterNetwork = "DatacenterNetwork"

// PodSelection selects pods; an absent selector selects all.
type PodSelection struct {
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	PodSelector       *metav1.LabelSelector `json:"podSelector,omitempty"`
}

// EgressGateway is the pinned address and the nodes that may own it.
type EgressGateway struct {
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	Addresses    []string              `json:"addresses,omitempty"` // excludes pool; absent both: the node's own address
	Pool         string                `json:"pool,omitempty"`
	Fallback     string                `json:"fallback,omitempty"` // Drop | Node | Pod; default Drop
}

// AddressPool is a set of addresses to hand out.
type AddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              AddressPoolSpec `json:"spec"`
}

// AddressPoolSpec is the desired state.
type AddressPoolSpec struct {
	CIDRs []string `json:"cidrs"`
	Use   string   `json:"use"` // Egress | LoadBalancer
}

// DatacenterNetwork declares what the datacenter already uses: nothing of ours may overlap it. There is one, named "default".
type DatacenterNetwork struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              DatacenterNetworkSpec `json:"spec"`
}

// DatacenterNetworkSpec is the desired state.
type DatacenterNetworkSpec struct {
	CIDRs []string `json:"cidrs"`
	// ClusterCIDRs are the cluster's own pod and service ranges: "outside the cluster" is what lies in none of them.
	ClusterCIDRs []string  `json:"clusterCIDRs,omitempty"`
	Gateways     []Gateway `json:"gateways,omitempty"`
}

// Gateway is a router without BGP that needs static routes.
type Gateway struct {
	Name        string   `json:"name"`
	Address     string   `json:"address"`
	Dialect     string   `json:"dialect"`
	NodeSubnets []string `json:"nodeSubnets"`
}
