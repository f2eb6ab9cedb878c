package controller

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// The metrics are the leader's: a standby shows none of them, or zero.
var (
	nodesByState = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "waymark_nodes",
		Help: "Nodes by what they do: open and announcing, gated, draining, drained, silent (no agent has reported).",
	}, []string{"state"})
	roleReady = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "waymark_noderole_ready",
		Help: "Nodes with the role's label that are Ready and do not drain.",
	}, []string{"role"})
	staticRoutes = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "waymark_static_routes",
		Help: "Static routes of a StaticRouteExport: wanted, missing (PodCIDRs without one), differing (at the router), right, wrong, silent (by probes).",
	}, []string{"export", "gateway", "state"})
	registryProviders = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "waymark_registry_providers",
		Help: "Providers of a RegistryCheck's registry by the class of their address, and whether they are reached.",
	}, []string{"check", "class", "reachable"})
	registryConnections = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "waymark_registry_connections",
		Help: "Connections of an address that has 80 % of those that a server of a registry allows it, or more.",
	}, []string{"check", "server", "address"})
	registryConnectionLimit = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "waymark_registry_connection_limit",
		Help: "Connections that a server of a registry allows one address; absent: there is no limit, or it is not known.",
	}, []string{"check", "server"})
	registryMasquerading = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "waymark_registry_masquerading_nodes",
		Help: "Nodes whose pods a registry sees with the node's address.",
	}, []string{"check"})
	registryLastSuccess = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "waymark_registry_check_last_success_timestamp_seconds",
		Help: "When the last run of a RegistryCheck ended that could read all of the registry.",
	}, []string{"check"})
	podCIDRConflicts = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "waymark_podcidr_conflicts",
		Help: "PodCIDRs that are refused because somebody else has them.",
	})
)

func init() {
	metrics.Registry.MustRegister(nodesByState, roleReady, podCIDRConflicts, staticRoutes,
		registryProviders, registryConnections, registryConnectionLimit, registryMasquerading, registryLastSuccess)
}
