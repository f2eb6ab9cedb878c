package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/waymark-bgp/waymark/bfd"
	"github.com/waymark-bgp/waymark/bfd/control"
	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// What an egress gateway has to hold.
const (
	nodes           = 5000
	nodeInterval    = time.Second
	gatewayInterval = 200 * time.Millisecond
	multiplier      = 3
	watched         = 20 * time.Second

	gatewayAddr = "198.18.0.1"
	otherAddr   = "198.18.4.2"
	nodesCIDR   = "198.18.64.0/18"
)

// gateway is what holding sessions with all nodes takes.
type gateway struct {
	measure.Usage                 // CPU: while it was watched
	noticed       []time.Duration // how long after the death of another gateway
}

// holdSessions lets a gateway hold a session with each node, opened by the nodes, and one with another gateway that dies n
// times.
func holdSessions(s *measure.Scope, n int) gateway {
	home, far, beside := nettest.New(s, "gateway"), nettest.New(s, "nodes"), nettest.New(s, "other")
	nettest.Join(s, home, "eth0", []string{gatewayAddr + "/30"}, far, "eth0", []string{"198.18.0.2/30"})
	nettest.Join(s, home, "eth1", []string{"198.18.4.1/30"}, beside, "eth0", []string{otherAddr + "/30"})
	far.IP(s, "route add local "+nodesCIDR+" dev lo")
	home.IP(s, "route add "+nodesCIDR+" via 198.18.0.2")
	beside.IP(s, "route add "+gatewayAddr+" via 198.18.4.1")

	other := bfd.SessionConfig{
		Key:     bfd.Key{Peer: netip.MustParseAddr(otherAddr), Local: netip.MustParseAddr(gatewayAddr), Multihop: true},
		Timing:  bfd.Timing{DesiredMinTx: gatewayInterval, RequiredMinRx: gatewayInterval, DetectMult: multiplier},
		Gateway: true,
	}
	process, client, changed := startBFD(s, home)
	client.Set(bfd.Config{Sessions: []bfd.SessionConfig{other}, Passive: []netip.Prefix{netip.MustParsePrefix(nodesCIDR)}})

	var toGateway []bfd.SessionConfig
	local := netip.MustParsePrefix(nodesCIDR).Addr()
	for range nodes {
		local = local.Next()
		toGateway = append(toGateway, bfd.SessionConfig{
			Key:    bfd.Key{Peer: netip.MustParseAddr(gatewayAddr), Local: local, Multihop: true},
			Timing: bfd.Timing{DesiredMinTx: nodeInterval, RequiredMinRx: nodeInterval, DetectMult: multiplier},
		})
	}
	_, all, _ := startBFD(s, far)
	all.Set(bfd.Config{Sessions: toGateway})
	s.Check(awaitReport(all, nil, 30*time.Second, func(r control.Report) bool { return countUp(r) == nodes }), "all nodes' sessions are up")

	other.Peer, other.Local = other.Local, other.Peer
	start := func() *nettest.Process {
		p, c, _ := startBFD(s, beside)
		c.Set(bfd.Config{Sessions: []bfd.SessionConfig{other}})
		s.Check(awaitReport(client, changed, 10*time.Second, func(r control.Report) bool { return countUp(r) == 1 }), "the other gateway's session is up")
		time.Sleep(3*time.Second + rand.N(gatewayInterval)) // by then at its own pace (RFC 5880, section 6.8.3)
		return p
	}
	dying := start()
	before, err := measure.UsageOf([]*nettest.Process{process})
	s.Check(err, "waymark-bfd")
	time.Sleep(watched)
	var g gateway
	g.Usage, err = measure.UsageOf([]*nettest.Process{process})
	s.Check(err, "waymark-bfd")
	g.CPU -= before.CPU
	for i := range n {
		if i > 0 {
			dying = start()
		}
		dying.Kill()
		begin := time.Now()
		s.Check(awaitReport(client, changed, 10*time.Second, func(r control.Report) bool { return countUp(r) == 0 }), "the other gateway's death is noticed")
		g.noticed = append(g.noticed, time.Since(begin))
	}
	report, _ := all.Report()
	for _, st := range report.Sessions {
		if st.Failures > 0 {
			s.Fatalf("the session with %s has failed %d times", st.Local, st.Failures)
		}
	}
	return g
}

// startBFD starts waymark-bfd and a client of it, which says when there is a report.
func startBFD(s *measure.Scope, ns nettest.NS) (*nettest.Process, *control.Client, <-chan struct{}) {
	dir := s.TempDir()
	p := ns.Start(s, "bin/waymark-bfd", "--run-dir", dir)
	changed := make(chan struct{}, 1)
	c := control.NewClient(dir, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	s.Cleanup(cancel)
	go func() { _ = c.Run(ctx) }()
	return p, c, changed
}

// awaitReport waits for a report, looking at each that there is.
func awaitReport(c *control.Client, changed <-chan struct{}, patience time.Duration, good func(control.Report) bool) error {
	late := time.After(patience)
	for {
		if r, connected := c.Report(); connected && good(r) {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		case <-late:
			r, connected := c.Report()
			return fmt.Errorf("not within %v: connected: %v, %d of %d sessions up", patience, connected, countUp(r), len(r.Sessions))
		}
	}
}

func countUp(r control.Report) int {
	n := 0
	for _, st := range r.Sessions {
		if st.State == bfd.Up {
			n++
		}
	}
	return n
}

// gatewayTable prints what holding the sessions took.
func gatewayTable(out io.Writer, g gateway) {
	fmt.Fprintf(out, "\n%d BFD sessions at %v x %d on one gateway\n", nodes, nodeInterval, multiplier)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\tCPU of one core\tresident\tdeath of another gateway noticed at %v x %d\t(most of %d)\n", gatewayInterval, multiplier, len(g.noticed))
	fmt.Fprintf(w, "waymark-bfd\t%s\t%s\t%s\t%s\n", percent(g.load()), measure.Megabytes(g.Resident),
		measure.Seconds(measure.Median(g.noticed)), measure.Seconds(slices.Max(g.noticed)))
	_ = w.Flush()
}

// load is the part of one core.
func (g gateway) load() float64 { return g.CPU.Seconds() / watched.Seconds() }

func percent(part float64) string { return fmt.Sprintf("%.1f %%", 100*part) }
