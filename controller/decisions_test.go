package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/api/v1alpha1"
)

func TestStateChanges(t *testing.T) {
	node := func(name, uid, cidr string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)}, Spec: corev1.NodeSpec{PodCIDRs: []string{cidr}}}
	}
	state := func(name, uid string, verdicts ...v1alpha1.PrefixVerdict) v1alpha1.NodeRoutingState {
		return v1alpha1.NodeRoutingState{
			ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{UID: types.UID(uid)}}},
			Spec:       v1alpha1.NodeRoutingStateSpec{PodCIDRs: verdicts},
		}
	}
	good := v1alpha1.PrefixVerdict{Prefix: "10.244.1.0/24"}
	bad := v1alpha1.PrefixVerdict{Prefix: "10.244.1.0/24", Conflict: "10.244.1.0/24 of Node n2 overlaps 10.244.1.0/24 of Node n1, which is as old and first by name"}
	n1, n2 := node("n1", "u1", "10.244.1.0/24"), node("n2", "u2", "10.244.1.0/24")
	for name, tt := range map[string]struct {
		nodes  []corev1.Node
		states []v1alpha1.NodeRoutingState
		want   string
	}{
		"all is well":          {[]corev1.Node{n1}, []v1alpha1.NodeRoutingState{state("n1", "u1", good)}, ""},
		"a new node":           {[]corev1.Node{n1}, nil, "create n1"},
		"a node without":       {[]corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n0"}}}, nil, "create n0"},
		"another PodCIDR":      {[]corev1.Node{node("n1", "u1", "10.244.9.0/24")}, []v1alpha1.NodeRoutingState{state("n1", "u1", good)}, "change n1"},
		"a node comes again":   {[]corev1.Node{node("n1", "new", "10.244.1.0/24")}, []v1alpha1.NodeRoutingState{state("n1", "u1", good)}, "delete create n1"},
		"an orphan":            {nil, []v1alpha1.NodeRoutingState{state("n1", "u1", good)}, "delete n1"},
		"a new conflict":       {[]corev1.Node{n2, n1}, []v1alpha1.NodeRoutingState{state("n1", "u1", good), state("n2", "u2", good)}, "change n2 refused"},
		"a conflict as before": {[]corev1.Node{n2, n1}, []v1alpha1.NodeRoutingState{state("n1", "u1", good), state("n2", "u2", bad)}, ""},
		"the conflict is over": {[]corev1.Node{n2}, []v1alpha1.NodeRoutingState{state("n2", "u2", bad)}, "change n2"},
	} {
		changes, _ := stateChanges(tt.nodes, nil, nil, tt.states)
		var got []string
		for _, c := range changes {
			if c.replaces() {
				got = append(got, "delete")
			}
			switch {
			case c.after == nil:
				got = append(got, c.before.Name)
				continue
			case c.before == nil || c.replaces():
				got = append(got, "create")
			default:
				got = append(got, "change")
			}
			got = append(got, c.after.Name)
			if len(c.refusals()) > 0 {
				got = append(got, "refused")
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
}

func TestSessions(t *testing.T) {
	var states []v1alpha1.NodeRoutingState
	for i := range 30 {
		s := v1alpha1.NodeRoutingState{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%02d", 29-i)}}
		s.Status.Sessions = []v1alpha1.SessionStatus{{Peer: "rr1", State: "Active", LastError: fmt.Sprint("error ", i), Since: metav1.Unix(int64(100-(i-7)*(i-7)), 0)}}
		states = append(states, s)
	}
	states[3].Status.Sessions[0].State = "Established"
	got := sessions(states)["rr1"]
	if got.Wanted != 30 || got.Established != 1 || len(got.Down) != 20 || got.Down[0] != "n00" || got.LastError != "n22: error 7" {
		t.Errorf("%+v", got)
	}
}

func TestReported(t *testing.T) {
	var states []v1alpha1.NodeRoutingState
	for i := range 8 {
		s := v1alpha1.NodeRoutingState{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}}
		s.Status.Problems = []v1alpha1.ProblemStatus{{Object: "BGPPeer/rr1", Reason: "Invalid", Message: "no"}, {Object: "BGPPeer/rr1", Reason: "Invalid", Message: "neither"}}
		states = append(states, s)
	}
	states[7].Status.Problems = append(states[7].Status.Problems, v1alpha1.ProblemStatus{Object: "BGPPeer/rr1", Reason: "not a word", Message: strings.Repeat("long ", 500)})
	problems := reported(states)
	if len(problems) != 2 || problems[0].Where != "on n0, n1, n2, n3, n4 and 3 more" {
		t.Fatalf("%v", problems)
	}
	if c := valid(1, problems[1:]); c.Reason != "Problem" || len(c.Message) > 1024 || !strings.HasSuffix(c.Message, "long...") {
		t.Errorf("%+v", c)
	}
	own := map[string]v1alpha1.Object{"BGPPeer/rr1": &v1alpha1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "rr1"}, Spec: v1alpha1.BGPPeerSpec{Address: "10.0.0.1"}}}
	if found := objectProblems(agent.Snapshot{}, own, states)["BGPPeer/rr1"]; len(found) != 2 || found[0].Where != "" {
		t.Errorf("the nodes repeat what is known: %v", found)
	}
}

func TestJudged(t *testing.T) {
	var status v1alpha1.ObjectStatus
	good, bad := valid(1, nil), valid(2, []agent.Problem{{Reason: "Overlap", Message: "a"}})
	worse := valid(2, []agent.Problem{{Reason: "Overlap", Message: "a; b"}})
	for i, step := range []struct {
		condition     metav1.Condition
		changed, news bool
	}{{good, true, false}, {good, false, false}, {bad, true, true}, {worse, true, false}, {good, true, true}} {
		changed, news := judged(&status, step.condition)
		if changed != step.changed || news != step.news {
			t.Errorf("step %d: %v %v, want %v %v", i, changed, news, step.changed, step.news)
		}
	}
}

func TestTrim(t *testing.T) {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", ResourceVersion: "7", ManagedFields: []metav1.ManagedFieldsEntry{{}}, Labels: map[string]string{"a": "b"},
			Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "c": "d"}, CreationTimestamp: metav1.Unix(1, 0)},
		Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24"}, ProviderID: "x"},
		Status: corev1.NodeStatus{Images: make([]corev1.ContainerImage, 50), Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeDiskPressure}, {Type: corev1.NodeReady, Status: "True", LastHeartbeatTime: metav1.NewTime(time.Now())}}},
	}
	o, err := trim(n)
	if err != nil {
		t.Fatal(err)
	}
	got := o.(*corev1.Node)
	if !isReady(got) || got.Labels["a"] != "b" || len(got.Annotations) != 1 || got.Status.Images != nil || got.ManagedFields != nil ||
		got.ResourceVersion != "7" || len(got.Spec.PodCIDRs) != 1 || got.CreationTimestamp.IsZero() {
		t.Errorf("%+v", got)
	}
}
