package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/ipam"
)

// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=services,verbs=list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=noderoutingstates;bgpconfigurations;egresspolicies;addresspools;datacenternetworks,verbs=get;list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=egresspolicies/status,verbs=patch

// egressOwners says in the status of EgressPolicies which addresses they have, and which gateways may own them. All are
// decided in one pass: an address is one policy's, and gateways are to own alike. What must outlive the controller is in the
// status; its own memory holds times only.
type egressOwners struct {
	client.Client
	events events.EventRecorder
	heard  map[string]report        // last report of each node's agent
	leaves map[ipam.Place]time.Time // since when a gateway leaves
}

// report is one that an agent has dated at, as it was first seen here.
type report struct{ at, seen time.Time }

const (
	assignTogether = 50 * time.Millisecond
	// silence is how long an agent may say nothing before its node is given no new addresses and loses those that it owns. It
	// is counted from what the controller itself has heard: after an outage of the API server all reports are old.
	silence = 2 * v1alpha1.ReportInterval
	// begin is how long a new node may take to its first report: else the first agent that reports would be given everything.
	begin = time.Minute
)

func (r *egressOwners) setup(m ctrl.Manager) error {
	r.heard, r.leaves = map[string]report{}, map[ipam.Place]time.Time{}
	b := ctrl.NewControllerManagedBy(m).Named("egress").
		Watches(&corev1.Node{}, together(assignTogether), builder.WithPredicates(changed(sameForEgress))).
		Watches(&corev1.Service{}, together(assignTogether), builder.WithPredicates(changed(sameService))).
		Watches(&v1alpha1.NodeRoutingState{}, together(assignTogether), builder.WithPredicates(changed(sameOwners))).
		Watches(&v1alpha1.EgressPolicy{}, together(assignTogether), builder.WithPredicates(addressesOrSpec))
	for _, kind := range []client.Object{&v1alpha1.BGPConfiguration{}, &v1alpha1.AddressPool{}, &v1alpha1.DatacenterNetwork{}} {
		b = b.Watches(kind, together(assignTogether), builder.WithPredicates(predicate.GenerationChangedPredicate{}))
	}
	return b.Complete(r)
}

// addressesOrSpec passes an EgressPolicy that asks for something else, or has other addresses.
var addressesOrSpec = predicate.Or(predicate.GenerationChangedPredicate{}, changed(func(a, b *v1alpha1.EgressPolicy) bool {
	return equality.Semantic.DeepEqual(a.Status.Addresses, b.Status.Addresses)
}))

func sameForEgress(a, b *corev1.Node) bool {
	return isReady(a) == isReady(b) && agent.Leaving(a) == agent.Leaving(b) && samePrefixes(a, b) && equality.Semantic.DeepEqual(a.Labels, b.Labels)
}

func sameService(a, b *corev1.Service) bool {
	return equality.Semantic.DeepEqual(a.Spec, b.Spec) && equality.Semantic.DeepEqual(a.Status, b.Status)
}

// sameOwners says whether a node sees the same owners as before.
func sameOwners(a, b *v1alpha1.NodeRoutingState) bool {
	return a.Status.Reported.IsZero() == b.Status.Reported.IsZero() &&
		slices.EqualFunc(a.Status.Egress, b.Status.Egress, func(x, y v1alpha1.EgressState) bool { return seen(x) == seen(y) })
}

// seen is the place that a node sees the owner in.
func seen(e v1alpha1.EgressState) ipam.Place {
	return ipam.Place{Node: e.Owner, VNI: uint32(e.VNI), Term: e.Term}
}

// Reconcile implements reconcile.Reconciler.
func (r *egressOwners) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var nodes corev1.NodeList
	var services corev1.ServiceList
	var states v1alpha1.NodeRoutingStateList
	var configurations v1alpha1.BGPConfigurationList
	var policies v1alpha1.EgressPolicyList
	var pools v1alpha1.AddressPoolList
	var networks v1alpha1.DatacenterNetworkList
	for _, list := range []client.ObjectList{&nodes, &services, &states, &configurations, &policies, &pools, &networks} {
		if err := r.List(ctx, list, asCached); err != nil {
			return ctrl.Result{}, err
		}
	}
	snapshot := agent.Snapshot{
		Nodes: nodes.Items, Services: services.Items, Configurations: configurations.Items,
		Policies: byName(policies.Items), Pools: byName(pools.Items), Datacenters: networks.Items,
	}
	now, timeout := time.Now(), snapshot.DrainTimeout()
	live := r.live(now, nodes.Items, states.Items)
	live.Over = map[ipam.Place]bool{}
	for place, since := range r.leaves {
		live.Over[place] = now.Sub(since) >= timeout
	}
	addresses, moves := agent.Assign(snapshot, live)
	wait := begin
	if left := r.leave(now, addresses); !left.IsZero() {
		wait = min(wait, max(left.Add(timeout).Sub(now), time.Millisecond))
	}
	var errs []error
	for i := range policies.Items {
		p := &policies.Items[i]
		errs = append(errs, r.write(ctx, p, addresses[p.Name], moves))
	}
	if result, err := again(errors.Join(errs...)); err != nil || result.RequeueAfter > 0 {
		return result, err
	}
	if len(addresses) == 0 {
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// live is what Nodes and reports say of the gateways.
func (r *egressOwners) live(now time.Time, nodes []corev1.Node, states []v1alpha1.NodeRoutingState) agent.Liveness {
	live := agent.Liveness{Dead: map[string]bool{}, Reports: map[ipam.Place]ipam.Report{}}
	byNode := map[string]*v1alpha1.NodeRoutingState{}
	for i := range states {
		byNode[states[i].Name] = &states[i]
	}
	heard := map[string]report{}
	for i := range nodes {
		node := &nodes[i]
		state := byNode[node.Name]
		if state == nil || !ownedBy(state, node.UID) {
			state = &v1alpha1.NodeRoutingState{}
		}
		at, patience := state.Status.Reported.Time, silence
		if at.IsZero() {
			patience = begin
		}
		last, known := r.heard[node.Name]
		if !known || !last.at.Equal(at) {
			last = report{at, now}
		}
		heard[node.Name] = last
		if !isReady(node) || now.Sub(last.seen) > patience {
			live.Dead[node.Name] = true
			continue
		}
		for _, e := range state.Status.Egress {
			said := live.Reports[seen(e)]
			said.Nodes++
			said.Self = said.Self || e.Owner == node.Name
			live.Reports[seen(e)] = said
		}
	}
	r.heard = heard
	return live
}

// leave notes since when each leaving gateway leaves, and returns the time of the first; zero: there is none.
func (r *egressOwners) leave(now time.Time, addresses map[string][]v1alpha1.EgressAddress) (first time.Time) {
	leaves := map[ipam.Place]time.Time{}
	for _, list := range addresses {
		for _, a := range list {
			for _, g := range a.Gateways {
				if !g.Leaving {
					continue
				}
				place := ipam.Place{Node: g.Node, VNI: uint32(a.VNI), Term: a.Term}
				since, ok := r.leaves[place]
				if !ok {
					since = now
				}
				leaves[place] = since
				if first.IsZero() || since.Before(first) {
					first = since
				}
			}
		}
	}
	r.leaves = leaves
	return first
}

// write puts the addresses into the policy's status, and tells of those that have moved.
func (r *egressOwners) write(ctx context.Context, before *v1alpha1.EgressPolicy, addresses []v1alpha1.EgressAddress, moves []ipam.Move) error {
	after := before.DeepCopy()
	after.Status.Addresses, after.Status.Gateway = addresses, ownersOf(addresses)
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	if err := r.Status().Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write the addresses of EgressPolicy %s: %w", after.Name, err)
	}
	for _, m := range moves {
		if !slices.Contains(m.Policies, after.Name) {
			continue
		}
		ctrl.LoggerFrom(ctx).Info("egress address moved", "policy", after.Name, "address", m.Address, "from", m.From, "to", m.To, "cause", m.Cause)
		kind, reason := corev1.EventTypeWarning, "Failover"
		if m.Cause == ipam.Departing {
			kind, reason = corev1.EventTypeNormal, "Moved"
		}
		// Events that differ in nothing but the note are taken for one, and the first note stays.
		from := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.From}}
		r.events.Eventf(after, from, kind, reason, "Assign "+m.Address.String(), "%v", m)
	}
	return nil
}

// ownersOf names the nodes that own some addresses.
func ownersOf(addresses []v1alpha1.EgressAddress) string {
	var names []string
	for _, a := range addresses {
		if len(a.Gateways) > 0 && !slices.Contains(names, a.Gateways[0].Node) {
			names = append(names, a.Gateways[0].Node)
		}
	}
	return strings.Join(names, ", ")
}
