package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// startKube is an API server that knows the kinds.
func startKube(t testing.TB) *nettest.Kube {
	t.Helper()
	k := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	k.DefineKinds(t)
	return k
}

// running is a source at work.
type running struct {
	*Source
	file     string
	log      *output
	notified atomic.Int64
	stop     func()
}

// start runs a source for node-1 until the test ends, or stop is called. The file of the snapshot is in dir.
func start(t testing.TB, kubeconfig, dir string) *running {
	t.Helper()
	client, err := NewClient(kubeconfig, "waymark-agent/test")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{file: filepath.Join(dir, "snapshot.json"), log: new(output)}
	r.Source = New(client, "node-1", r.file, slog.New(slog.NewTextHandler(r.log, nil)), func() { r.notified.Add(1) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("the source ended: %v", err)
		}
	}()
	r.stop = func() { cancel(); <-done }
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("log of the source:\n%s", r.log)
		}
	})
	return r
}

// until waits for a snapshot that check finds nothing wrong with.
func (r *running) until(t testing.TB, check func(agent.Snapshot) error) agent.Snapshot {
	t.Helper()
	var snapshot agent.Snapshot
	nettest.Eventually(t, time.Minute, func() error {
		snapshot = r.Snapshot()
		return check(snapshot)
	})
	return snapshot
}

// output is what a source has logged.
type output struct{ nettest.Buffer }

func (o *output) count(text string) int { return strings.Count(o.String(), text) }

// kubectl runs kubectl as admin with words separated by spaces. A failure ends the test.
func kubectl(t testing.TB, k *nettest.Kube, line string) string {
	t.Helper()
	out, err := k.Kubectl(strings.Fields(line)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// names are those of the objects of one kind.
func names[T any, P interface {
	*T
	GetName() string
}](objects []T) string {
	var names []string
	for i := range objects {
		names = append(names, P(&objects[i]).GetName())
	}
	return strings.Join(names, " ")
}

// has says what differs from a list of names.
func has(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s: %q, want %q", what, got, want)
	}
	return nil
}

// problem finds the first problem of an object, or place, for a reason.
func problem(s agent.Snapshot, of, reason string) error {
	for _, p := range s.Problems {
		if (p.Object == of || p.Where == of) && p.Reason == reason {
			return nil
		}
	}
	return fmt.Errorf("no problem %s of %s: %v", reason, of, s.Problems)
}

// peers waits until the peers are those, in a snapshot that is synced and not restored.
func (r *running) peers(t testing.TB, want string) agent.Snapshot {
	t.Helper()
	return r.until(t, func(s agent.Snapshot) error {
		if !s.Restored.IsZero() {
			return errors.New("restored")
		}
		return errors.Join(synced(s), has("peers", names(s.Peers), want))
	})
}

func synced(s agent.Snapshot) error {
	if !s.Synced {
		return fmt.Errorf("not synced: %v", s.Problems)
	}
	return nil
}

const base = `
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {rack: a}}
spec: {podCIDRs: [10.244.1.0/24], podCIDR: 10.244.1.0/24}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
spec: {podCIDRs: [10.244.2.0/24], podCIDR: 10.244.2.0/24}
---
apiVersion: waymark.io/v1alpha1
kind: NodeRoutingState
metadata: {name: node-1}
spec: {podCIDRs: [{prefix: 10.244.1.0/24}]}
---
apiVersion: waymark.io/v1alpha1
kind: NodeRoutingState
metadata: {name: node-2}
spec: {podCIDRs: [{prefix: 10.244.2.0/24}]}
---
apiVersion: waymark.io/v1alpha1
kind: BGPConfiguration
metadata: {name: default}
spec: {asn: 64513}
---
apiVersion: waymark.io/v1alpha1
kind: BGPPeer
metadata: {name: rr1}
spec: {address: 10.0.0.2, asn: 64512}
`
