package telemetry

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bgp"
)

// collector turns a status into metrics at the moment of the scrape: there is no second account that could disagree.
type collector struct{ status func() agent.Status }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("waymark_"+name, help, labels, nil)
}

// The help of a gauge says what its value is, that of a counter what it counts since the agent has started.
var (
	info         = desc("info", "Always 1; the labels say what this agent is.", "node", "version", "nat_backend", "asn")
	ready        = desc("ready", "Whether traffic may rely on this node: 1 or 0.")
	gateOpen     = desc("gate_open", "Whether nothing is held back from being announced: 1 or 0.")
	drain        = desc("drain", "Whether the node is in a phase of a drain: 1 or 0.", "phase")
	restored     = desc("snapshot_restored", "Whether the objects in force come from the disk, because the API server cannot be reached: 1 or 0.")
	sessions     = desc("bgp_sessions", "Number of BGP sessions in a state.", "state")
	sessionUp    = desc("bgp_session_up", "Whether the BGP session is established: 1 or 0.", "peer", "address")
	flaps        = desc("bgp_session_flaps_total", "Number of times the BGP session has left Established.", "peer")
	prefixesIn   = desc("bgp_prefixes_received", "Number of prefixes from the peer, before filters.", "peer")
	prefixesOK   = desc("bgp_prefixes_accepted", "Number of prefixes from the peer that passed the filters.", "peer")
	prefixesOut  = desc("bgp_prefixes_announced", "Number of prefixes sent to the peer.", "peer")
	kernelRoutes = desc("kernel_routes", "Number of learned routes in the kernel.")
	refused      = desc("kernel_routes_refused", "Number of learned routes that are not in the kernel, or not through all next hops.")
	repairs      = desc("drift_repairs_total", "Number of changes by other programs that the agent has mended.", "what")
	runs         = desc("apply_runs_total", "Number of runs of a stage of the apply.", "stage")
	failed       = desc("apply_errors_total", "Number of failed runs of a stage of the apply.", "stage")
	took         = desc("apply_duration_seconds", "Time spent in a stage of the apply, in seconds.", "stage")
	sourceErrors = desc("source_errors_total", "Number of problems met in the source, each once for each time its file was read.")
	problems     = desc("problems", "Number of objects, or parts of them, that are not in force for a reason.", "reason")
	auditFound   = desc("source_audit_findings", "Number of samples of pod traffic that leave with another source than their policy wants (changed), or of which that cannot be told (unknown).", "kind")
	auditBeaten  = desc("nat_backend_beaten", "Number of samples of pod traffic whose source another NAT on the host decides before the backend in use.")
	auditRuns    = desc("source_audit_runs_total", "Number of audits of source addresses.")
	auditTime    = desc("source_audit_timestamp_seconds", "When source addresses were last audited, in seconds since 1970; 0: never.")
	auditTook    = desc("source_audit_duration_seconds", "How long the last audit of source addresses took, in seconds.")
	bfdConnected = desc("bfd_connected", "Whether waymark-bfd is there: 1 or 0.")
	bfdUp        = desc("bfd_session_up", "Whether the BFD session is up: 1 or 0.", "address")
	bfdFailures  = desc("bfd_session_failures_total", "Number of times the BFD session has failed, since waymark-bfd has started.", "address")
	bfdPackets   = desc("bfd_packets_total", "Number of BFD packets, since waymark-bfd has started.", "address", "direction")
)

func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(info, 1, s.Node, s.Version, s.Backend, strconv.FormatUint(uint64(s.ASN), 10))
	gauge(ready, truth(s.Ready))
	gauge(gateOpen, truth(s.Gate.Open))
	for _, phase := range []string{v1alpha1.Draining, v1alpha1.Drained} {
		gauge(drain, truth(s.Drain != nil && s.Drain.Phase == phase), strings.ToLower(phase))
	}
	gauge(restored, truth(!s.Restored.IsZero()))
	states := map[bgp.SessionState]int{bgp.Idle: 0, bgp.Connect: 0, bgp.Active: 0, bgp.OpenSent: 0, bgp.OpenConfirm: 0, bgp.Established: 0}
	for _, p := range s.Peers {
		states[p.State]++
		gauge(sessionUp, truth(p.State == bgp.Established), p.Name, p.Address.String())
		counter(flaps, p.Flaps, p.Name)
		gauge(prefixesIn, float64(p.Received), p.Name)
		gauge(prefixesOK, float64(p.Accepted), p.Name)
		gauge(prefixesOut, float64(p.Announced), p.Name)
		if b := p.BFD; b != nil {
			address := p.Address.String()
			gauge(bfdUp, truth(b.State == bfd.Up), address)
			counter(bfdFailures, b.Failures, address)
			counter(bfdPackets, b.PacketsIn, address, "in")
			counter(bfdPackets, b.PacketsOut, address, "out")
		}
	}
	for state, n := range states {
		gauge(sessions, float64(n), string(state))
	}
	gauge(kernelRoutes, float64(s.Routes.Installed))
	gauge(refused, float64(s.Routes.RefusedN))
	for _, what := range []string{"nat", "routes", "tunnels"} {
		counter(repairs, s.Repairs[what], what)
	}
	for name, stage := range s.Stages {
		counter(runs, stage.Runs, name)
		counter(failed, stage.Errors, name)
		ch <- prometheus.MustNewConstSummary(took, stage.Runs, stage.Total.Seconds(), nil, name)
	}
	counter(sourceErrors, s.SourceErrors)
	for reason, n := range byReason(s.Problems) {
		gauge(problems, float64(n), reason)
	}
	gauge(bfdConnected, truth(s.BFD.Connected))
	audit(s.Audit, gauge)
	counter(auditRuns, s.Audit.Runs)
	egress(s, gauge, func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	})
}

func audit(a agent.Audit, gauge func(*prometheus.Desc, float64, ...string)) {
	unknown, checked := 0, float64(0)
	for _, f := range a.Findings {
		if f.Unknown {
			unknown++
		}
	}
	if !a.Checked.IsZero() {
		checked = float64(a.Checked.UnixMilli()) / 1000
	}
	gauge(auditFound, float64(len(a.Findings)-unknown), "changed")
	gauge(auditFound, float64(unknown), "unknown")
	gauge(auditBeaten, float64(len(a.Beaten)))
	gauge(auditTime, checked)
	gauge(auditTook, a.Took.Seconds())
}

func byReason(all []agent.Problem) map[string]int {
	n := map[string]int{}
	for _, p := range all {
		n[p.Reason]++
	}
	return n
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
