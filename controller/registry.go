package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

// +kubebuilder:rbac:groups=waymark.io,resources=registrychecks;egresspolicies;noderoutingstates,verbs=get;list;watch
// +kubebuilder:rbac:groups=waymark.io,resources=registrychecks/status;egresspolicies/status,verbs=patch
// +kubebuilder:rbac:groups=waymark.io,resources=noderoutingstates,verbs=patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=list

// registryChecks has the runs of RegistryChecks made when they are due, asks agents for what only they can see, and reports.
type registryChecks struct {
	client.Client
	events events.EventRecorder
	runs   *registryRuns
	last   map[string]*registryFound // by check, what the last run since the start has found
}

const registryTogether = time.Second

func (r *registryChecks) setup(m ctrl.Manager) error {
	r.last = map[string]*registryFound{}
	r.runs = newRegistryRuns(m.GetClient(), m.GetAPIReader())
	if err := m.Add(r.runs); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(m).Named("registry").
		Watches(&v1alpha1.RegistryCheck{}, together(registryTogether), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.NodeRoutingState{}, together(registryTogether), builder.WithPredicates(changed(sameSights))).
		Watches(&v1alpha1.EgressPolicy{}, together(registryTogether), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.Channel(r.runs.done, together(time.Millisecond))).
		Complete(r)
}

func sameSights(a, b *v1alpha1.NodeRoutingState) bool {
	return equality.Semantic.DeepEqual(a.Status.Sights, b.Status.Sights) && equality.Semantic.DeepEqual(a.Spec.Sights, b.Spec.Sights)
}

// Reconcile implements reconcile.Reconciler.
func (r *registryChecks) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var checks v1alpha1.RegistryCheckList
	var policies v1alpha1.EgressPolicyList
	var states v1alpha1.NodeRoutingStateList
	for _, list := range []client.ObjectList{&checks, &policies, &states} {
		if err := r.List(ctx, list, asCached); err != nil {
			return ctrl.Result{}, err
		}
	}
	byName(checks.Items)
	r.forget(checks.Items)
	var errs []error
	var wait time.Duration
	for i := range checks.Items {
		next, err := r.bring(ctx, &checks.Items[i], states.Items)
		errs = append(errs, err)
		if next > 0 && (wait == 0 || next < wait) {
			wait = next
		}
	}
	errs = append(errs, r.ask(ctx, states.Items, checks.Items))
	for i := range policies.Items {
		errs = append(errs, r.prove(ctx, &policies.Items[i], checks.Items))
	}
	if result, err := again(errors.Join(errs...)); err != nil || result.RequeueAfter > 0 {
		return result, err
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// forget ends the runs and removes the metrics of checks that are gone.
func (r *registryChecks) forget(checks []v1alpha1.RegistryCheck) {
	there := func(name string) bool {
		return slices.ContainsFunc(checks, func(c v1alpha1.RegistryCheck) bool { return c.Name == name && c.DeletionTimestamp == nil })
	}
	r.runs.keep(there)
	for name := range r.last {
		if !there(name) {
			unmeasureRegistry(name)
			delete(r.last, name)
		}
	}
}

// bring reports what a run has found, has the next begin when it is due, and says after how long to look again.
func (r *registryChecks) bring(ctx context.Context, before *v1alpha1.RegistryCheck, states []v1alpha1.NodeRoutingState) (time.Duration, error) {
	if before.DeletionTimestamp != nil || len(before.Validate()) > 0 {
		r.runs.end(before.Name)
		return 0, nil
	}
	if found, finished := r.runs.take(before); finished {
		if last := r.last[before.Name]; found.requests == nil && last != nil && last.of(before) {
			found.requests, found.cluster = last.requests, last.cluster // a registry that is down is no reason to tell agents to stop
		}
		r.last[before.Name] = found
	}
	found := r.last[before.Name]
	if found == nil || !found.of(before) {
		return r.schedule(before), nil
	}
	c := before.DeepCopy()
	notices := found.report(c, states)
	found.measure(c)
	if !equality.Semantic.DeepEqual(before.Status, c.Status) {
		if err := r.Status().Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return 0, fmt.Errorf("report on RegistryCheck %s: %w", c.Name, err)
		}
		for _, n := range notices {
			r.events.Eventf(c, nil, n.kind, n.reason, n.action, "%s", short(n.text))
		}
	}
	*before = *c // for the policy that it proves
	return r.schedule(c), nil
}

// schedule begins a run that is due, and says when the next one is, or may be.
func (r *registryChecks) schedule(c *v1alpha1.RegistryCheck) time.Duration {
	interval := registryInterval(c)
	said := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReachable)
	left := time.Duration(0)
	if said != nil && said.ObservedGeneration == c.Generation {
		left = time.Until(c.Status.LastRun.Add(jitter(c.UID, c.Status.LastRun.Time, interval)))
	}
	if left > 0 {
		return max(left, time.Second)
	}
	r.runs.begin(c)
	return interval
}

func registryInterval(c *v1alpha1.RegistryCheck) time.Duration {
	if c.Spec.Interval == nil {
		return 5 * time.Minute
	}
	return c.Spec.Interval.Duration
}

// ask tells nodes what the checks ask of them. What a check asked before the controller started stays until it has run again.
func (r *registryChecks) ask(ctx context.Context, states []v1alpha1.NodeRoutingState, checks []v1alpha1.RegistryCheck) error {
	var errs []error
	for i := range states {
		before := &states[i]
		var want []v1alpha1.SightRequest
		for j := range checks {
			c := &checks[j]
			if found := r.last[c.Name]; found != nil && found.of(c) {
				want = append(want, found.requests[before.Name]...)
				continue
			}
			for _, s := range before.Spec.Sights {
				if s.Check == c.Name {
					want = append(want, s)
				}
			}
		}
		want = want[:min(len(want), mostSights)]
		if equality.Semantic.DeepEqual(before.Spec.Sights, want) {
			continue
		}
		after := before.DeepCopy()
		after.Spec.Sights = want
		if err := r.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			errs = append(errs, fmt.Errorf("change NodeRoutingState %s: %w", before.Name, err))
		}
	}
	return errors.Join(errs...)
}

// prove says of a policy what the checks that name it have seen: the worst of it.
func (r *registryChecks) prove(ctx context.Context, before *v1alpha1.EgressPolicy, checks []v1alpha1.RegistryCheck) error {
	policy := before.DeepCopy()
	var worst *metav1.Condition
	for i := range checks {
		c := &checks[i]
		if c.Spec.EgressPolicy != policy.Name || c.DeletionTimestamp != nil || policy.Spec.Source != v1alpha1.SourcePod {
			continue
		}
		if p := proof(c, time.Now()); worst == nil || doubt(p.Status) > doubt(worst.Status) {
			worst = &p
		}
	}
	var news bool
	if worst == nil {
		meta.RemoveStatusCondition(&policy.Status.Conditions, v1alpha1.ConditionProven)
	} else {
		old := meta.FindStatusCondition(policy.Status.Conditions, v1alpha1.ConditionProven)
		news = old == nil && worst.Status != metav1.ConditionUnknown || old != nil && old.Status != worst.Status
		worst.ObservedGeneration = policy.Generation
		meta.SetStatusCondition(&policy.Status.Conditions, *worst)
	}
	if equality.Semantic.DeepEqual(before.Status, policy.Status) {
		return nil
	}
	if err := r.Status().Patch(ctx, policy, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("report on EgressPolicy %s: %w", policy.Name, err)
	}
	if news {
		kind := corev1.EventTypeWarning
		if worst.Status == metav1.ConditionTrue {
			kind = corev1.EventTypeNormal
		}
		r.events.Eventf(policy, nil, kind, worst.Reason, "Prove", "%s", short(worst.Message))
	}
	return nil
}

func doubt(s metav1.ConditionStatus) int {
	return slices.Index([]metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionUnknown, metav1.ConditionFalse}, s)
}

// proof is what a check says of the policy that it names. What is older than three intervals proves nothing.
func proof(c *v1alpha1.RegistryCheck, now time.Time) metav1.Condition {
	p := metav1.Condition{Type: v1alpha1.ConditionProven, Status: metav1.ConditionUnknown, Reason: "NotChecked",
		Message: fmt.Sprintf("RegistryCheck %s has not run yet", c.Name)}
	seen := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionPodsSeen)
	switch {
	case seen == nil || seen.ObservedGeneration != c.Generation:
	case now.Sub(c.Status.LastRun.Time) > 3*registryInterval(c):
		p.Reason, p.Message = "Stale", fmt.Sprintf("RegistryCheck %s has not run since %s", c.Name, c.Status.LastRun.UTC().Format(time.RFC3339))
	default:
		p.Status, p.Reason, p.Message = seen.Status, seen.Reason, short(fmt.Sprintf("RegistryCheck %s: %s", c.Name, seen.Message))
	}
	return p
}
