package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

// learned is what it took to bring routes into the kernel.
type learned struct {
	took time.Duration // from the first byte of the first UPDATE until the kernel has all routes
	measure.Usage
}

// learner is who is to learn. It returns the processes of which it consists.
type learner struct {
	name  string
	start func(s *measure.Scope, ns nettest.NS) []*nettest.Process
}

var learners = []learner{
	{"waymark-agent", func(s *measure.Scope, ns nettest.NS) []*nettest.Process {
		return []*nettest.Process{startAgent(s, ns).Process}
	}},
	{"BIRD", func(s *measure.Scope, ns nettest.NS) []*nettest.Process {
		return []*nettest.Process{nettest.StartBIRD(s, ns, learnerBIRD).Process}
	}},
	{"FRR (bgpd and zebra)", func(s *measure.Scope, ns nettest.NS) []*nettest.Process {
		frr := nettest.StartFRR(s, ns, false, learnerFRR)
		return []*nettest.Process{frr.Zebra, frr.BGP}
	}},
}

const (
	quiet = time.Second     // after the session is up, before the first UPDATE
	after = 3 * time.Second // when the table is complete, before memory and CPU time are read: what is needed while nothing happens
)

// learn measures one learner with n routes.
func (l learner) learn(s *measure.Scope, n int) learned {
	text, err := updates(n)
	s.Check(err, "write the UPDATEs")
	ns := node(s)
	f, err := listen()
	s.Check(err, "listen for BGP")
	s.Cleanup(f.close)
	processes := l.start(s, ns)
	s.Check(f.established(processes[0]), l.name)
	time.Sleep(quiet)
	before, err := measure.UsageOf(processes)
	s.Check(err, l.name)
	pid := processes[0].Pid()
	others, err := measure.RoutesSeen(pid)
	s.Check(err, "count the kernel's routes")
	begin := time.Now()
	go func() { _, _ = f.conn.Write(text) }() // if it fails, routes will be missing
	s.Check(await(pid, others+n), l.name)
	took := time.Since(begin)
	time.Sleep(after)
	used, err := measure.UsageOf(processes)
	s.Check(err, l.name)
	used.CPU -= before.CPU
	return learned{took, used}
}

// await waits until the kernel has n routes.
func await(pid, n int) error {
	const patience = time.Minute
	for begin := time.Now(); ; {
		looking := time.Now()
		have, err := measure.RoutesSeen(pid)
		if err != nil || have == n {
			return err
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("the kernel has %d routes after %v, want %d", have, patience, n)
		}
		time.Sleep(2*time.Millisecond + 5*time.Since(looking)) // whoever is measured needs the CPU more
	}
}

// floor measures how long the kernel takes for n routes when nobody has to learn them.
func floor(s *measure.Scope, n int) learned {
	ns := node(s)
	var text strings.Builder
	for _, p := range prefixes(n) {
		fmt.Fprintf(&text, "route add %s via %s proto 179 metric 200\n", p, netip.MustParseAddr(datacenterAddr))
	}
	batch := filepath.Join(s.TempDir(), "batch")
	s.Check(os.WriteFile(batch, []byte(text.String()), 0o600), "write the batch")
	cmd := ns.Command("ip", "-batch", batch)
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begin)
	s.Check(err, "ip -batch: "+string(out))
	return learned{took, measure.Usage{CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}}
}
