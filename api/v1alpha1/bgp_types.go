package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BGPConfiguration is how every node speaks BGP. There is one, named "default".
type BGPConfiguration struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              BGPConfigurationSpec `json:"spec"`
}

// BGPConfigurationSpec is the desired state.
type BGPConfigurationSpec struct {
	// ASN of the nodes, 1..4294967295; Node annotation waymark.io/asn overrides it.
	ASN int64 `json:"asn"`
	// ListenPort for peers that connect to us; 0: do not listen. Default 179.
	ListenPort      *int32          `json:"listenPort,omitempty"`
	GracefulRestart GracefulRestart `json:"gracefulRestart,omitzero"`
	Advertise       Advertise       `json:"advertise,omitzero"`
	Learn           Learn           `json:"learn,omitzero"`
}

// GracefulRestart is RFC 4724.
type GracefulRestart struct {
	Enabled *bool `json:"enabled,omitempty"` // default true
	// RestartTime that peers wait for us, whole seconds up to 4095 s. Default 120s.
	RestartTime *metav1.Duration `json:"restartTime,omitempty"`
}

// Advertise is what a node announces.
type Advertise struct {
	PodCIDRs        *bool    `json:"podCIDRs,omitempty"`        // default true
	EgressAddresses *bool    `json:"egressAddresses,omitempty"` // default true
	Communities     []string `json:"communities,omitempty"`     // "64512:100", on everything announced
}

// Learn is what a node takes from its peers into the kernel.
type Learn struct {
	// Accept lists the prefixes to learn; what none matches is refused. Absent: nothing is learned.
	Accept []LearnRule `json:"accept,omitempty"`
	Metric *int32      `json:"metric,omitempty"` // of the kernel routes; default 200
	Table  *int32      `json:"table,omitempty"`  // kernel table; default 254, main
}

// LearnRule matches prefixes as a router's prefix list does. Without lengths only the prefix itself matches; with only
// minLength everything inside from that length on; with only maxLength everything inside up to that length.
type LearnRule struct {
	Prefix    string `json:"prefix"`
	MinLength *int32 `json:"minLength,omitempty"`
	MaxLength *int32 `json:"maxLength,omitempty"`
}

// FilterRule is a LearnRule with a verdict. The first rule that matches decides.
type FilterRule struct {
	Prefix    string `json:"prefix"`
	MinLength *int32 `json:"minLength,omitempty"`
	MaxLength *int32 `json:"maxLength,omitempty"`
	Action    string `json:"action"` // Accept | Reject
}

// BGPPeer is a neighbour of the nodes that it selects.
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              BGPPeerSpec `json:"spec"`
}

// BGPPeerSpec is the desired state.
type BGPPeerSpec struct {
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"` // absent: every node
	// Address of the peer. Exactly one of Address and FromNodeAnnotation.
	Address string `json:"address,omitempty"`
	// FromNodeAnnotation names a Node annotation whose value is the peer's address. Nodes without it have no such peer.
	FromNodeAnnotation string           `json:"fromNodeAnnotation,omitempty"`
	ASN                int64            `json:"asn"`            // equal to the node's: iBGP
	Port               *int32           `json:"port,omitempty"` // default 179
	PasswordSecret     *SecretKey       `json:"passwordSecret,omitempty"`
	Multihop           *Multihop        `json:"multihop,omitempty"`    // excludes ttlSecurity
	TTLSecurity        *TTLSecurity     `json:"ttlSecurity,omitempty"` // RFC 5082
	Timers             Timers           `json:"timers,omitzero"`
	BFD                *BFD             `json:"bfd,omitempty"`      // absent: no BFD
	Families           []string         `json:"families,omitempty"` // ipv4, ipv6; default: both
	Import             []FilterRule     `json:"import,omitempty"`   // what no rule matches goes on to spec.learn.accept
	Export             []FilterRule     `json:"export,omitempty"`   // what no rule matches is announced
	MaxPrefixes        *int64           `json:"maxPrefixes,omitempty"`
	AllowOwnAS         *int32           `json:"allowOwnAS,omitempty"` // 0..10
	Passive            bool             `json:"passive,omitempty"`
	Attributes         ExportAttributes `json:"attributes,omitzero"`
}

// SecretKey is one entry of a Secret.
type SecretKey struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Key       string `json:"key"`
}

// Multihop allows an eBGP peer that is not on a connected network.
type Multihop struct {
	TTL int32 `json:"ttl"` // 2..255
}

// TTLSecurity refuses packets from farther away, RFC 5082.
type TTLSecurity struct {
	Hops int32 `json:"hops"` // 1..254
}

// Timers of a session, RFC 4271 section 10. Defaults: 90s, a third of hold, 2s.
type Timers struct {
	Hold         *metav1.Duration `json:"hold,omitempty"`
	Keepalive    *metav1.Duration `json:"keepalive,omitempty"`
	ConnectRetry *metav1.Duration `json:"connectRetry,omitempty"`
}

// BFD watches the path to the peer, RFC 5880. Defaults: 300ms, 3.
type BFD struct {
	Interval   *metav1.Duration `json:"interval,omitempty"`
	Multiplier *int32           `json:"multiplier,omitempty"`
}

// ExportAttributes are set on everything announced to a peer.
type ExportAttributes struct {
	MED              *int64   `json:"med,omitempty"`
	LocalPreference  *int64   `json:"localPreference,omitempty"` // iBGP only
	Prepend          *int32   `json:"prepend,omitempty"`         // 0..10
	Communities      []string `json:"communities,omitempty"`
	LargeCommunities []string `json:"largeCommunities,omitempty"`
}
