// Package kube lives off a Kubernetes API server: a source of snapshots of what concerns one node, and the report of what is
// in force there.
//
// It watches the node's own Node and NodeRoutingState, the objects of our group, the Secrets that the node's peers name, and
// only while a policy has selectors the node's own pods and the Namespaces. So what it holds does not grow with the cluster.
//
// Without the API server everything goes on as it was. An agent that starts meanwhile goes by the snapshot that the one
// before it has kept on disk. That one was complete when it was taken, so it counts as synced: what an earlier agent has left
// in the kernel and what is not in it may go. It lies in the run directory, which does not outlive a reboot, and so is not
// older than what is in force.
package kube

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

const (
	gather = 5 * time.Millisecond // changes come in groups
	// patience is how long a snapshot waits for a list that has just been asked for.
	patience = 5 * time.Second
	saving   = time.Second // at least between two times that the snapshot is written to disk
)

// Source watches what concerns one node.
type Source struct {
	client *Client
	node   string
	disk   disk
	log    *slog.Logger
	notify func()
	health health
	wake   chan struct{}

	// The fields below belong to the goroutine of Run.
	lists     map[request]*list
	running   sync.WaitGroup
	missing   time.Time       // since when a list is; zero: none
	live      bool            // the API server has told everything once
	restored  *agent.Snapshot // what an earlier agent has kept; nil: not read, or of no use any more
	restoring bool            // it was said in the log
	unsaved   *agent.Snapshot // the last good one; nil: it is on disk
	saved     time.Time
	unkept    string // why it could not be saved

	mu       sync.Mutex
	snapshot agent.Snapshot
}

// New makes a source for a node. The last good snapshot is kept in a file, which may hold Secrets. Notify is called after
// each change of the snapshot, by the goroutine of Run.
func New(client *Client, node, file string, log *slog.Logger, notify func()) *Source {
	s := &Source{
		client: client,
		node:   node,
		disk:   disk{path: file, node: node},
		log:    log,
		notify: notify,
		wake:   make(chan struct{}, 1),
		lists:  map[request]*list{},
	}
	s.health = health{log: log, changed: s.changed, silent: map[request]bool{}, refused: map[request]string{}}
	return s
}

// Snapshot returns what is known. Before Run it is empty and not synced.
func (s *Source) Snapshot() agent.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot
}

// Errors counts the requests that failed, those of a Reporter too.
func (s *Source) Errors() uint64 { return s.health.count() }

func (s *Source) changed() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	defer s.running.Wait()
	for {
		s.follow(ctx)
		next := s.update(time.Now())
		select {
		case <-ctx.Done():
			s.save()
			return nil
		case <-time.After(next):
			continue
		case <-s.wake:
		}
		select {
		case <-ctx.Done():
		case <-time.After(gather):
		}
	}
}

// follow starts what is to be watched and is not yet, and ends what need not be watched any more.
func (s *Source) follow(ctx context.Context) {
	refused, _ := s.untold()
	known := s.known()
	if !s.live && len(refused) > 0 {
		s.fill(&known, refused)
	}
	wanted := s.wanted(known)
	for r, l := range s.lists {
		if !slices.Contains(wanted, r) {
			l.stop()
			delete(s.lists, r)
			s.health.forget(r)
		}
	}
	for _, r := range wanted {
		if s.lists[r] != nil {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		l := &list{request: r, changed: s.changed, stop: stop, good: map[string]metav1.Object{}, bad: map[string][]agent.Problem{}}
		s.lists[r] = l
		s.running.Go(func() { l.run(ctx, s.client, s.health.heard) })
	}
}

// wanted is all that is to be watched for what is known.
func (s *Source) wanted(known agent.Snapshot) []request {
	requests := []request{
		{kind: "Node", name: s.node},
		{kind: "NodeRoutingState", name: s.node},
		{kind: "AddressPool"},
		{kind: "BGPConfiguration"},
		{kind: "BGPPeer"},
		{kind: "DatacenterNetwork"},
		{kind: "EgressPolicy"},
	}
	var pods, namespaces bool
	for i := range known.Policies {
		if selection := known.Policies[i].Spec.Pods; selection != nil {
			byNamespace := !v1alpha1.SelectsAll(selection.NamespaceSelector)
			namespaces = namespaces || byNamespace
			pods = pods || byNamespace || !v1alpha1.SelectsAll(selection.PodSelector)
		}
	}
	if pods {
		requests = append(requests, request{kind: "Pod", node: s.node})
	}
	if namespaces {
		requests = append(requests, request{kind: "Namespace"})
	}
	for i := range known.Peers {
		peer := &known.Peers[i].Spec
		if peer.PasswordSecret == nil || len(known.Nodes) == 0 || !serves(peer, &known.Nodes[0]) {
			continue
		}
		secret := request{kind: "Secret", namespace: peer.PasswordSecret.Namespace, name: peer.PasswordSecret.Name}
		if !slices.Contains(requests, secret) {
			requests = append(requests, secret)
		}
	}
	return requests
}

// serves says whether the peer is one of the node's.
func serves(p *v1alpha1.BGPPeerSpec, node *corev1.Node) bool {
	selector, err := v1alpha1.Selector(p.NodeSelector)
	return err == nil && selector.Matches(labels.Set(node.Labels))
}

// known is what the lists hold now.
func (s *Source) known() agent.Snapshot {
	snapshot := agent.Snapshot{Controlled: true, Problems: s.health.problems()}
	for _, r := range slices.SortedFunc(maps.Keys(s.lists), request.compare) {
		objects, problems := s.lists[r].contents()
		snapshot.Problems = append(snapshot.Problems, problems...)
		for _, object := range objects {
			include(&snapshot, object)
		}
	}
	return snapshot
}

func include(snapshot *agent.Snapshot, object metav1.Object) {
	switch o := object.(type) {
	case *corev1.Node:
		snapshot.Nodes = append(snapshot.Nodes, *o)
	case *v1alpha1.NodeRoutingState:
		snapshot.State = o
	case *v1alpha1.BGPConfiguration:
		snapshot.Configurations = append(snapshot.Configurations, *o)
	case *v1alpha1.BGPPeer:
		snapshot.Peers = append(snapshot.Peers, *o)
	case *v1alpha1.EgressPolicy:
		snapshot.Policies = append(snapshot.Policies, *o)
	case *v1alpha1.AddressPool:
		snapshot.Pools = append(snapshot.Pools, *o)
	case *v1alpha1.DatacenterNetwork:
		snapshot.Datacenters = append(snapshot.Datacenters, *o)
	case *corev1.Secret:
		snapshot.Secrets = append(snapshot.Secrets, *o)
	case *corev1.Pod:
		snapshot.Pods = append(snapshot.Pods, *o)
	case *corev1.Namespace:
		snapshot.Namespaces = append(snapshot.Namespaces, *o)
	}
}

// update publishes what is known, or for a while waits for what is missing of it, and says when to look again.
func (s *Source) update(now time.Time) (next time.Duration) {
	// Asked before what is known: a list that is told in between is then known and filled, and never neither.
	refused, awaited := s.untold()
	// A Secret that is refused does not come by waiting, and nothing else depends on it.
	complete := len(awaited) == 0 && !slices.ContainsFunc(refused, func(r request) bool { return r.kind != "Secret" })
	switch {
	case complete, !s.live && len(awaited) == 0:
		snapshot := s.known()
		whole := len(refused) == 0 || s.fill(&snapshot, refused) || complete
		if slices.ContainsFunc(s.wanted(snapshot), func(r request) bool { return s.lists[r] == nil }) {
			return 0 // of what has come since follow, as a policy that selects pods, some is not watched yet
		}
		s.missing, s.live = time.Time{}, s.live || complete
		if len(refused) == 0 {
			s.restored = nil
		}
		snapshot.Synced = whole
		s.publish(snapshot)
	case s.missing.IsZero():
		s.missing = now
		return patience
	case now.Sub(s.missing) < patience:
		return patience - now.Sub(s.missing)
	case s.live:
		s.publish(s.known())
	default:
		s.publish(s.restore())
	}
	if s.unsaved != nil && now.Sub(s.saved) >= saving {
		s.save()
	}
	if s.unsaved != nil {
		return saving - now.Sub(s.saved)
	}
	return time.Hour
}

// restore is the snapshot that an earlier agent has kept, or none, with the reasons why it is needed.
func (s *Source) restore() agent.Snapshot {
	snapshot := s.kept()
	if snapshot.Synced && !s.restoring {
		s.restoring = true
		s.log.Warn("the API server cannot be asked: going by the last snapshot of an earlier agent", "taken", snapshot.Restored)
	}
	snapshot.Problems = slices.Concat(s.known().Problems, snapshot.Problems)
	return snapshot
}

// kept is the snapshot that an earlier agent has kept, or none with the reason why it is of no use.
func (s *Source) kept() agent.Snapshot {
	if s.restored == nil {
		snapshot, err := s.disk.load()
		if err != nil {
			s.log.Error("the snapshot of an earlier agent is of no use", "err", err)
			snapshot.Problems = []agent.Problem{{Where: s.disk.path, Reason: "Unusable", Message: err.Error()}}
		}
		s.restored = &snapshot
	}
	return *s.restored
}

func (s *Source) publish(snapshot agent.Snapshot) {
	old := s.snapshot // nobody else writes it
	if reflect.DeepEqual(old, snapshot) {
		return
	}
	s.mu.Lock()
	s.snapshot = snapshot
	s.mu.Unlock()
	if snapshot.Synced && snapshot.Restored.IsZero() {
		old.Problems, snapshot.Problems = nil, nil
		if s.unsaved != nil || !reflect.DeepEqual(old, snapshot) {
			s.unsaved = &snapshot
		}
	}
	s.notify()
}

// save writes the last good snapshot to disk if it has changed since.
func (s *Source) save() {
	if s.unsaved == nil {
		return
	}
	s.saved = time.Now()
	if err := s.disk.save(*s.unsaved, s.saved); err != nil {
		if s.unkept != err.Error() {
			s.unkept = err.Error()
			s.log.Error("cannot keep the snapshot for the next agent", "err", err)
		}
		return
	}
	s.unsaved, s.unkept = nil, ""
}
