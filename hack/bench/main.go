// Bench measures waymark-agent against BIRD, FRR and what the kernel itself takes, all in one run: routes learned into the
// kernel, the memory and CPU time for it, how fast a change reaches a reflector and how fast a reflector notices that a node
// is dead. Before that it measures how long the static routes of a large cluster take, after it waymark-bfd on an egress gateway
// that all nodes of a large cluster use, how long a failover between such gateways takes, how long a check of all providers of a
// registry, and what source addresses cost to apply and to forward by. It runs in network namespaces of its own, as root, after
// `make build`.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// targets of learning, by number of routes.
var targets = []struct {
	routes   int
	took     time.Duration
	resident int // bytes
}{
	{10_000, 300 * time.Millisecond, 55e6},
	{100_000, 2 * time.Second, 140e6},
}

const (
	changeTarget = 100 * time.Millisecond
	deadTarget   = bfdMultiplier*bfdInterval + 100*time.Millisecond

	gatewayTarget = 0.3 // of one core
	noticedTarget = multiplier*gatewayInterval + 100*time.Millisecond
)

const floorName = "kernel floor (ip -batch)"

func main() {
	runs := flag.Int("runs", 5, "how often routes are learned by each and in each number; medians are shown; 0: never")
	changes := flag.Int("changes", 200, "how often the Node file changes, for each reflector; 0: never")
	gateways := flag.Int("gateways", 10, "how often a gateway dies beside one that has sessions with all nodes; 0: never, and no such sessions")
	deaths := flag.Int("deaths", 10, "how often the node dies, for each reflector; 0: never")
	failovers := flag.Int("failovers", 50, "how often the active egress gateway dies, in three ways in three networks; 0: never")
	sources := flag.Int("sources", 5, "how often source addresses are applied and packets forwarded by each; medians are shown; 0: never")
	providers := flag.Int("registry", 10_000, "how many providers of a real ZooKeeper are checked, in two ways; 0: none")
	statics := flag.Int("static", 5_000, "of how many nodes static routes are exported and compared with a router's; 0: none")
	flag.Parse()
	if *runs < 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	nettest.Isolate()
	os.Exit(measure.Main("bench", func() error {
		return bench(*runs, *changes, *deaths, *gateways, *failovers, *sources, *providers, *statics)
	}))
}

func bench(runs, changes, deaths, gateways, failovers, sources, providers, statics int) error {
	begin := time.Now()
	fmt.Print(measure.Machine())
	fmt.Printf("medians of %d runs; /24 prefixes with %d AS_PATHs, up to %d in an UPDATE, from the same sender for all;\n"+
		"memory and CPU time are read %v after the table is complete\n", runs, asPaths, perUpdate, after)
	verdicts, err := benchStatic(os.Stdout, statics)
	if err != nil {
		return err
	}
	for _, target := range targets {
		v, err := benchLearn(runs, target.routes, target.took, target.resident)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, v...)
	}
	v, err := benchFollow("from a change of the Node file to the prefix in the reflector's kernel", changes, reflector.change, 99, changeTarget)
	if err != nil {
		return err
	}
	verdicts = append(verdicts, v...)
	v, err = benchFollow(fmt.Sprintf("from a dead node to the route withdrawn from the reflector's kernel, BFD %v x %d", bfdInterval, bfdMultiplier),
		deaths, reflector.die, 100, deadTarget)
	if err != nil {
		return err
	}
	verdicts = append(verdicts, v...)
	if v, err = benchGateway(gateways); err != nil {
		return err
	}
	verdicts = append(verdicts, v...)
	if v, err = benchFailover(os.Stdout, failovers); err != nil {
		return err
	}
	verdicts = append(verdicts, v...)
	if v, err = benchRegistry(os.Stdout, providers); err != nil {
		return err
	}
	verdicts = append(verdicts, v...)
	if err := errors.Join(benchApply(os.Stdout, sources), benchForward(os.Stdout, sources)); err != nil {
		return err
	}
	measure.PrintVerdicts(os.Stdout, verdicts)
	fmt.Printf("\nmeasured in %v\n", time.Since(begin).Round(time.Second))
	return nil
}

// benchLearn measures everybody in turns, so that what else the machine does touches all alike.
func benchLearn(runs, n int, tookTarget time.Duration, residentTarget int) ([]measure.Verdict, error) {
	if runs == 0 {
		return nil, nil
	}
	results := map[string][]learned{}
	names := []string{floorName}
	for run := range runs {
		measure.Progress("%d routes, run %d of %d", n, run+1, runs)
		if err := measure.In(func(s *measure.Scope) { results[floorName] = append(results[floorName], floor(s, n)) }); err != nil {
			return nil, err
		}
		for _, l := range learners {
			if run == 0 {
				names = append(names, l.name)
			}
			if err := measure.In(func(s *measure.Scope) { results[l.name] = append(results[l.name], l.learn(s, n)) }); err != nil {
				return nil, fmt.Errorf("%s with %d routes: %w", l.name, n, err)
			}
		}
	}
	learnedTable(os.Stdout, n, names, results)
	ours := results[learners[0].name]
	took := measure.Median(measure.Each(ours, func(l learned) time.Duration { return l.took }))
	resident := measure.Median(measure.Each(ours, func(l learned) int { return l.Resident }))
	return []measure.Verdict{
		measure.AtMost(fmt.Sprintf("%d routes in the kernel", n), took, tookTarget, measure.Seconds),
		measure.AtMost(fmt.Sprintf("resident with %d routes", n), resident, residentTarget, measure.Megabytes),
	}, nil
}

// benchGateway measures a gateway that has sessions with all nodes, while another one dies n times.
func benchGateway(n int) ([]measure.Verdict, error) {
	if n == 0 {
		return nil, nil
	}
	measure.Progress("a gateway with %d BFD sessions, %d deaths of another", nodes, n)
	var g gateway
	if err := measure.In(func(s *measure.Scope) { g = holdSessions(s, n) }); err != nil {
		return nil, fmt.Errorf("%d BFD sessions: %w", nodes, err)
	}
	gatewayTable(os.Stdout, g)
	return []measure.Verdict{
		measure.AtMost(fmt.Sprintf("%d BFD sessions at %v on one gateway, of one core", nodes, nodeInterval), g.load(), gatewayTarget, percent),
		measure.AtMost("a dead gateway noticed beside them, percentile 100", measure.Percentile(g.noticed, 100), noticedTarget, measure.Seconds),
	}, nil
}

// benchFollow measures n times with each reflector how it follows the node, and judges the slower one by a percentile.
func benchFollow(what string, n int, follow func(reflector, *measure.Scope, int) []time.Duration, percent int, target time.Duration) ([]measure.Verdict, error) {
	if n == 0 {
		return nil, nil
	}
	results := map[string][]time.Duration{}
	var slowest time.Duration
	for _, r := range reflectors {
		measure.Progress("%s: %s, %d times", r.name, what, n)
		if err := measure.In(func(s *measure.Scope) { results[r.name] = follow(r, s, n) }); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		slowest = max(slowest, measure.Percentile(results[r.name], percent))
	}
	latencyTable(os.Stdout, what, results)
	return []measure.Verdict{
		measure.AtMost(fmt.Sprintf("%s, percentile %d", what, percent), slowest, target, measure.Seconds),
	}, nil
}
