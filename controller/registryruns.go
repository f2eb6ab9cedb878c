package controller

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// registryRuns runs checks beside the reconciler, one of each at a time, which is woken when one has ended.
type registryRuns struct {
	cached  client.Reader
	direct  client.Reader // for Secrets, by name, and Pods, of which the cache has none
	done    chan event.GenericEvent
	reading chan struct{} // one reads a registry at a time: the others' own sessions would be seen as those of a node
	dialing chan struct{} // as many dial

	mu    sync.Mutex
	ctx   context.Context // of the leader; nil: there is none yet
	begun map[string]*registryRun
}

// registryRun is one that goes on, or has ended and was not taken yet.
type registryRun struct {
	uid        types.UID
	generation int64
	cancel     context.CancelFunc
	found      *registryFound // nil: it goes on
}

const (
	dialTogether = 2                // checks
	runTime      = 10 * time.Minute // the longest that a run may take
)

func newRegistryRuns(cached, direct client.Reader) *registryRuns {
	return &registryRuns{
		cached: cached, direct: direct, done: make(chan event.GenericEvent, 1),
		reading: make(chan struct{}, 1), dialing: make(chan struct{}, dialTogether),
		begun: map[string]*registryRun{},
	}
}

// Start implements manager.Runnable.
func (r *registryRuns) Start(ctx context.Context) error {
	r.mu.Lock()
	r.ctx = ctx
	r.mu.Unlock()
	r.wake()
	<-ctx.Done()
	return nil
}

func (r *registryRuns) wake() {
	select {
	case r.done <- event.GenericEvent{Object: &v1alpha1.RegistryCheck{}}:
	default: // the reconciler has been woken and not come yet
	}
}

// begin begins a run, unless there is one of the check as it is.
func (r *registryRuns) begin(c *v1alpha1.RegistryCheck) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.begun[c.Name]
	if r.ctx == nil || run != nil && run.uid == c.UID && run.generation == c.Generation {
		return
	}
	if run != nil {
		run.cancel()
	}
	ctx, cancel := context.WithTimeout(r.ctx, runTime)
	run = &registryRun{uid: c.UID, generation: c.Generation, cancel: cancel}
	r.begun[c.Name] = run
	check := c.DeepCopy()
	go func() {
		defer cancel()
		found := r.run(ctx, check)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.begun[check.Name] != run {
			return // nobody wants to know any more
		}
		run.found = found
		r.wake()
	}()
}

// take returns what the run of a check as it is has found, once.
func (r *registryRuns) take(c *v1alpha1.RegistryCheck) (*registryFound, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.begun[c.Name]
	if run == nil || run.found == nil {
		return nil, false
	}
	delete(r.begun, c.Name)
	return run.found, run.uid == c.UID && run.generation == c.Generation
}

// end ends the run of a check.
func (r *registryRuns) end(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.begun[name]; run != nil {
		run.cancel()
	}
	delete(r.begun, name)
}

// keep ends all runs but those of checks that there are.
func (r *registryRuns) keep(there func(string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, run := range r.begun {
		if !there(name) {
			run.cancel()
			delete(r.begun, name)
		}
	}
}
