package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// StaticRouteExport keeps the static routes of a gateway without BGP ready: in a ConfigMap the commands that its router needs, and
// in the status whether the router has them and whether packets go the way they say. The controller enters nothing anywhere.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=sre,categories=waymark
// +kubebuilder:printcolumn:name="Gateway",type=string,JSONPath=`.spec.gateway`
// +kubebuilder:printcolumn:name="Format",type=string,JSONPath=`.status.format`
// +kubebuilder:printcolumn:name="Routes",type=integer,JSONPath=`.status.routes`
// +kubebuilder:printcolumn:name="Missing",type=integer,JSONPath=`.status.missingCount`,description="PodCIDRs without a route, and other gaps"
// +kubebuilder:printcolumn:name="In Step",type=string,JSONPath=`.status.conditions[?(@.type=="InStep")].status`
// +kubebuilder:printcolumn:name="Reachable",type=string,JSONPath=`.status.conditions[?(@.type=="Reachable")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 200",message="the name is longer than 200 characters, which leaves none for that of the ConfigMap"
type StaticRouteExport struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              StaticRouteExportSpec `json:"spec"`
	// +optional
	Status StaticRouteExportStatus `json:"status,omitzero"`
}

// StaticRouteExportList is a list.
//
// +kubebuilder:object:root=true
type StaticRouteExportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StaticRouteExport `json:"items"`
}

// StaticRouteExportSpec is the desired state.
//
// +kubebuilder:validation:XValidation:rule="!has(self.track) || !has(self.bfd) || !self.bfd",message="routes depend on bfd or on a track object, not on both"
type StaticRouteExportSpec struct {
	// Gateway is the name of one of the DatacenterNetwork's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Gateway string `json:"gateway"`
	// Format of the commands. Default: the dialect of the gateway.
	// +kubebuilder:validation:Enum=cisco-ios;cisco-iosxr;cisco-nxos;arista-eos;huawei-vrp;h3c-comware;juniper-junos;mikrotik;vyos;frr;bird;linux;openbsd;json;csv
	// +optional
	Format string `json:"format,omitempty"`
	// VRF of the routes; in linux and openbsd the number of a routing table, linux takes both.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$`
	// +optional
	VRF string `json:"vrf,omitempty"`
	// NamePrefix goes before the node's name in the name of a route.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`
	// +optional
	NamePrefix string `json:"namePrefix,omitempty"`
	// Preference, distance or metric. Default: the router's.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	Preference *int64 `json:"preference,omitempty"`
	// Tag of the routes, for bird that of OSPF.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967295
	// +optional
	Tag *int64 `json:"tag,omitempty"`
	// BFD: routes go when BFD finds the node dead.
	// +optional
	BFD bool `json:"bfd,omitempty"`
	// Track is the number of a track object of the router that the routes depend on.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Track *int32 `json:"track,omitempty"`
	// Aggregate merges prefixes of a node into one where no packet goes another way for it.
	// +optional
	Aggregate bool `json:"aggregate,omitempty"`
	// Running is where the network's admins, or a job of theirs, put what the router shows as its configuration. Absent: the
	// router is not compared.
	// +optional
	Running *RunningText `json:"running,omitempty"`
	// Probe sends packets to an address of each pod subnet, from the node of the controller, and hears who is on the way.
	// +optional
	Probe bool `json:"probe,omitempty"`
	// Interval of the probes, a tenth more or less. Default 10m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('60s') && duration(self) <= duration('86400s')",message="must be 60s..86400s"
	// +kubebuilder:default="10m"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
}

// RunningText is a key of a ConfigMap in the controller's namespace.
type RunningText struct {
	// ConfigMap is its name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ConfigMap string `json:"configMap"`
	// Key of the text. Default: running.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:default=running
	// +optional
	Key string `json:"key,omitempty"`
}

// RunningKey is the default of RunningText.Key.
const RunningKey = "running"

// The conditions of a StaticRouteExport besides Valid.
const (
	ConditionExported  = "Exported"  // the commands in the ConfigMap are those that the router needs
	ConditionInStep    = "InStep"    // the router has the routes, by the text at spec.running
	ConditionReachable = "Reachable" // packets to the pod subnets go through the gateway and the right nodes
)

// StaticRouteExportStatus is what has become of it.
type StaticRouteExportStatus struct {
	ObjectStatus `json:",inline"`
	// ConfigMap that has the commands, in the controller's namespace.
	// +optional
	ConfigMap string `json:"configMap,omitempty"`
	// Format of the commands.
	// +optional
	Format string `json:"format,omitempty"`
	// Routes is how many the gateway is to have.
	// +optional
	Routes int32 `json:"routes"`
	// MissingCount is how many PodCIDRs have no route, nodes no PodCIDR, and gateways no node.
	// +optional
	MissingCount int32 `json:"missingCount"`
	// Missing are those and why, at most 50.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Missing []string `json:"missing,omitempty"`
	// Difference between what the router has and what it is to have, if spec.running says what it has.
	// +optional
	Difference *RouteDifference `json:"difference,omitempty"`
	// Probe is what the last probes found.
	// +optional
	Probe *ProbeReport `json:"probe,omitempty"`
}

// RouteDifference counts what keeps a router from being in step, as waymark routes diff does.
type RouteDifference struct {
	// Right is how many routes are as wanted.
	Right int32 `json:"right"`
	// Missing routes.
	Missing int32 `json:"missing"`
	// NearMiss: a missing route, and one like it that is probably a slip.
	NearMiss int32 `json:"nearMiss"`
	// Wrong next hops and options.
	Wrong int32 `json:"wrong"`
	// Overlap: routes that cover wanted prefixes, or take a part of one.
	Overlap int32 `json:"overlap"`
	// Remove: routes inside the cluster's ranges for no node.
	Remove int32 `json:"remove"`
	// Unread lines that look like static routes.
	Unread int32 `json:"unread"`
	// Foreign routes, which are nobody's business here.
	Foreign int32 `json:"foreign"`
	// Lines are the first 50 of key diff of the ConfigMap.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Lines []string `json:"lines,omitempty"`
}

// ProbeReport is what the probes of a gateway's subnets found.
type ProbeReport struct {
	// Time when they ended.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	Time metav1.Time `json:"time"`
	// Right: packets come to the node.
	Right int32 `json:"right"`
	// Wrong: another node or gateway is on the way, a loop, a router that knows no way or refuses the packet.
	Wrong int32 `json:"wrong"`
	// Silent: nobody says where packets go.
	Silent int32 `json:"silent"`
	// Aside: from where the controller is, packets do not pass the gateway. The subnet of its own node does not count.
	Aside int32 `json:"aside"`
	// Findings that are not right, at most 50, the wrong ones first.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Findings []ProbeFinding `json:"findings,omitempty"`
}

// ProbeFinding is the verdict on one pod subnet.
type ProbeFinding struct {
	Prefix string `json:"prefix"`
	Node   string `json:"node"`
	// Verdict is one of those of waymark routes verify.
	Verdict string `json:"verdict"`
	// +optional
	Reason string `json:"reason,omitempty"`
}
