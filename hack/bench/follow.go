package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

const (
	bfdInterval   = 300 * time.Millisecond // in the configurations of lab.go too
	bfdMultiplier = 3
)

// change measures how long a change of the Node file takes to reach the kernel of a reflector, n times.
func (r reflector) change(s *measure.Scope, n int) []time.Duration {
	ns := node(s)
	events := monitor(s)
	r.start(s)
	a := startAgent(s, ns)
	s.Check(events.await(firstPodCIDR, true, 30*time.Second), r.name)
	var took []time.Duration
	for i := range n {
		time.Sleep(100*time.Millisecond + rand.N(100*time.Millisecond)) // in step with nobody's timers
		podCIDR := fmt.Sprintf("10.244.%d.0/24", 1+i%250)
		begin := time.Now()
		a.node(s, podCIDR)
		s.Check(events.await(podCIDR, true, 10*time.Second), r.name)
		took = append(took, time.Since(begin))
	}
	return took
}

// die measures how long a reflector keeps the prefix of a node that falls silent, n times.
func (r reflector) die(s *measure.Scope, n int) []time.Duration {
	ns := node(s)
	events := monitor(s)
	r.start(s)
	startAgent(s, ns, fmt.Sprintf("bfd: {interval: %v, multiplier: %d}", bfdInterval, bfdMultiplier))
	var took []time.Duration
	for range n {
		s.Check(events.await(firstPodCIDR, true, time.Minute), r.name)
		// By then BFD runs at its own pace, not any more at that of its beginning (RFC 5880, section 6.8.3).
		time.Sleep(3*time.Second + rand.N(bfdInterval))
		s.Check(events.settled(firstPodCIDR), r.name)
		begin := time.Now()
		ns.Run(s, "nft", "add table inet dead; add chain inet dead in { type filter hook prerouting priority -400; policy drop; }; "+
			"add chain inet dead out { type filter hook output priority -400; policy drop; }")
		s.Check(events.await(firstPodCIDR, false, 10*time.Second), r.name)
		took = append(took, time.Since(begin))
		ns.Run(s, "nft", "delete", "table", "inet", "dead")
	}
	return took
}

// events are the changes of the datacenter's kernel routes.
type events <-chan string

func monitor(s *measure.Scope) events {
	cmd := nettest.Self.Command("ip", "-oneline", "monitor", "route")
	out, err := cmd.StdoutPipe()
	s.Check(err, "ip monitor")
	s.Check(cmd.Start(), "ip monitor")
	s.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := make(chan string, 1000)
	go func() {
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	return lines
}

// settled forgets what has happened so far: a router that comes back may lose a route once more.
func (e events) settled(prefix string) error {
	for len(e) > 0 {
		<-e
	}
	out, err := nettest.Self.Try("ip", "route", "show", prefix)
	if err == nil && out == "" {
		err = fmt.Errorf("the route to %s is gone while the node is well", prefix)
	}
	return err
}

// await waits until the route to a prefix has come or gone.
func (e events) await(prefix string, there bool, patience time.Duration) error {
	late := time.After(patience)
	for {
		select {
		case line := <-e:
			gone := strings.HasPrefix(line, "Deleted ")
			if strings.HasPrefix(strings.TrimPrefix(line, "Deleted "), prefix+" ") && gone != there {
				return nil
			}
		case <-late:
			return fmt.Errorf("the route to %s: no event within %v", prefix, patience)
		}
	}
}
