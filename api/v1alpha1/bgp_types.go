package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BGPConfiguration is how every node speaks BGP. There is one, named "default".
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=bgpconf,categories=waymark
// +kubebuilder:printcolumn:name="ASN",type=integer,JSONPath=`.spec.asn`
// +kubebuilder:printcolumn:name="Graceful restart",type=string,JSONPath=`.spec.gracefulRestart.restartTime`
// +kubebuilder:printcolumn:name="Valid",type=string,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="there is only one object of this kind, and its name is \"default\""
type BGPConfiguration struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              BGPConfigurationSpec `json:"spec"`
	// +optional
	Status ObjectStatus `json:"status,omitzero"`
}

// BGPConfigurationList is a list.
//
// +kubebuilder:object:root=true
type BGPConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPConfiguration `json:"items"`
}

// BGPConfigurationSpec is the desired state.
type BGPConfigurationSpec struct {
	// ASN of the nodes, 1..4294967295; Node annotation waymark.io/asn overrides it.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	ASN int64 `json:"asn"`
	// ListenPort for peers that connect to us; 0: do not listen. Default 179.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=179
	// +optional
	ListenPort *int32 `json:"listenPort,omitempty"`
	// +kubebuilder:default={}
	// +optional
	GracefulRestart GracefulRestart `json:"gracefulRestart,omitzero"`
	// +kubebuilder:default={}
	// +optional
	Advertise Advertise `json:"advertise,omitzero"`
	// +kubebuilder:default={}
	// +optional
	Learn Learn `json:"learn,omitzero"`
	// +kubebuilder:default={}
	// +optional
	Drain DrainSpec `json:"drain,omitzero"`
}

// GracefulRestart is RFC 4724: peers keep a node's routes while its agent restarts.
type GracefulRestart struct {
	// Enabled offers graceful restart to the peers. Default true.
	// +kubebuilder:default=true
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
	// RestartTime that peers wait for us, whole seconds up to 4095 s. Default 120s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('4095s') && duration(self).getMilliseconds() % 1000 == 0",message="must be 1s..4095s in whole seconds"
	// +kubebuilder:default="120s"
	// +optional
	RestartTime *metav1.Duration `json:"restartTime,omitempty"`
}

// Advertise is what a node announces.
type Advertise struct {
	// PodCIDRs of the node. Default true.
	// +kubebuilder:default=true
	// +optional
	PodCIDRs *bool `json:"podCIDRs,omitempty"`
	// EgressAddresses that the node may own. Default true.
	// +kubebuilder:default=true
	// +optional
	EgressAddresses *bool `json:"egressAddresses,omitempty"`
	// Communities on everything announced, as "64512:100" (RFC 1997).
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=11
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[0-9]{1,5}:[0-9]{1,5}$') && self.split(':').all(n, int(n) <= 65535)",message="must be 2 numbers of 0..65535 joined by colons, as \"64512:100\""
	// +optional
	Communities []string `json:"communities,omitempty"`
}

// Learn is what a node takes from its peers into the kernel.
type Learn struct {
	// Accept lists the prefixes to learn; what none matches is refused. Absent: nothing is learned.
	// +kubebuilder:validation:MaxItems=512
	// +optional
	Accept []LearnRule `json:"accept,omitempty"`
	// Metric of the kernel routes. Default 200.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:default=200
	// +optional
	Metric *int32 `json:"metric,omitempty"`
	// Table of the kernel that they go to. Default 254, main.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:XValidation:rule="self != 255",message="is the kernel's table of local addresses"
	// +kubebuilder:default=254
	// +optional
	Table *int32 `json:"table,omitempty"`
}

// DrainSpec is how a node with label or taint waymark.io/drain leaves: first it says so to its peers by the community
// GRACEFUL_SHUTDOWN (RFC 8326) and the worst preference, then it withdraws.
type DrainSpec struct {
	// Timeout after which the node withdraws though there is still traffic. 0s: withdraw at once. Default 60s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('3600s')",message="must be 0s..3600s"
	// +kubebuilder:default="60s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// LearnRule matches prefixes as a router's prefix list does. Without lengths only the prefix itself matches; with only
// minLength everything inside from that length on; with only maxLength everything inside up to that length.
//
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.prefix) || ((!has(self.minLength) || self.minLength >= cidr(self.prefix).prefixLength()) && (!has(self.maxLength) || self.maxLength >= cidr(self.prefix).prefixLength()))",message="minLength and maxLength must not be less than the length of prefix"
// +kubebuilder:validation:XValidation:rule="!has(self.minLength) || !has(self.maxLength) || self.minLength <= self.maxLength",message="maxLength is less than minLength"
type LearnRule struct {
	// Prefix to match, as 10.0.0.0/8.
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32"
	Prefix string `json:"prefix"`
	// MinLength of the prefixes that match, bits.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	// +optional
	MinLength *int32 `json:"minLength,omitempty"`
	// MaxLength of the prefixes that match, bits.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	// +optional
	MaxLength *int32 `json:"maxLength,omitempty"`
}

// FilterRule is a LearnRule with a verdict. The first rule that matches decides.
//
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.prefix) || ((!has(self.minLength) || self.minLength >= cidr(self.prefix).prefixLength()) && (!has(self.maxLength) || self.maxLength >= cidr(self.prefix).prefixLength()))",message="minLength and maxLength must not be less than the length of prefix"
// +kubebuilder:validation:XValidation:rule="!has(self.minLength) || !has(self.maxLength) || self.minLength <= self.maxLength",message="maxLength is less than minLength"
type FilterRule struct {
	// Prefix to match, as 10.0.0.0/8.
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self) == cidr(self).masked()",message="must be a prefix without host bits, as 10.132.0.0/16 or 2001:db8::/32"
	Prefix string `json:"prefix"`
	// MinLength of the prefixes that match, bits.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	// +optional
	MinLength *int32 `json:"minLength,omitempty"`
	// MaxLength of the prefixes that match, bits.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	// +optional
	MaxLength *int32 `json:"maxLength,omitempty"`
	// Action: Accept or Reject.
	// +kubebuilder:validation:Enum=Accept;Reject
	Action string `json:"action"`
}

// BGPPeer is a neighbour of the nodes that it selects.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=waymark
// +kubebuilder:printcolumn:name="ASN",type=integer,JSONPath=`.spec.asn`
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.address`
// +kubebuilder:printcolumn:name="Up",type=integer,JSONPath=`.status.established`,description="sessions that are established"
// +kubebuilder:printcolumn:name="Wanted",type=integer,JSONPath=`.status.wanted`,description="nodes that should have this session"
// +kubebuilder:printcolumn:name="Valid",type=string,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
// +kubebuilder:printcolumn:name="Last error",type=string,priority=1,JSONPath=`.status.lastError`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type BGPPeer struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              BGPPeerSpec `json:"spec"`
	// +optional
	Status BGPPeerStatus `json:"status,omitzero"`
}

// BGPPeerList is a list.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPPeer `json:"items"`
}

// BGPPeerSpec is the desired state.
//
// +kubebuilder:validation:XValidation:rule="has(self.address) != has(self.fromNodeAnnotation)",message="set exactly one of address and fromNodeAnnotation"
// +kubebuilder:validation:XValidation:rule="!has(self.multihop) || !has(self.ttlSecurity)",message="ttlSecurity excludes multihop: ttlSecurity.hops says how far away the peer may be"
type BGPPeerSpec struct {
	// NodeSelector selects the nodes that have this peer. Absent: every node.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Address of the peer. Exactly one of address and fromNodeAnnotation.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="isIP(self.split('%')[0])",message="is not an IPv4 or IPv6 address, as 10.132.2.254 or 2001:db8::1"
	// +optional
	Address string `json:"address,omitempty"`
	// FromNodeAnnotation names a Node annotation whose value is the peer's address. Nodes without it have no such peer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=316
	// +optional
	FromNodeAnnotation string `json:"fromNodeAnnotation,omitempty"`
	// ASN of the peer, 1..4294967295. Equal to the node's: iBGP.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	ASN int64 `json:"asn"`
	// Port of the peer. Default 179.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:default=179
	// +optional
	Port *int32 `json:"port,omitempty"`
	// PasswordSecret is the entry of a Secret with the key of TCP MD5 (RFC 2385).
	// +optional
	PasswordSecret *SecretKey `json:"passwordSecret,omitempty"`
	// Multihop allows a peer that is not on a connected network. Excludes ttlSecurity.
	// +optional
	Multihop *Multihop `json:"multihop,omitempty"`
	// TTLSecurity refuses packets from farther away (RFC 5082). Excludes multihop.
	// +optional
	TTLSecurity *TTLSecurity `json:"ttlSecurity,omitempty"`
	// +optional
	Timers Timers `json:"timers,omitzero"`
	// BFD watches the path to the peer. Absent: no BFD.
	// +optional
	BFD *BFD `json:"bfd,omitempty"`
	// Families that the session carries: ipv4, ipv6. Default: both.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=ipv4;ipv6
	// +optional
	Families []string `json:"families,omitempty"`
	// Import filters what the peer sends; what no rule matches goes on to spec.learn.accept of the BGPConfiguration.
	// +kubebuilder:validation:MaxItems=256
	// +optional
	Import []FilterRule `json:"import,omitempty"`
	// Export filters what is announced to the peer; what no rule matches is announced.
	// +kubebuilder:validation:MaxItems=256
	// +optional
	Export []FilterRule `json:"export,omitempty"`
	// MaxPrefixes of each family that the peer may send before the session ends; 0: no limit. Default 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	MaxPrefixes *int64 `json:"maxPrefixes,omitempty"`
	// AllowOwnAS is how often our own ASN may be in a path, 0..10. 1 is needed where all nodes share an ASN. Default 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	AllowOwnAS *int32 `json:"allowOwnAS,omitempty"`
	// Passive: wait for the peer to connect.
	// +optional
	Passive bool `json:"passive,omitempty"`
	// Attributes on everything announced to the peer.
	// +optional
	Attributes ExportAttributes `json:"attributes,omitzero"`
}

// SecretKey is one entry of a Secret.
type SecretKey struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// Multihop allows an eBGP peer that is not on a connected network.
type Multihop struct {
	// TTL of our packets, 2..255.
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=255
	TTL int32 `json:"ttl"`
}

// TTLSecurity refuses packets from farther away, RFC 5082.
type TTLSecurity struct {
	// Hops to the peer, 1..254; 1: directly connected.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=254
	Hops int32 `json:"hops"`
}

// Timers of a session, RFC 4271 section 10.
//
// +kubebuilder:validation:XValidation:rule="!has(self.keepalive) || duration(self.keepalive) < (has(self.hold) ? duration(self.hold) : duration('90s'))",message="keepalive must be less than the hold time"
type Timers struct {
	// Hold time after which a silent peer is dead. Default 90s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('3s') && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0",message="must be 3s..65535s in whole seconds"
	// +optional
	Hold *metav1.Duration `json:"hold,omitempty"`
	// Keepalive is the interval of ours. Default: a third of hold.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0",message="must be 1s..65535s in whole seconds"
	// +optional
	Keepalive *metav1.Duration `json:"keepalive,omitempty"`
	// ConnectRetry is the interval between attempts to connect. Default 2s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('65535s') && duration(self).getMilliseconds() % 1000 == 0",message="must be 1s..65535s in whole seconds"
	// +optional
	ConnectRetry *metav1.Duration `json:"connectRetry,omitempty"`
}

// BFD watches the path to the peer, RFC 5880.
type BFD struct {
	// Interval of our packets and of the peer's. Default 300ms.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('60s')",message="must be 10ms..60s"
	// +kubebuilder:default="300ms"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Multiplier: so many missing packets are a dead path. Default 3.
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=255
	// +kubebuilder:default=3
	// +optional
	Multiplier *int32 `json:"multiplier,omitempty"`
}

// ExportAttributes are set on everything announced to a peer.
type ExportAttributes struct {
	// MED, the MULTI_EXIT_DISC of RFC 4271.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	MED *int64 `json:"med,omitempty"`
	// LocalPreference, to iBGP peers only.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	LocalPreference *int64 `json:"localPreference,omitempty"`
	// Prepend our ASN so many times more, 0..10.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	Prepend *int32 `json:"prepend,omitempty"`
	// Communities, as "64512:100" (RFC 1997).
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=11
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[0-9]{1,5}:[0-9]{1,5}$') && self.split(':').all(n, int(n) <= 65535)",message="must be 2 numbers of 0..65535 joined by colons, as \"64512:100\""
	// +optional
	Communities []string `json:"communities,omitempty"`
	// LargeCommunities, as "4200000000:1:100" (RFC 8092).
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$') && self.split(':').all(n, int(n) <= 4294967295)",message="must be 3 numbers of 0..4294967295 joined by colons, as \"4200000000:1:100\""
	// +optional
	LargeCommunities []string `json:"largeCommunities,omitempty"`
}

// BGPPeerStatus is what the nodes report of their sessions with the peer.
type BGPPeerStatus struct {
	ObjectStatus `json:",inline"`
	// Wanted is on how many nodes there should be a session.
	// +optional
	Wanted int32 `json:"wanted"`
	// Established is how many sessions there are.
	// +optional
	Established int32 `json:"established"`
	// Down names nodes without their session, at most 20.
	// +kubebuilder:validation:MaxItems=20
	// +optional
	Down []string `json:"down,omitempty"`
	// LastError that a node without its session has reported.
	// +optional
	LastError string `json:"lastError,omitempty"`
}
