package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RegistryCheck asks a registry of services again and again: are the providers that it has reached, and does it see the pods that
// are connected to it by their own addresses? The controller asks and dials, and writes nothing to the registry.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=rck,categories=waymark
// +kubebuilder:printcolumn:name="Reachable",type=string,JSONPath=`.status.conditions[?(@.type=="Reachable")].status`,description="all providers are reached"
// +kubebuilder:printcolumn:name="Pods Seen",type=string,JSONPath=`.status.conditions[?(@.type=="PodsSeen")].status`,description="the registry sees pods by their own addresses"
// +kubebuilder:printcolumn:name="Limit Near",type=string,JSONPath=`.status.conditions[?(@.type=="LimitNear")].status`
// +kubebuilder:printcolumn:name="Findings",type=integer,JSONPath=`.status.findingCount`
// +kubebuilder:printcolumn:name="Last Run",type=date,JSONPath=`.status.lastRun`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="the name is longer than 63 characters"
type RegistryCheck struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	Spec              RegistryCheckSpec `json:"spec"`
	// +optional
	Status RegistryCheckStatus `json:"status,omitzero"`
}

// RegistryCheckList is a list.
//
// +kubebuilder:object:root=true
type RegistryCheckList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RegistryCheck `json:"items"`
}

// RegistryCheckSpec is the desired state.
//
// +kubebuilder:validation:XValidation:rule="!has(self.fromPods) || has(self.registry.zookeeper)",message="fromPods goes with registry.zookeeper only: Nacos does not say as whom it sees a client"
// +kubebuilder:validation:XValidation:rule="!has(self.egressPolicy) || has(self.registry.zookeeper)",message="egressPolicy goes with registry.zookeeper only: Nacos does not say as whom it sees a client"
type RegistryCheckSpec struct {
	// Registry that is asked.
	Registry Registry `json:"registry"`
	// Interval between two runs, a tenth more or less. Default 5m.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('30s') && duration(self) <= duration('86400s')",message="must be 30s..86400s"
	// +kubebuilder:default="5m"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Dials is how many providers are dialled at a time. Default 50.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=200
	// +kubebuilder:default=50
	// +optional
	Dials *int32 `json:"dials,omitempty"`
	// Timeout of each connection and answer. Default 3s.
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('30s')",message="must be 100ms..30s"
	// +kubebuilder:default="3s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Protocols of the providers that are looked at, as dubbo and tri. Absent: all.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:Pattern=`^[a-z][a-z0-9+.-]{0,31}$`
	// +listType=set
	// +optional
	Protocols []string `json:"protocols,omitempty"`
	// FromPods selects pods from inside which the agents of their nodes connect to the registry, to hear with which address it
	// sees them; of each entry with a selector at most one on each node, of all together at most 50.
	// +kubebuilder:validation:MaxItems=16
	// +optional
	FromPods []FromPod `json:"fromPods,omitempty"`
	// EgressPolicy with source: Pod that this check proves: its status has the condition Proven.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	EgressPolicy string `json:"egressPolicy,omitempty"`
}

// Registry is one of the kinds of registries.
//
// +kubebuilder:validation:XValidation:rule="has(self.zookeeper) != has(self.nacos)",message="set one of zookeeper and nacos"
type Registry struct {
	// +optional
	ZooKeeper *ZooKeeperRegistry `json:"zookeeper,omitempty"`
	// +optional
	Nacos *NacosRegistry `json:"nacos,omitempty"`
}

// ZooKeeperRegistry is an ensemble of ZooKeeper. As whom it sees its clients is asked by four-letter words, or at its AdminServer.
type ZooKeeperRegistry struct {
	RegistryServers `json:",inline"`
	// Chroot of all that is registered, as /prod.
	// +kubebuilder:validation:Pattern=`^(/[^/\s?#]+)+$`
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Chroot string `json:"chroot,omitempty"`
	// Root of interfaces, which Dubbo calls group. Default: dubbo.
	// +kubebuilder:validation:Pattern=`^[^/\s?#]+(/[^/\s?#]+)*$`
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Root string `json:"root,omitempty"`
	// AdminPort of the servers. Default 8080.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	AdminPort *int32 `json:"adminPort,omitempty"`
}

// NacosRegistry is a cluster of Nacos 2.
type NacosRegistry struct {
	RegistryServers `json:",inline"`
	// Namespace is its ID. Default: public.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// Group of the services. Default: DEFAULT_GROUP.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`
	// +optional
	Group string `json:"group,omitempty"`
}

// RegistryServers are the servers of a registry, and how one is let in.
type RegistryServers struct {
	// Servers as HOST:PORT, of IPv6 [ADDRESS]:PORT.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=261
	// +kubebuilder:validation:items:Pattern=`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}$`
	// +listType=set
	Servers []string `json:"servers"`
	// TLS is spoken with the servers. Absent: it is not.
	// +optional
	TLS *RegistryTLS `json:"tls,omitempty"`
	// AuthSecret has USER:PASSWORD, which goes to the servers, without TLS for all on the way to read.
	// +optional
	AuthSecret *SecretKey `json:"authSecret,omitempty"`
}

// RegistryTLS says whom to trust.
type RegistryTLS struct {
	// Secret with ca.crt, which the servers' certificates are signed with, and tls.crt and tls.key, our own certificate; each may be
	// missing. Absent: the certificates that the host trusts.
	// +optional
	Secret *SecretName `json:"secret,omitempty"`
	// ServerName in the servers' certificates. Default: the host that is connected to.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServerName string `json:"serverName,omitempty"`
}

// SecretName is a Secret.
type SecretName struct {
	// Namespace of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// FromPod selects pods of one namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.name) != has(self.selector)",message="set one of name and selector"
type FromPod struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// Name of one pod.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Name string `json:"name,omitempty"`
	// Selector of pods by their labels.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// The conditions of a RegistryCheck besides Valid, and that of the EgressPolicy that it names.
const (
	ConditionPodsSeen  = "PodsSeen"  // the registry sees pods by their own addresses, and no node in place of its pods
	ConditionLimitNear = "LimitNear" // an address has 80 % of the connections that it may have, or more
	ConditionProven    = "Proven"    // of an EgressPolicy: a registry has seen pod addresses
)

// RegistryCheckStatus is what the last run has found.
type RegistryCheckStatus struct {
	ObjectStatus `json:",inline"`
	// LastRun is when the last run ended.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	// +optional
	LastRun metav1.Time `json:"lastRun,omitzero"`
	// LastSuccess is when the last run ended that could read all of the registry.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	// +optional
	LastSuccess metav1.Time `json:"lastSuccess,omitzero"`
	// Providers by class of their address.
	// +listType=map
	// +listMapKey=class
	// +optional
	Providers []ProviderCount `json:"providers,omitempty"`
	// FindingCount is how many findings there are.
	// +optional
	FindingCount int32 `json:"findingCount"`
	// Findings are the worst of them, at most 50.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Findings []RegistryFinding `json:"findings,omitempty"`
	// Connections of the addresses that are nearest to the limit, at most 20.
	// +kubebuilder:validation:MaxItems=20
	// +optional
	Connections []RegistryConnections `json:"connections,omitempty"`
	// Masquerading are the nodes whose pods the registry sees with the node's address, at most 50.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	Masquerading []string `json:"masquerading,omitempty"`
	// FromPods is as whom the registry sees pods, by the agents of their nodes, at most 50.
	// +kubebuilder:validation:MaxItems=50
	// +optional
	FromPods []PodSight `json:"fromPods,omitempty"`
}

// ProviderCount is how many providers have an address of a class.
type ProviderCount struct {
	// Class as waymark check dubbo has it: Pod, Node, Service, ContainerBridge, ...
	Class     string `json:"class"`
	Addresses int32  `json:"addresses"`
	// Reachable providers: reached from the controller's node, by the protocol that they have registered, and announced if the
	// address is that of a pod.
	Reachable   int32 `json:"reachable"`
	Unreachable int32 `json:"unreachable"`
}

// RegistryFinding is one thing that is wrong.
type RegistryFinding struct {
	// Reason is one word, as waymark check dubbo and waymark check zookeeper have it.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Address that it is about, as HOST:PORT.
	// +optional
	Address string `json:"address,omitempty"`
	// Providers at the address.
	// +optional
	Providers int32 `json:"providers,omitempty"`
}

// RegistryConnections are those of one client address at one server.
type RegistryConnections struct {
	Server  string `json:"server"`
	Address string `json:"address"`
	// Who has the address, in words.
	Who         string `json:"who"`
	Connections int32  `json:"connections"`
	// Limit of the connections of one address; 0: there is none, -1: not known.
	Limit int32 `json:"limit"`
}

// PodSight is as whom a server sees a pod.
type PodSight struct {
	Node   string `json:"node"`
	Pod    string `json:"pod"`
	Server string `json:"server"`
	// Address of the pod.
	// +optional
	Address string `json:"address,omitempty"`
	// Seen is the address that the server sees; empty: that is not known.
	// +optional
	Seen string `json:"seen,omitempty"`
	// Own: the server sees the pod's own address.
	Own     bool   `json:"own"`
	Message string `json:"message"`
}

// SightRequest asks a node's agent to find out as whom the servers of a registry see a pod of the node.
type SightRequest struct {
	// Check is the name of the RegistryCheck.
	Check string `json:"check"`
	// Pod as namespace/name.
	Pod string `json:"pod"`
	// Addresses of the pod.
	// +kubebuilder:validation:MaxItems=4
	Addresses []string `json:"addresses"`
	// Servers as HOST:PORT.
	// +kubebuilder:validation:MaxItems=16
	Servers []string `json:"servers"`
	// AdminPort of the servers.
	// +optional
	AdminPort int32 `json:"adminPort,omitempty"`
	// TLS is spoken with the servers.
	// +optional
	TLS bool `json:"tls,omitempty"`
	// ServerName in the servers' certificates; empty: the host.
	// +optional
	ServerName string `json:"serverName,omitempty"`
	// CA are the certificates to trust, in PEM; empty: those that the host trusts.
	// +kubebuilder:validation:MaxLength=65536
	// +optional
	CA string `json:"ca,omitempty"`
	// Timeout of each question.
	Timeout metav1.Duration `json:"timeout"`
	// Interval between two attempts.
	Interval metav1.Duration `json:"interval"`
}

// SightReport is the answer to a SightRequest for one server.
type SightReport struct {
	Check  string `json:"check"`
	Pod    string `json:"pod"`
	Server string `json:"server"`
	// Address of the pod.
	// +optional
	Address string `json:"address,omitempty"`
	// Seen is the address that the server sees; empty: there is an error.
	// +optional
	Seen string `json:"seen,omitempty"`
	// Error says why it is not known.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Error string `json:"error,omitempty"`
	// Time of the attempt.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=date-time
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`
	Time metav1.Time `json:"time"`
}
