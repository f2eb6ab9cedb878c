package controller

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/route/probe"
	"github.com/waymark-bgp/waymark/route/probe/host"
)

// pathProber probes for one export after the other, beside the reconciler: that asks, and is woken when there is a result.
type pathProber struct {
	jobs chan pathJob
	done chan event.GenericEvent

	mu      sync.Mutex
	pending map[types.UID]bool
	results map[types.UID]pathResult
}

type pathJob struct {
	export     types.UID
	generation int64
	timeout    time.Duration
	network    *probe.Network
	targets    []probe.Target
}

type pathResult struct {
	generation int64
	findings   []probe.Finding
	err        error
}

// probeTime is the longest that one export may take; the others wait.
const probeTime = 5 * time.Minute

func newPathProber() *pathProber {
	return &pathProber{
		jobs: make(chan pathJob, 16), done: make(chan event.GenericEvent, 1),
		pending: map[types.UID]bool{}, results: map[types.UID]pathResult{},
	}
}

// Start implements manager.Runnable.
func (p *pathProber) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-p.jobs:
			limited, cancel := context.WithTimeout(ctx, job.timeout)
			findings, err := host.Default.Run(limited, job.network, job.targets)
			cancel()
			p.mu.Lock()
			delete(p.pending, job.export)
			p.results[job.export] = pathResult{job.generation, findings, err}
			p.mu.Unlock()
			select {
			case p.done <- event.GenericEvent{Object: &v1alpha1.StaticRouteExport{}}:
			default: // the reconciler has been woken and not come yet
			}
		}
	}
}

// follow writes what was found into the status, and asks for new probes when they are due. It returns when to come again.
func (p *pathProber) follow(e *v1alpha1.StaticRouteExport, want *agent.StaticRoutes, sources *exportSources) (next time.Duration, notices []notice) {
	next = exportInterval(e)
	if !e.Spec.Probe {
		e.Status.Probe = nil
		unsay(e, v1alpha1.ConditionReachable)
		return next, nil
	}
	if result, found := p.take(e.UID); found && result.generation == e.Generation {
		notices = reachable(e, result)
	}
	left := time.Duration(0)
	if last := e.Status.Probe; last != nil {
		left = time.Until(last.Time.Add(jitter(e.UID, last.Time.Time, next)))
	}
	if left > 0 && !p.old(e) {
		return max(left, time.Second), notices
	}
	gateways := gatewaysIn(sources.networks)
	network, targets := agent.GatewayPaths(e.Spec.Gateway, gateways, want.Routes[e.Spec.Gateway], sources.nodes)
	p.ask(pathJob{e.UID, e.Generation, min(next, probeTime), network, targets})
	return next, notices
}

// old says that the last probes were for another gateway, or so.
func (p *pathProber) old(e *v1alpha1.StaticRouteExport) bool {
	return !slices.ContainsFunc(e.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionReachable && c.ObservedGeneration == e.Generation
	})
}

// forget lets go what was found for exports that are gone.
func (p *pathProber) forget(exports []v1alpha1.StaticRouteExport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid := range p.results {
		if !slices.ContainsFunc(exports, func(e v1alpha1.StaticRouteExport) bool { return e.UID == uid }) {
			delete(p.results, uid)
		}
	}
}

func (p *pathProber) take(export types.UID) (pathResult, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	result, found := p.results[export]
	delete(p.results, export)
	return result, found
}

// ask does not wait: an export that is not taken now is asked for again with the next pass.
func (p *pathProber) ask(job pathJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending[job.export] {
		return
	}
	select {
	case p.jobs <- job:
		p.pending[job.export] = true
	default:
	}
}

// jitter is the interval, a tenth more or less, the same each time it is asked for.
func jitter(export types.UID, last time.Time, interval time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, export, last.Unix())
	return interval*9/10 + interval/5*time.Duration(h.Sum32()%1000)/1000
}

func gatewaysIn(networks []v1alpha1.DatacenterNetwork) []v1alpha1.Gateway {
	for i := range networks {
		if networks[i].Name == v1alpha1.DefaultName {
			return networks[i].Spec.Gateways
		}
	}
	return nil
}

// reachable reports on probes.
func reachable(e *v1alpha1.StaticRouteExport, result pathResult) []notice {
	report := &v1alpha1.ProbeReport{Time: metav1.NewTime(time.Now().UTC().Truncate(time.Second))}
	e.Status.Probe = report
	if result.err != nil {
		return say(e, v1alpha1.ConditionReachable, metav1.ConditionUnknown, "NotProbed", result.err.Error())
	}
	var odd []probe.Finding
	for _, f := range result.findings {
		switch {
		case f.Verdict == probe.Right:
			report.Right++
			continue
		case f.Verdict == probe.Own:
			continue
		case f.Wrong():
			report.Wrong++
		case f.Verdict == probe.Aside:
			report.Aside++
		default:
			report.Silent++
		}
		odd = append(odd, f)
	}
	slices.SortStableFunc(odd, func(a, b probe.Finding) int {
		return cmp.Or(urgency(a)-urgency(b), a.Prefix.Compare(b.Prefix))
	})
	for _, f := range odd[:min(len(odd), shownLines)] {
		report.Findings = append(report.Findings, v1alpha1.ProbeFinding{
			Prefix: f.Prefix.String(), Node: f.Node, Verdict: string(f.Verdict), Reason: short(f.Reason),
		})
	}
	text := probe.Summary(result.findings)
	if len(odd) > 0 {
		text += fmt.Sprintf("; %s of %s: %s", odd[0].Prefix, odd[0].Node, odd[0].Reason)
	}
	switch {
	case report.Wrong > 0:
		return say(e, v1alpha1.ConditionReachable, metav1.ConditionFalse, "WrongPath", text)
	case len(odd) == 0:
		return say(e, v1alpha1.ConditionReachable, metav1.ConditionTrue, "Reachable", "")
	case report.Silent > 0:
		return say(e, v1alpha1.ConditionReachable, metav1.ConditionUnknown, "Silent", text)
	}
	return say(e, v1alpha1.ConditionReachable, metav1.ConditionUnknown, "Aside", text)
}

// urgency puts wrong findings first.
func urgency(f probe.Finding) int {
	if f.Wrong() {
		return 0
	}
	return 1
}
