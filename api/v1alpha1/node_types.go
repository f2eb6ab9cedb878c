package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReportInterval is the longest time between two reports of an agent that is alive and can reach the API server.
const ReportInterval = 5 * time.Minute

// NodeRoutingState is one node's side of the routing, and has the node's name. The controller makes it and writes the spec,
// what a node cannot know by itself; the node's agent writes the status.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nrs,categories=waymark
// +kubebuilder:printcolumn:name="ASN",type=integer,JSONPath=`.status.asn`
// +kubebuilder:printcolumn:name="Up",type=integer,JSONPath=`.status.established`
// +kubebuilder:printcolumn:name="Sessions",type=integer,JSONPath=`.status.wanted`
// +kubebuilder:printcolumn:name="Announced",type=integer,JSONPath=`.status.announcedCount`
// +kubebuilder:printcolumn:name="Learned",type=integer,JSONPath=`.status.learnedCount`
// +kubebuilder:printcolumn:name="Gate",type=string,JSONPath=`.status.gate.reason`,description="Open, or why the node announces nothing new"
// +kubebuilder:printcolumn:name="Drain",type=string,JSONPath=`.status.drain.phase`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.gate.message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeRoutingState struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// +optional
	Spec NodeRoutingStateSpec `json:"spec,omitzero"`
	// +optional
	Status NodeRoutingStateStatus `json:"status,omitzero"`
}

// NodeRoutingStateList is a list.
//
// +kubebuilder:object:root=true
type NodeRoutingStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeRoutingState `json:"items"`
}

// NodeRoutingStateSpec is what the controller tells the node.
type NodeRoutingStateSpec struct {
	// PodCIDRs of the node as the controller has judged them. A prefix that is not among them has not been judged yet, and
	// the node does not begin to announce it.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	PodCIDRs []PrefixVerdict `json:"podCIDRs,omitempty"`
	// TunnelPeers are the addresses of the cluster's nodes as prefixes that hold nothing else, if this node may own an egress
	// address: nobody else may send into its tunnels.
	// +kubebuilder:validation:MaxItems=20000
	// +optional
	TunnelPeers []string `json:"tunnelPeers,omitempty"`
	// Sights that RegistryChecks ask for from inside pods of the node.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Sights []SightRequest `json:"sights,omitempty"`
}

// PrefixVerdict says whether a prefix belongs to the node.
type PrefixVerdict struct {
	// Prefix that is judged, as the Node has it.
	Prefix string `json:"prefix"`
	// Conflict with another owner, in words; empty: there is none, the node may announce the prefix.
	// +optional
	Conflict string `json:"conflict,omitempty"`
}

// The times of a status have patterns: the API server takes more forms of a time than clients read, and one that the
// controller cannot read would keep it from reading the states of all nodes.

// NodeRoutingStateStatus is what the node's agent reports.
type NodeRoutingStateStatus struct {
	// Version of the agent.
	// +optional
	Version string `json:"version,omitempty"`
	// ASN of the node.
	// +optional
	ASN int64 `json:"asn,omitempty"`
	// RouterID of the node.
	// +optional
	RouterID string `json:"routerID,omitempty"`
	// Sessions with the peers.
	// +listType=map
	// +listMapKey=peer
	// +optional
	Sessions []SessionStatus `json:"sessions,omitempty"`
	// Wanted is how many sessions there should be.
	// +optional
	Wanted int32 `json:"wanted"`
	// Established is how many there are.
	// +optional
	Established int32 `json:"established"`
	// Announced prefixes.
	// +optional
	Announced []string `json:"announced,omitempty"`
	// AnnouncedCount is the number of announced prefixes.
	// +optional
	AnnouncedCount int32 `json:"announcedCount"`
	// LearnedCount is the number of learned prefixes in the kernel.
	// +optional
	LearnedCount int32 `json:"learnedCount"`
	// NATBackend that is in use: nftables, iptables-nft or iptables-legacy.
	// +optional
	NATBackend string `json:"natBackend,omitempty"`
	// Policies in force.
	// +listType=map
	// +listMapKey=name
	// +optional
	Policies []PolicyStatus `json:"policies,omitempty"`
	// Gate of announcements: nothing new is announced while it is closed.
	// +optional
	Gate GateStatus `json:"gate,omitzero"`
	// Drain of the node, while it has label or taint waymark.io/drain.
	// +optional
	Drain *DrainStatus `json:"drain,omitempty"`
	// Egress addresses that the node uses or may own.
	// +listType=map
	// +listMapKey=vni
	// +optional
	Egress []EgressState `json:"egress,omitempty"`
	// Repairs of what another program had changed, since the agent started, by what was mended: nat, routes, tunnels.
	// +optional
	Repairs map[string]int64 `json:"repairs,omitempty"`
	// Problems are everything that should be in force on the node and is not, at most 50.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Problems []ProblemStatus `json:"problems,omitempty"`
	// Sights of pods of the node, as registries see them, at most 200.
	// +kubebuilder:validation:MaxItems=200
	// +optional
	Sights []SightReport `json:"sights,omitempty"`
	// Reported is when the agent last wrote this.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	// +optional
	Reported metav1.Time `json:"reported,omitzero"`
}

// SessionStatus is one BGP session.
type SessionStatus struct {
	// Peer is the name of the BGPPeer.
	Peer string `json:"peer"`
	// Address of the peer.
	// +optional
	Address string `json:"address,omitempty"`
	// State of the session as in RFC 4271 section 8.2.2, or Waiting: for its Secret or a good address.
	State string `json:"state"`
	// Since when.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	// +optional
	Since metav1.Time `json:"since,omitzero"`
	// LastError in words.
	// +optional
	LastError string `json:"lastError,omitempty"`
}

// SessionWaiting is the State of a session that the node should have and cannot have yet.
const SessionWaiting = "Waiting"

// PolicyStatus is an EgressPolicy in force on a node.
type PolicyStatus struct {
	Name string `json:"name"`
	// Generation of the object that is in force.
	// +optional
	Generation int64 `json:"generation,omitempty"`
}

// EgressState is an egress address as one node sees it.
type EgressState struct {
	// Address; empty: the gateway's own.
	// +optional
	Address string `json:"address,omitempty"`
	VNI     int32  `json:"vni"`
	// Term of the list of gateways that the node goes by.
	Term int64 `json:"term"`
	// Owner is the gateway that the node sends new connections to; empty: none is alive. The owner itself says its own name.
	// +optional
	Owner string `json:"owner,omitempty"`
	// Uses: pods of the node use the address.
	// +optional
	Uses bool `json:"uses,omitempty"`
	// Dead are the gateways of the list that do not answer the node.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	Dead []string `json:"dead,omitempty"`
	// Failovers that the node has made since its boot.
	// +optional
	Failovers int64 `json:"failovers,omitempty"`
	// LastFailover is when the last of them was, as far as this run of the agent knows.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	// +optional
	LastFailover metav1.Time `json:"lastFailover,omitzero"`
	// LastOutage is for how many milliseconds new connections were lost then.
	// +optional
	LastOutage int64 `json:"lastOutage,omitempty"`
}

// GateStatus says whether the node may announce.
type GateStatus struct {
	Open bool `json:"open"`
	// Reason is one word: Open, or why not.
	// +optional
	Reason string `json:"reason,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
}

// DrainStatus says how far a drain is.
type DrainStatus struct {
	// Phase: Draining, the peers have been told and traffic moves; Drained, nothing is announced any more.
	// +kubebuilder:validation:Enum=Draining;Drained
	Phase string `json:"phase"`
	// Since when the node drains.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	// +optional
	Since metav1.Time `json:"since,omitzero"`
	// Message says what is waited for, or why it ended.
	// +optional
	Message string `json:"message,omitempty"`
}

// The phases of a drain.
const (
	Draining = "Draining"
	Drained  = "Drained"
)

// ProblemStatus is an object that is not in force on the node, or not all of it.
type ProblemStatus struct {
	// Object, as BGPPeer/rr1.
	// +optional
	Object string `json:"object,omitempty"`
	// Reason is one word.
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// NodeRole keeps a label on nodes: on those that serve, taken from the candidates. It removes the label from a node that is
// not Ready or drains, when a standby has taken it over, and only where it had set it itself.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=waymark
// +kubebuilder:printcolumn:name="Label",type=string,JSONPath=`.spec.label.key`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.spec.nodes`
// +kubebuilder:printcolumn:name="Labelled",type=integer,JSONPath=`.status.labelled`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Candidates",type=integer,JSONPath=`.status.candidates`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeRole struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              NodeRoleSpec `json:"spec"`
	// +optional
	Status NodeRoleStatus `json:"status,omitzero"`
}

// NodeRoleList is a list.
//
// +kubebuilder:object:root=true
type NodeRoleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeRole `json:"items"`
}

// NodeRoleSpec is the desired state.
//
// +kubebuilder:validation:XValidation:rule="!has(self.nodes) || self.minReady <= self.nodes",message="minReady is more than nodes"
type NodeRoleSpec struct {
	// Label that nodes of the role bear. It does not change.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot change, nodes may bear it: make another NodeRole"
	Label RoleLabel `json:"label"`
	// NodeSelector selects the candidates.
	NodeSelector metav1.LabelSelector `json:"nodeSelector"`
	// Nodes is how many bear the label; the other candidates stand by. Absent: all candidates that are Ready.
	// +kubebuilder:validation:Minimum=1
	// +optional
	Nodes *int32 `json:"nodes,omitempty"`
	// MinReady is how many nodes keep the label whatever becomes of them. Default 1.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:default=1
	// +optional
	MinReady *int32 `json:"minReady,omitempty"`
}

// RoleLabel is a label of Node objects.
type RoleLabel struct {
	// Key, as cluster.k8s/egress.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	Key string `json:"key"`
	// Value. Default: enabled.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:default=enabled
	// +optional
	Value string `json:"value,omitempty"`
}

// NodeRoleStatus is what has become of it.
type NodeRoleStatus struct {
	ObjectStatus `json:",inline"`
	// Labelled is how many nodes bear the label.
	// +optional
	Labelled int32 `json:"labelled"`
	// Ready is how many of those are Ready and do not drain.
	// +optional
	Ready int32 `json:"ready"`
	// Candidates is how many nodes are selected.
	// +optional
	Candidates int32 `json:"candidates"`
	// Nodes that bear the label, at most 50.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Nodes []string `json:"nodes,omitempty"`
}
