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
	podCIDRConflicts = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "waymark_podcidr_conflicts",
		Help: "PodCIDRs that are refused because somebody else has them.",
	})
)

func init() { metrics.Registry.MustRegister(nodesByState, roleReady, podCIDRConflicts, staticRoutes) }
