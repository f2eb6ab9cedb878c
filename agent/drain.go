package agent

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// Traffic counts what crosses the node to and from its pods.
type Traffic interface {
	// Packets between the pods and others than themselves, since the first call.
	Packets(ctx context.Context, pods []netip.Prefix) (uint64, error)
	// Stop ends the counting.
	Stop(ctx context.Context) error
}

const (
	defaultDrainTimeout = 60 * time.Second
	drainInterval       = time.Second
	// quietTime without a packet means that traffic has moved. Clients that talk to a pod at all do so more often.
	quietTime = 5 * time.Second
)

// draining follows a node on its way out. The zero value: it is not on it.
type draining struct {
	Drain
	packets uint64
	changed time.Time // when packets last grew
}

// drain follows the node's label or taint. While traffic moves it looks again every second.
func (a *Agent) drain(ctx context.Context, announced []netip.Prefix) {
	node := a.snapshot.node(a.Node)
	switch {
	case node == nil:
		return // what it was it stays
	case !Leaving(node):
		if a.draining.Phase != "" {
			a.Log.Info("drain is over: announcing again")
			a.draining = draining{}
			a.gateways.returned = true // what this node owned the others have been given
			a.stopCounting(ctx)
		}
		return
	case a.draining.Phase == "":
		now := time.Now()
		a.draining = draining{Drain: Drain{Phase: v1alpha1.Draining, Since: now}, changed: now}
		a.Log.Info("draining: peers are told to prefer other ways", "timeout", a.snapshot.DrainTimeout())
	}
	if a.draining.Phase != v1alpha1.Draining {
		return
	}
	if why := a.moved(ctx, announced); why != "" {
		a.draining.Phase, a.draining.Message = v1alpha1.Drained, why
		a.Log.Info("drained", "why", why)
		a.stopCounting(ctx)
		return
	}
	a.lookAgain(drainInterval)
}

// stopCounting leaves no rule behind, none of an agent before this one either.
func (a *Agent) stopCounting(ctx context.Context) {
	_ = a.stage("drain", func() error {
		ctx, cancel := context.WithTimeout(ctx, natTimeout)
		defer cancel()
		return a.Traffic.Stop(ctx)
	})
}

// moved says why the prefixes may be withdrawn now; empty: not yet.
func (a *Agent) moved(ctx context.Context, announced []netip.Prefix) string {
	timeout := a.snapshot.DrainTimeout()
	switch {
	case len(announced) == 0:
		return "nothing was announced"
	case time.Since(a.draining.Since) >= timeout:
		return fmt.Sprintf("withdrawn after the timeout of %v", timeout)
	}
	var packets uint64
	if err := a.stage("drain", func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, natTimeout)
		defer cancel()
		packets, err = a.Traffic.Packets(ctx, announced)
		return err
	}); err != nil {
		a.draining.Message = "traffic cannot be counted: waiting for the timeout"
		return ""
	}
	if packets != a.draining.packets {
		a.draining.packets, a.draining.changed = packets, time.Now()
	}
	if quiet := time.Since(a.draining.changed); quiet >= quietTime {
		return fmt.Sprintf("no packet to or from the pods for %v", quietTime)
	}
	a.draining.Message = fmt.Sprintf("there is traffic to the pods; withdrawn in %v at the latest",
		(timeout - time.Since(a.draining.Since)).Round(time.Second))
	return ""
}

// DrainTimeout is how long a node on its way out waits at most for traffic to move.
func (s *Snapshot) DrainTimeout() time.Duration {
	for i := range s.Configurations {
		if c := &s.Configurations[i]; c.Name == v1alpha1.DefaultName {
			return duration(c.Spec.Drain.Timeout, defaultDrainTimeout)
		}
	}
	return defaultDrainTimeout
}
