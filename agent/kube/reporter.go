package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

const (
	look         = 500 * time.Millisecond
	urgent       = time.Second      // at least between reports, when something has changed in kind
	leisure      = 10 * time.Second // when it is something else
	reportTime   = 5 * time.Second
	longestPause = 30 * time.Second // after reports that failed
)

// Reporter writes what is in force on the node to the status of its NodeRoutingState. It writes when something has changed,
// and now and then to say that it is alive, and makes no object: that is the controller's. The fields are set before Run.
type Reporter struct {
	Source *Source
	Status func() agent.Status
	// Sights of the node's pods, as registries see them.
	Sights func() []v1alpha1.SightReport

	object   types.UID                       // that was last written to
	reported v1alpha1.NodeRoutingStateStatus // what was written
	tried    time.Time
	pause    time.Duration // after reports that failed
}

// Run reports until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		snapshot := r.Source.Snapshot()
		if snapshot.State == nil || !snapshot.Restored.IsZero() {
			continue
		}
		status := r.Status()
		if r.object == "" && !status.Synced {
			continue // just started: what it will find in force is not known yet
		}
		now := report(status, r.reported)
		if len(snapshot.State.Spec.Sights) > 0 {
			now.Sights = r.Sights()
		}
		if r.due(now, snapshot.State.UID) {
			r.write(ctx, now, snapshot.State.UID)
		}
	}
}

// due says whether it is time to report.
func (r *Reporter) due(now v1alpha1.NodeRoutingStateStatus, object types.UID) bool {
	quiet := max(urgent, r.pause)
	switch {
	case object != r.object || !reflect.DeepEqual(kind(now), kind(r.reported)):
	case !reflect.DeepEqual(steady(now), steady(r.reported)):
		quiet = max(leisure, r.pause)
	default:
		quiet = v1alpha1.ReportInterval
	}
	return time.Since(r.tried) >= quiet
}

func (r *Reporter) write(ctx context.Context, now v1alpha1.NodeRoutingStateStatus, object types.UID) {
	r.tried = time.Now()
	err := r.patch(ctx, now)
	if ctx.Err() != nil || apierrors.IsNotFound(err) {
		return // deleted a moment ago: the watch will tell
	}
	r.Source.health.heard(request{kind: "NodeRoutingState", name: r.Source.node + "/status"}, err)
	if err != nil {
		r.pause = min(longestPause, max(urgent, 2*r.pause))
		return
	}
	r.object, r.reported, r.pause = object, now, 0
}

// patch replaces the whole status, whatever it was: nobody else writes it.
func (r *Reporter) patch(ctx context.Context, status v1alpha1.NodeRoutingStateStatus) error {
	status.Reported = metav1.Now()
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/status", "value": status}})
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	return r.Source.client.own.Patch(types.JSONPatchType).Resource(kinds["NodeRoutingState"].resource).Name(r.Source.node).
		SubResource("status").VersionedParams(&metav1.PatchOptions{FieldManager: "waymark-agent"}, metav1.ParameterCodec).
		Body(patch).Do(ctx).Error()
}
