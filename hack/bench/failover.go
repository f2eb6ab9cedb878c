package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/egresslab"
)

const (
	probeInterval  = 10 * time.Millisecond
	failoverTarget = time.Second
)

// medium is how the network learns where an egress address is.
type medium struct {
	name             string
	address, partner string
	gateways, client string
	objects          string
}

// The second and third lie in the gateways' own network, and BGP says nothing of them.
var (
	byNeighbours = strings.Replace(egresslab.Objects, "drain:", "advertise: {egressAddresses: false}\n  drain:", 1)
	media        = []medium{
		{"BGP", "198.51.100.7", egresslab.Partner4, "n2 n3 n4", "n1", egresslab.Objects},
		{"ARP", "198.18.1.240", egresslab.Partner4, "n1 n2", "n3", byNeighbours},
		{"neighbour advertisements", "fd18:1::240", egresslab.Partner6, "n1 n2", "n3", byNeighbours},
	}
)

// failover is what new connections through a gateway lost when it died.
type failover struct {
	medium, death string
	outage        time.Duration
}

// failOver lets the active gateway die n times, in all ways in turns. Meanwhile a pod of another node opens connections
// to a host outside, which answers with the source address that it sees.
func (m medium) failOver(s *measure.Scope, n int) []failover {
	l := egresslab.New(s, "bin")
	l.Describe(s, m.gateways)
	l.Write(s, "objects.yaml", m.objects)
	l.Write(s, "policy.yaml", l.Policy("bank", `203.0.113.0/24, "2001:db8:113::/64"`, `addresses: ["`+m.address+`"]`))
	for _, n := range l.Nodes {
		n.Start(s, "--source", "dir:"+l.Manifests)
	}
	client := l.Node(s, m.client)
	var all []failover
	for i := range n {
		death := egresslab.Deaths[i%len(egresslab.Deaths)]
		l.Settled(s, 1)
		time.Sleep(2*time.Second + rand.N(gatewayInterval)) // BFD at its own pace (RFC 5880, section 6.8.3), in step with nobody
		gateway := l.Node(s, client.Owner(s, m.address))
		prober := egresslab.StartProber(s, client.Pod, "udp", m.partner, probeInterval)
		time.Sleep(300 * time.Millisecond)
		begin := time.Now()
		death.Kill(s, gateway)
		time.Sleep(2 * failoverTarget)
		probes := prober.Stop()
		for _, p := range probes {
			if p.Source != "" && p.Source != m.address {
				s.Fatalf("%s, %s dies: a connection from %s", m.name, death.Name, p.Source)
			}
			if p.Source == "" && p.Sent.Before(begin.Add(-probeInterval)) {
				s.Fatalf("%s: a connection was lost before the gateway died", m.name)
			}
		}
		all = append(all, failover{m.name, death.Name, egresslab.Outage(probes, begin, probeInterval)})
		death.Mend(s, gateway)
	}
	return all
}

// benchFailover measures n failovers in all media together, and judges the worst.
func benchFailover(out io.Writer, n int) ([]measure.Verdict, error) {
	if n == 0 {
		return nil, nil
	}
	var all []failover
	for i, m := range media {
		kills := (n + len(media) - 1 - i) / len(media)
		measure.Progress("%s: %d deaths of the active egress gateway", m.name, kills)
		if err := measure.In(func(s *measure.Scope) { all = append(all, m.failOver(s, kills)...) }); err != nil {
			return nil, fmt.Errorf("failovers by %s: %w", m.name, err)
		}
	}
	failoverTable(out, all)
	return []measure.Verdict{measure.AtMost(
		fmt.Sprintf("new connections lost when a gateway dies, BFD %v x %d, the worst of %d", gatewayInterval, multiplier, len(all)),
		slices.Max(outages(all)), failoverTarget, measure.Seconds)}, nil
}

func outages(all []failover) []time.Duration {
	return measure.Each(all, func(f failover) time.Duration { return f.outage })
}

// failoverTable prints the distribution, of all and by medium and death.
func failoverTable(out io.Writer, all []failover) {
	fmt.Fprintf(out, "\nhow long new connections of a pod to a host outside are not answered after the death of the active egress gateway,\n"+
		"BFD %v x %d, one connection every %v; an agent that dies alone takes nothing with it\n", gatewayInterval, multiplier, probeInterval)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "neighbours learn by, what dies\ttimes\tleast\tmedian\t90th percentile\t99th percentile\tmost")
	row := func(name string, of func(failover) bool) {
		some := outages(slices.DeleteFunc(slices.Clone(all), func(f failover) bool { return !of(f) }))
		if len(some) == 0 {
			return
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", name, len(some), measure.Seconds(slices.Min(some)), measure.Seconds(measure.Median(some)),
			measure.Seconds(measure.Percentile(some, 90)), measure.Seconds(measure.Percentile(some, 99)), measure.Seconds(slices.Max(some)))
	}
	for _, m := range media {
		for _, death := range egresslab.Deaths {
			row(m.name+", "+death.Name, func(f failover) bool { return f.medium == m.name && f.death == death.Name })
		}
	}
	row("all but agents alone", func(f failover) bool {
		return slices.ContainsFunc(egresslab.Deaths, func(d egresslab.Death) bool { return d.Name == f.death && d.Moves })
	})
	row("all", func(failover) bool { return true })
	_ = w.Flush()
}
