package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"syscall"
	"time"
)

const pings = 10000 // at 1000 a second

// restart ends the agent of node1 again and again under load.
func (s *story) restart(ctx context.Context) error {
	restarts := 0
	kept, err := s.underLoad(ctx, func(ctx context.Context, n node, pinged <-chan struct{}) error {
		for with := syscall.SIGKILL; open(pinged); with = other(with) {
			took, err := s.restartAgent(ctx, n, with)
			if err != nil {
				return err
			}
			restarts++
			s.note("  agent ended by %-7s and started: in charge again after %.1f s", signalName(with), took.Seconds())
		}
		return nil
	})
	if err == nil {
		s.measure("agent restarted", "%d times: %s", restarts, kept)
	}
	return err
}

// restartAgent says how long it took until the next agent was in charge.
func (s *story) restartAgent(ctx context.Context, n node, with syscall.Signal) (time.Duration, error) {
	begin := time.Now()
	s.lab.kill(n.name+"-agent", with)
	if err := s.lab.startAgent(n); err != nil {
		return 0, err
	}
	err := s.settled(ctx, n, begin, len(nodes))
	return time.Since(begin), err
}

// underLoad lets pings cross node1 and its pod register while act goes on. It says what was kept, and fails when anything was
// lost. The end of the pings is told to act, which may last longer.
func (s *story) underLoad(ctx context.Context, act func(ctx context.Context, n node, pinged <-chan struct{}) error) (kept string, err error) {
	n := nodes[0]
	ctx, cancel := context.WithCancel(ctx)
	var load sync.WaitGroup
	defer load.Wait()
	defer cancel()

	ping := within(outside, "ping", "-q", "-i", "0.001", "-c", fmt.Sprint(pings), n.pod)
	s.announce(ping...)
	var answer string
	var pingErr, registerErr error
	var registrations int
	pinged := make(chan struct{})
	load.Go(func() {
		defer close(pinged)
		answer, pingErr = capture(ctx, ping...)
	})
	load.Go(func() { registrations, registerErr = register(ctx, n, pinged) })

	if err := act(ctx, n, pinged); err != nil {
		return "", err
	}
	load.Wait()
	s.output(answer)
	if err := errors.Join(pingErr, registerErr); err != nil {
		return "", err
	}
	counts := pingSummary.FindStringSubmatch(answer)
	if counts == nil || counts[1] != counts[2] {
		return "", errors.New("pings were lost")
	}
	s.note("%d registrations, all from %s", registrations, n.pod)
	return fmt.Sprintf("%s of %s pings answered, %d of %d registrations with the pod's address",
		counts[2], counts[1], registrations, registrations), nil
}

func open(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}

func signalName(s syscall.Signal) string {
	if s == syscall.SIGKILL {
		return "SIGKILL"
	}
	return "SIGTERM"
}

func other(s syscall.Signal) syscall.Signal {
	if s == syscall.SIGKILL {
		return syscall.SIGTERM
	}
	return syscall.SIGKILL
}

// register lets the pod make new connections to the registry until done, each of which must bear the pod's address.
func register(ctx context.Context, n node, done <-chan struct{}) (count int, err error) {
	for open(done) {
		answer, err := capture(ctx, askRegistry(n.podNS(), registry)...)
		if err != nil {
			return count, err
		}
		if source := sourceIn(answer); source != n.pod {
			return count, fmt.Errorf("after %d registrations the registry saw %s instead of %s", count, source, n.pod)
		}
		count++
	}
	return count, nil
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// death takes node3 away and measures until its pods are gone from the fabric.
func (s *story) death(ctx context.Context) error {
	dead, survivor := nodes[2], nodes[0]
	var times [2]time.Duration
	var errs [2]error
	var watching sync.WaitGroup
	begin := time.Now()
	for i, ns := range []string{gateway, survivor.ns()} {
		watching.Go(func() {
			errs[i] = eventually(ctx, 100*time.Second, func() error { return noRoute(ctx, ns, dead.podCIDR) })
			times[i] = time.Since(begin)
		})
	}
	s.announce("ip", "-n", gateway, "link", "del", dead.name)
	err := s.lab.powerOff(ctx, dead)
	watching.Wait()
	if err := errors.Join(err, errs[0], errs[1]); err != nil {
		return err
	}
	s.note("  the route to %s is gone from the reflector's kernel after %.2f s, from %s's after %.2f s\n",
		dead.podCIDR, times[0].Seconds(), survivor.name, times[1].Seconds())
	bound := bfdInterval * bfdMultiplier
	s.measure("dead node", "withdrawn after %.2f s (three BFD intervals: %v; without BFD: 90 s)", times[0].Seconds(), bound)
	if limit := 10 * bound; times[0] > limit {
		return fmt.Errorf("the withdrawal took %v: BFD cannot have seen the failure", times[0])
	}
	return s.show(ctx, "bin/gobgp", "--target", "unix://"+reflectorSocket, "global", "rib")
}

func noRoute(ctx context.Context, ns, prefix string) error {
	out, err := capture(ctx, "ip", "-n", ns, "route", "show", prefix)
	if err == nil && out != "" {
		return fmt.Errorf("%s still has the route %s", ns, out)
	}
	return err
}
