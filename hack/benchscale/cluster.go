package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// settle is how long processes do nothing before their memory is read.
const settle = 30 * time.Second

// benchCluster measures the parts that need a control plane, all with the same one.
func benchCluster(o options) (verdicts []measure.Verdict, err error) {
	if !o.wants(partAgent) && !o.wants(partController) && !o.wants(partChange) && !o.wants(partRest) {
		return nil, nil
	}
	return verdicts, measure.In(func(s *measure.Scope) {
		measure.Progress("starting the control plane")
		c := newCluster(s)
		c.startController(s)
		c.startAgents(s)
		var few, grown []measure.Usage
		pods := 0
		if o.wants(partAgent) {
			pods = c.makePods(s, 0, o.pods*agents/o.nodes, agents, o.podTime)
			measure.Progress("%d nodes, %d pods: starting the agents anew", agents, pods)
			c.startAgents(s)
			time.Sleep(settle)
			few = usages(s, c.agents)
		}
		if o.only != partRest {
			measure.Progress("making %d nodes and their states", o.nodes)
			c.makeNodes(s, agents, o.nodes)
			c.makeReports(s, o.nodes)
		}
		if o.wants(partController) {
			verdicts = append(verdicts, c.benchController(s, o.nodes)...)
		}
		if o.wants(partAgent) {
			begin := time.Now()
			measure.Progress("making %d pods, within %v", o.pods, o.podTime)
			pods += c.makePods(s, pods, o.pods, o.nodes, o.podTime)
			measure.Progress("%d pods, in %v", pods, time.Since(begin).Round(time.Second))
			time.Sleep(settle)
			grown = usages(s, c.agents)
			c.startAgents(s)
			time.Sleep(settle)
			verdicts = append(verdicts, agentVerdicts(o.nodes, pods, few, grown, usages(s, c.agents))...)
		}
		if o.wants(partChange) {
			measure.Progress("%d changes of a label, %d new nodes", o.changes, o.changes)
			verdicts = append(verdicts, c.benchChanges(s, o.nodes, o.changes)...)
		}
		if o.wants(partRest) {
			time.Sleep(settle)
			verdicts = append(verdicts, c.benchRest(s, o.rest)...)
		}
	})
}

// usages are what each of some processes takes.
func usages(s *measure.Scope, processes []*nettest.Process) (all []measure.Usage) {
	for _, p := range processes {
		all = append(all, usage(s, p))
	}
	return all
}

func usage(s *measure.Scope, p *nettest.Process) measure.Usage {
	u, err := measure.UsageOf([]*nettest.Process{p})
	s.Check(err, "memory of a process")
	return u
}

func resident(u measure.Usage) int  { return u.Resident }
func anonymous(u measure.Usage) int { return u.Anonymous }
func peak(u measure.Usage) int      { return u.Peak }

// agentVerdicts judges how the agents have grown: those that were there all the time, and others that have started among all
// the nodes.
func agentVerdicts(nodes, pods int, few, grown, anew []measure.Usage) (verdicts []measure.Verdict) {
	middle := func(all []measure.Usage, figure func(measure.Usage) int) int {
		return measure.Median(measure.Each(all, figure))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\nmemory of an agent, median of %d\tresident\tof it anonymous\tpeak\n", agents)
	for _, row := range []struct {
		when string
		all  []measure.Usage
	}{
		{fmt.Sprintf("%d nodes", agents), few},
		{fmt.Sprintf("%d nodes and %d pods, there all the time", nodes, pods), grown},
		{fmt.Sprintf("%d nodes and %d pods, started anew", nodes, pods), anew},
	} {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", row.when, measure.Megabytes(middle(row.all, resident)),
			measure.Megabytes(middle(row.all, anonymous)), measure.Megabytes(middle(row.all, peak)))
	}
	_ = w.Flush()
	growth := func(after []measure.Usage) int { return middle(after, resident) - middle(few, resident) }
	return []measure.Verdict{
		measure.AtMost(fmt.Sprintf("growth of an agent from %d to %d nodes, there all the time", agents, nodes), growth(grown), growthTarget, measure.Megabytes),
		measure.AtMost(fmt.Sprintf("growth of an agent from %d to %d nodes, started anew", agents, nodes), growth(anew), growthTarget, measure.Megabytes),
	}
}

// benchController measures the controller that was there when the nodes came, and one that starts among all of them.
func (c *cluster) benchController(s *measure.Scope, nodes int) []measure.Verdict {
	time.Sleep(settle)
	grown := usage(s, c.controller)
	measure.Progress("starting the controller anew")
	c.startController(s)
	time.Sleep(settle)
	anew := usage(s, c.controller)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\ncontroller, with %d nodes\tresident\tof it anonymous\tpeak\tCPU\n", nodes)
	controllerRow(w, "there when the nodes came", grown)
	controllerRow(w, "started anew", anew)
	_ = w.Flush()
	return []measure.Verdict{
		measure.AtMost(fmt.Sprintf("controller with %d nodes, settled", nodes), max(grown.Resident, anew.Resident), controllerTarget, measure.Megabytes),
		measure.AtMost(fmt.Sprintf("controller with %d nodes, peak", nodes), max(grown.Peak, anew.Peak), controllerTarget, measure.Megabytes),
	}
}

func controllerRow(out io.Writer, when string, u measure.Usage) {
	fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", when, measure.Megabytes(u.Resident), measure.Megabytes(u.Anonymous), measure.Megabytes(u.Peak), measure.Seconds(u.CPU))
}
