package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ObjectStatus is what the controller says of an object.
type ObjectStatus struct {
	// ObservedGeneration is the generation of the object that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions: Valid says whether the object is good by itself and beside the others.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The types of conditions.
const (
	ConditionValid = "Valid" // nothing about the object, alone or beside others, keeps it from being in force
	ConditionReady = "Ready" // every node that it is about has it in force
)

// EgressPolicy decides with which source address pods reach destinations.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=egp,categories=waymark
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.spec.source`
// +kubebuilder:printcolumn:name="Gateway",type=string,JSONPath=`.status.gateway`,description="nodes that own the policy's addresses"
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodes`,description="nodes that have it in force"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type EgressPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              EgressPolicySpec `json:"spec"`
	// +optional
	Status EgressPolicyStatus `json:"status,omitzero"`
}

// EgressPolicyList is a list.
//
// +kubebuilder:object:root=true
type EgressPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EgressPolicy `json:"items"`
}

// EgressPolicySpec is the desired state.
//
// +kubebuilder:validation:XValidation:rule="self.source == 'Gateway' ? has(self.gateway) : !has(self.gateway)",message="gateway is required with source: Gateway and forbidden with any other"
type EgressPolicySpec struct {
	// Priority: the lower goes first, ties by name; the first policy that matches decides. Default 1000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:default=1000
	// +optional
	Priority *int32 `json:"priority,omitempty"`
	// Pods that the policy is about. Absent: all pods.
	// +optional
	Pods *PodSelection `json:"pods,omitempty"`
	// Destinations that the policy is about. Absent, with destinationsFrom too: everything outside the cluster.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32"
	// +optional
	Destinations []string `json:"destinations,omitempty"`
	// DestinationsFrom may be DatacenterNetwork: its cidrs.
	// +kubebuilder:validation:Enum=DatacenterNetwork
	// +optional
	DestinationsFrom string `json:"destinationsFrom,omitempty"`
	// ExcludeDestinations that the policy does not match; a later one may.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32"
	// +optional
	ExcludeDestinations []string `json:"excludeDestinations,omitempty"`
	// Source address that the traffic leaves with. Pod: the pod's own; Node: the node's; Gateway: a pinned address.
	// +kubebuilder:validation:Enum=Pod;Node;Gateway
	Source string `json:"source"`
	// Gateway that owns the pinned address, with source: Gateway.
	// +optional
	Gateway *EgressGateway `json:"gateway,omitempty"`
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
	// NamespaceSelector selects namespaces by their labels.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// PodSelector selects pods by their labels.
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
}

// EgressGateway is the pinned address and the nodes that may own it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.pool) || !has(self.addresses)",message="pool excludes addresses: set one of the two"
type EgressGateway struct {
	// NodeSelector selects the nodes that may own the address.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Addresses that the traffic leaves with. Absent, with pool too: the gateway node's own address.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self)",message="is not an IPv4 or IPv6 address, as 10.132.2.254 or 2001:db8::1"
	// +kubebuilder:validation:items:XValidation:rule="!isIP(self) || ip(self).isGlobalUnicast()",message="is not an address that others could answer to"
	// +listType=set
	// +optional
	Addresses []string `json:"addresses,omitempty"`
	// Pool is the AddressPool that an address is taken from. Excludes addresses.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Pool string `json:"pool,omitempty"`
	// Fallback when no gateway is alive: Drop, Node or Pod. Default Drop.
	// +kubebuilder:validation:Enum=Drop;Node;Pod
	// +kubebuilder:default=Drop
	// +optional
	Fallback string `json:"fallback,omitempty"`
	// BFD between nodes and gateways, which tells a node when to go to another gateway. Default 300ms, 3.
	// +optional
	BFD *BFD `json:"bfd,omitempty"`
}

// FallbackDrop is the fallback of an EgressGateway that lets nothing out; the others are SourceNode and SourcePod.
const FallbackDrop = "Drop"

// EgressAddress is an address that a policy's traffic leaves with, and who owns it. Policies that share it say the same.
type EgressAddress struct {
	// Address; empty: the one that the gateway node has.
	// +optional
	Address string `json:"address,omitempty"`
	// VNI of the tunnels to the address's gateways (RFC 7348). It names the address.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16777215
	VNI int32 `json:"vni"`
	// Term grows by one with each change of the first gateway. Nodes that have chosen another gateway meanwhile go by the
	// list anew.
	// +kubebuilder:validation:Minimum=1
	Term int64 `json:"term"`
	// Gateways that may own the address. The first that is alive owns it; nodes see by BFD which are. None: the fallback of
	// the policy is in force.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Gateways []EgressOwner `json:"gateways,omitempty"`
}

// EgressOwner is a node that may own an egress address.
type EgressOwner struct {
	Node string `json:"node"`
	// Address of the node, where its end of the tunnel is.
	Address string `json:"address"`
	// Leaving: connections that it has stay with it, new ones go to another.
	// +optional
	Leaving bool `json:"leaving,omitempty"`
}

// EgressPolicyStatus is what the nodes report of the policy.
type EgressPolicyStatus struct {
	ObjectStatus `json:",inline"`
	// Nodes is how many nodes have this generation in force.
	// +optional
	Nodes int32 `json:"nodes"`
	// Gateway names the nodes that own the policy's addresses.
	// +optional
	Gateway string `json:"gateway,omitempty"`
	// Addresses that the traffic leaves with, with source: Gateway.
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Addresses []EgressAddress `json:"addresses,omitempty"`
}

// AddressPool is a set of addresses to hand out.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=waymark
// +kubebuilder:printcolumn:name="Use",type=string,JSONPath=`.spec.use`
// +kubebuilder:printcolumn:name="CIDRs",type=string,JSONPath=`.spec.cidrs`
// +kubebuilder:printcolumn:name="Valid",type=string,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AddressPool struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              AddressPoolSpec `json:"spec"`
	// +optional
	Status ObjectStatus `json:"status,omitzero"`
}

// AddressPoolList is a list.
//
// +kubebuilder:object:root=true
type AddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AddressPool `json:"items"`
}

// AddressPoolSpec is the desired state.
type AddressPoolSpec struct {
	// CIDRs of the pool. They do not overlap.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32"
	CIDRs []string `json:"cidrs"`
	// Use of the addresses: Egress or LoadBalancer. It does not change.
	// +kubebuilder:validation:Enum=Egress;LoadBalancer
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot change, addresses may be in use: make another pool"
	Use string `json:"use"`
}

// The uses of an AddressPool.
const (
	UseEgress       = "Egress"
	UseLoadBalancer = "LoadBalancer"
)

// DatacenterNetwork declares what the datacenter already uses: nothing of ours may overlap it. There is one, named "default".
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=dcnet,categories=waymark
// +kubebuilder:printcolumn:name="CIDRs",type=string,JSONPath=`.spec.cidrs`
// +kubebuilder:printcolumn:name="Valid",type=string,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="there is only one object of this kind, and its name is \"default\""
type DatacenterNetwork struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              DatacenterNetworkSpec `json:"spec"`
	// +optional
	Status ObjectStatus `json:"status,omitzero"`
}

// DatacenterNetworkList is a list.
//
// +kubebuilder:object:root=true
type DatacenterNetworkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DatacenterNetwork `json:"items"`
}

// DatacenterNetworkSpec is the desired state.
type DatacenterNetworkSpec struct {
	// CIDRs that the datacenter uses.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32"
	// +kubebuilder:validation:items:XValidation:rule="!isCIDR(self) || cidr(self).prefixLength() > 0",message="is everything: no pod could have an address"
	CIDRs []string `json:"cidrs"`
	// ClusterCIDRs are the cluster's own pod and service ranges: "outside the cluster" is what lies in none of them.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32"
	// +optional
	ClusterCIDRs []string `json:"clusterCIDRs,omitempty"`
	// Gateways without BGP that need static routes.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=name
	// +optional
	Gateways []Gateway `json:"gateways,omitempty"`
}

// Gateway is a router without BGP that needs static routes.
type Gateway struct {
	// Name of the router.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Address of the router.
	// +kubebuilder:validation:MaxLength=39
	// +kubebuilder:validation:XValidation:rule="isIP(self)",message="is not an IPv4 or IPv6 address, as 10.132.2.254 or 2001:db8::1"
	Address string `json:"address"`
	// Dialect of its configuration.
	// +kubebuilder:validation:Enum=cisco-ios;cisco-iosxr;cisco-nxos;arista-eos;huawei-vrp;h3c-comware;juniper-junos;mikrotik;vyos;frr;bird;linux;openbsd;json;csv
	Dialect string `json:"dialect"`
	// NodeSubnets are the networks of the nodes that it reaches.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32"
	NodeSubnets []string `json:"nodeSubnets"`
}
