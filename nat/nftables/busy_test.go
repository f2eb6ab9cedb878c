package nftables_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/internal/nettest"
	"github.com/waymark-bgp/waymark/nat"
	"github.com/waymark-bgp/waymark/nat/nftables"
)

// busyNeighbour writes another table all the time, until the test ends, and waits until it does so.
func busyNeighbour(t *testing.T) {
	t.Helper()
	monitor := nettest.Self.Start(t, "nft", "monitor")
	nettest.Self.Start(t, "sh", "-c", "i=0; while [ $i -lt 20000 ]; do nft add table ip busy; nft delete table ip busy; i=$((i+1)); done")
	nettest.Eventually(t, 5*time.Second, func() error {
		if n := strings.Count(monitor.Output(), "add table ip busy"); n < 10 {
			return fmt.Errorf("the neighbour has written %d times", n)
		}
		return nil
	})
	monitor.Kill()
}

// keepApplied does what the agent does, until the test ends: it applies the plan at first and whenever Watch calls.
func keepApplied(t *testing.T, b *nftables.Backend, p nat.Plan) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	calls := make(chan struct{}, 1)
	calls <- struct{}{}
	running.Go(func() {
		err := b.Watch(ctx, func() {
			select {
			case calls <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-calls:
			}
			if _, err := b.Apply(ctx, p); err != nil && ctx.Err() == nil {
				t.Errorf("apply: %v", err)
			}
		}
	})
}

// heldTable waits until the table holds what want does, whatever its handles.
func heldTable(t *testing.T, want string) (took time.Duration) {
	t.Helper()
	start := time.Now()
	nettest.Eventually(t, 5*time.Second, func() error {
		if got, err := nettest.Self.Try("nft", "list", "table", "inet", "waymark"); err != nil || objects(got) != objects(want) {
			return fmt.Errorf("the table is\n%s%v", got, err)
		}
		return nil
	})
	return time.Since(start)
}

func TestRepairWithinASecondBesideABusyNeighbour(t *testing.T) {
	for _, edit := range []string{
		"delete table inet waymark",
		"flush ruleset",
		"flush chain inet waymark postrouting",
		"flush map inet waymark class0_egress4",
	} {
		t.Run(edit, func(t *testing.T) {
			flushed(t)
			apply(t, nftables.New(), registries)
			want := ruleset(t)
			nettest.Run(t, "nft", "delete table inet waymark")
			busyNeighbour(t)
			keepApplied(t, nftables.New(), registries)
			heldTable(t, want)
			for range 5 {
				nettest.Run(t, "nft", edit)
				took := heldTable(t, want)
				t.Logf("repaired in %v", took)
				if took > time.Second {
					t.Errorf("repaired after %v, want at most 1 s", took)
				}
			}
		})
	}
}

// TestRepairAfterAStorm edits the table as fast as nft can: what is squeezed in between a write and the look at it is not
// taken for our own.
func TestRepairAfterAStorm(t *testing.T) {
	for _, edit := range []string{"flush ruleset", "flush chain inet waymark postrouting", "insert rule inet waymark postrouting accept"} {
		for name, p := range map[string]nat.Plan{"policies": registries, "no policy": plan()} {
			t.Run(edit+"/"+name, func(t *testing.T) {
				flushed(t)
				apply(t, nftables.New(), p)
				want := ruleset(t)
				keepApplied(t, nftables.New(), p)
				for start := time.Now(); time.Since(start) < time.Second; {
					_, _ = nettest.Self.Try("nft", edit) // the table may not be there
				}
				if took := heldTable(t, want); took > time.Second {
					t.Errorf("repaired after %v, want at most 1 s", took)
				}
			})
		}
	}
}

func TestABusyNeighbourCausesNoWrites(t *testing.T) {
	flushed(t)
	busyNeighbour(t)
	b := nftables.New()
	keepApplied(t, b, registries)
	for _, p := range []nat.Plan{registries, plan(), registries} { // a change of elements is no reason either
		apply(t, b, p)
	}
	monitor := nettest.Self.Start(t, "nft", "monitor")
	nettest.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(monitor.Output(), "busy") {
			return errors.New("nft monitor does not listen yet")
		}
		return nil
	})
	before := frameWithHandles(t)
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		if result := apply(t, b, registries); result != (nat.Result{}) {
			t.Fatalf("same plan: %+v, want nothing done", result)
		}
	}
	if after := frameWithHandles(t); after != before {
		t.Errorf("written again, from\n%sto\n%s", before, after)
	}
	if strings.Contains(monitor.Output(), "waymark") {
		t.Errorf("something was written:\n%s", monitor.Output())
	}
}

// TestAHungNftHoldsNobodyUp has an nft that never ends, and one that has left behind a process which holds its pipes.
func TestAHungNftHoldsNobodyUp(t *testing.T) {
	for name, script := range map[string]string{
		"nft hangs":                  "exec sleep 30",
		"its child hangs":            "sleep 30; true",
		"a stranger holds its pipes": "setsid sleep 30 & sleep 30",
	} {
		t.Run(name, func(t *testing.T) {
			flushed(t)
			b := nftables.New()
			apply(t, b, plan())
			path, good := t.TempDir(), os.Getenv("PATH")
			if err := os.WriteFile(filepath.Join(path, "nft"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", path+":"+good)
			for _, backend := range []*nftables.Backend{b, nftables.New()} {
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				start := time.Now()
				_, err := backend.Apply(ctx, registries)
				took := time.Since(start)
				cancel()
				if took > time.Second {
					t.Errorf("apply returned after %v, want soon after 200 ms", took)
				}
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nft did not answer in time") {
					t.Errorf("error %v, want that nft did not answer in time", err)
				}
			}
			t.Setenv("PATH", good)
			if result := apply(t, b, registries); !result.Changed {
				t.Errorf("apply with a good nft: %+v, want changed", result)
			}
			if result := apply(t, b, registries); result != (nat.Result{}) {
				t.Errorf("apply again: %+v, want nothing done", result)
			}
		})
	}
}
