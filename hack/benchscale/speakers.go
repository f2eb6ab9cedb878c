package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waymark-bgp/waymark/agent/telemetry"
	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// reflector is a router that all agents speak with.
type reflector struct {
	name string
	asn  int
	// start starts it in a namespace, and returns its processes and what says that it has n routes.
	start func(s *measure.Scope, ns nettest.NS, n int) ([]*nettest.Process, func() error)
}

var reflectors = []reflector{
	{"FRR, eBGP", routerASN, func(s *measure.Scope, ns nettest.NS, n int) ([]*nettest.Process, func() error) {
		frr := nettest.StartFRR(s, ns, false, frrConfig)
		before, err := measure.RoutesSeen(frr.Zebra.Pid())
		s.Check(err, "routes of the reflector")
		return []*nettest.Process{frr.Zebra, frr.BGP}, func() error { return hasRoutes(frr.Zebra, before+n) }
	}},
	{"GoBGP, iBGP", nodeASN, func(s *measure.Scope, ns nettest.NS, n int) ([]*nettest.Process, func() error) {
		self, err := os.Executable()
		s.Check(err, "find this program")
		p := ns.Start(s, self, roleReflector, routerAddr, fmt.Sprint(n))
		return []*nettest.Process{p}, func() error {
			if !strings.Contains(p.Output(), complete) {
				return fmt.Errorf("GoBGP has not all %d routes: %s", n, p.Output())
			}
			return nil
		}
	}},
}

// reflected is what became of many agents with one reflector.
type reflected struct {
	there, learned  time.Duration // from the start of the reflector, until it has all routes; until the last is in an agent's kernel
	missing         int           // routes that never came
	resident        int           // of one agent
	agents, routers measure.Usage // sums; resident counts what they share once for each
}

// benchSpeakers starts many agents, each a process in a namespace of its own with one prefix, and then a reflector.
func benchSpeakers(o options) ([]measure.Verdict, error) {
	if !o.wants(partSpeakers) {
		return nil, nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\n%d agents, from the start of the reflector\tall routes at the reflector\tlast in a kernel\tmissing\t"+
		"resident, one agent\tanonymous, all agents\tCPU, all agents\tresident, reflector\n", o.reflected)
	defer w.Flush()
	for _, r := range reflectors {
		measure.Progress("%s: starting %d agents", r.name, o.reflected)
		var got reflected
		if err := measure.In(func(s *measure.Scope) { got = r.bench(s, o.reflected) }); err != nil {
			return nil, fmt.Errorf("%d agents with %s: %w", o.reflected, r.name, err)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d of %d\t%s\t%s\t%s\t%s\n", r.name, measure.Seconds(got.there), measure.Seconds(got.learned),
			got.missing, o.reflected*(o.reflected-1), measure.Megabytes(got.resident), measure.Megabytes(got.agents.Anonymous),
			measure.Seconds(got.agents.CPU), measure.Megabytes(got.routers.Resident))
	}
	return nil, nil
}

// patience is after which time without another route those that are missing will never come.
const patience = 30 * time.Second

func (r reflector) bench(s *measure.Scope, n int) reflected {
	startFabric(s)
	router := host(s, "router", routerAddr)
	processes := make([]*nettest.Process, n)
	before := make([]int, n)
	for i := range n {
		ns := host(s, nodeName(i), nodeAddress(i))
		manifests, runDir := s.TempDir(), s.TempDir()
		s.Check(os.WriteFile(filepath.Join(manifests, "objects.yaml"), []byte(bgpObjects(r.asn)+nodeManifest(i)), 0o600), "write manifests")
		processes[i] = ns.Start(s, "bin/waymark-agent", "--node", nodeName(i), "--source", "dir:"+manifests, "--run-dir", runDir)
		nettest.Eventually(s, time.Minute, func() error {
			status, err := telemetry.Client{RunDir: runDir}.Status(context.Background())
			if err == nil && len(status.Peers) == 0 {
				err = fmt.Errorf("%s does not call the reflector yet", nodeName(i))
			}
			return err
		})
		var err error
		before[i], err = measure.RoutesSeen(processes[i].Pid())
		s.Check(err, "routes of a node")
	}
	measure.Progress("%s: starting the reflector", r.name)
	begin := time.Now()
	routers, complete := r.start(s, router, n)
	var got reflected
	nettest.Eventually(s, 5*time.Minute, complete)
	got.there = time.Since(begin)
	got.missing = n * n
	for time.Since(begin)-got.learned < patience {
		looking, missing := time.Now(), 0
		for i, p := range processes {
			have, err := measure.RoutesSeen(p.Pid())
			s.Check(err, "routes of a node")
			missing += before[i] + n - 1 - have
		}
		if missing < got.missing {
			got.missing, got.learned = missing, time.Since(begin)
		}
		if missing == 0 {
			break
		}
		time.Sleep(2 * time.Since(looking)) // the agents need the CPU more
	}
	time.Sleep(settle)
	var err error
	got.agents, err = measure.UsageOf(processes)
	s.Check(err, "memory of the agents")
	got.routers, err = measure.UsageOf(routers)
	s.Check(err, "memory of the reflector")
	got.resident = measure.Median(measure.Each(usages(s, processes), resident))
	return got
}

// hasRoutes says whether the kernel of a process's namespace has n routes.
func hasRoutes(p *nettest.Process, n int) error {
	have, err := measure.RoutesSeen(p.Pid())
	if err == nil && have != n {
		err = fmt.Errorf("the kernel has %d routes, want %d", have, n)
	}
	return err
}

func nodeManifest(i int) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Node
metadata: {name: %s}
spec: {podCIDR: %s, podCIDRs: [%[2]s]}
status: {addresses: [{type: InternalIP, address: %s}]}
`, nodeName(i), podCIDR(i), nodeAddress(i))
}
