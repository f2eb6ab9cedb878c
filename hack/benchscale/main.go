// Benchscale measures what a large cluster asks of Waymark, against a real API server and etcd with thousands of Node objects
// and a hundred thousand pods: the memory of agents and controller, requests at rest, the time from a change to what follows
// from it. And hundreds of agents with one reflector. It runs in network namespaces of its own, as root, after `make build`
// and `make tools`.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// What is asked.
const (
	growthTarget     = 5e6   // bytes of an agent, from the nodes that have agents to all nodes
	controllerTarget = 200e6 // bytes
	requestTarget    = 2.0   // a minute, of an agent at rest
	changeTarget     = time.Second
)

// The parts, in their order.
const (
	partAgent      = "agent"
	partController = "controller"
	partChange     = "change"
	partRest       = "rest"
	partSpeakers   = "speakers"
)

var parts = []string{partAgent, partController, partChange, partRest, partSpeakers}

type options struct {
	only                            string
	nodes, pods, changes, reflected int
	podTime, rest                   time.Duration
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == roleReflector {
		playReflector(os.Args[2], os.Args[3])
	}
	var o options
	flag.StringVar(&o.only, "only", "", "`parts` to measure, separated by commas, of "+strings.Join(parts, ", ")+"; empty: all")
	flag.IntVar(&o.nodes, "nodes", 5000, "Node objects, at least 20")
	flag.IntVar(&o.pods, "pods", 100_000, "Pod objects; only the part agent makes them")
	flag.DurationVar(&o.podTime, "pod-time", 10*time.Minute, "after which no more pods are made")
	flag.IntVar(&o.changes, "changes", 200, "how often a label changes, and how many nodes are new")
	flag.DurationVar(&o.rest, "rest", 20*time.Minute, "how long requests are counted; watches last 10 to 20 minutes")
	flag.IntVar(&o.reflected, "speakers", 300, "agents with one reflector, at most 1000: a bridge has no more ports")
	flag.Parse()
	known := func(part string) bool { return part == "" || slices.Contains(parts, part) }
	if flag.NArg() > 0 || o.nodes < 2*agents || o.changes < 1 || o.reflected < 2 || !known(o.only) && !all(strings.Split(o.only, ","), known) {
		flag.Usage()
		os.Exit(2)
	}
	nettest.Isolate()
	os.Exit(measure.Main("bench-scale", func() error { return bench(o) }))
}

func all(words []string, good func(string) bool) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !good(word) })
}

func (o options) wants(part string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), part)
}

func bench(o options) error {
	begin := time.Now()
	fmt.Print(measure.Machine())
	var verdicts []measure.Verdict
	for _, cluster := range []func(options) ([]measure.Verdict, error){benchCluster, benchSpeakers} {
		v, err := cluster(o)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, v...)
	}
	if len(verdicts) > 0 {
		measure.PrintVerdicts(os.Stdout, verdicts)
	}
	fmt.Printf("\nmeasured in %v\n", time.Since(begin).Round(time.Second))
	return nil
}
