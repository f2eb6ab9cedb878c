package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/hack/measure"
)

// benchChanges measures how fast the controller follows: the label of a role after a node has become a candidate or is none
// any more, and the verdict on the PodCIDR of a new node. The clock runs from before the request until a watch has told.
func (c *cluster) benchChanges(s *measure.Scope, nodes, n int) []measure.Verdict {
	c.changeLabel(s, 0, true) // a role keeps the label of its last node
	var labels, verdicts []time.Duration
	for i := range n {
		pause()
		labels = append(labels, c.changeLabel(s, agents+i/2%(nodes-agents), i%2 == 0))
	}
	for i := range n {
		pause()
		verdicts = append(verdicts, c.newNode(s, nodes+i))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\nwith %d nodes\ttimes\tmedian\t99th percentile\tmost\n", nodes)
	latencies(w, "from a node's label to the role's", labels)
	latencies(w, "from a new Node to the verdict on its PodCIDR", verdicts)
	_ = w.Flush()
	return []measure.Verdict{
		measure.AtMost("from a node's label to the role's, percentile 99", measure.Percentile(labels, 99), changeTarget, measure.Seconds),
		measure.AtMost("from a new Node to the verdict on its PodCIDR, percentile 99", measure.Percentile(verdicts, 99), changeTarget, measure.Seconds),
	}
}

// pause keeps the changes out of step with timers.
func pause() { time.Sleep(100*time.Millisecond + rand.N(100*time.Millisecond)) }

func latencies(out io.Writer, what string, took []time.Duration) {
	fmt.Fprintf(out, "%s\t%d\t%s\t%s\t%s\n", what, len(took), measure.Seconds(measure.Median(took)),
		measure.Seconds(measure.Percentile(took, 99)), measure.Seconds(slices.Max(took)))
}

// changeLabel makes a node a candidate, or ends that, and returns after which time the label of the role has followed.
func (c *cluster) changeLabel(s *measure.Scope, i int, candidate bool) time.Duration {
	events := c.watch(s, &corev1.NodeList{}, nodeName(i))
	defer events.Stop()
	value := "null"
	if candidate {
		value = `"yes"`
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i)}}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, candidateLabel, value)
	begin := time.Now()
	s.Check(c.client.Patch(context.Background(), n, client.RawPatch(types.MergePatchType, patch)), "label a Node")
	s.Check(await(events, func(o *corev1.Node) bool { _, labelled := o.Labels[roleLabel]; return labelled == candidate }), "role of "+nodeName(i))
	return time.Since(begin)
}

// newNode makes a Node and returns after which time its PodCIDR has been judged.
func (c *cluster) newNode(s *measure.Scope, i int) time.Duration {
	events := c.watch(s, &v1alpha1.NodeRoutingStateList{}, nodeName(i))
	defer events.Stop()
	n := node(i)
	begin := time.Now()
	s.Check(c.client.Create(context.Background(), n), "make a Node")
	s.Check(await(events, func(o *v1alpha1.NodeRoutingState) bool { return len(o.Spec.PodCIDRs) == 1 }), "verdict on "+nodeName(i))
	return time.Since(begin)
}

// watch tells of one object, at once and whenever it changes.
func (c *cluster) watch(s *measure.Scope, list client.ObjectList, name string) watch.Interface {
	events, err := c.client.Watch(context.Background(), list,
		client.MatchingFields{"metadata.name": name}, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}})
	s.Check(err, "watch "+name)
	return events
}

// await waits until the object is as it is to be.
func await[T client.Object](events watch.Interface, done func(T) bool) error {
	const patience = 30 * time.Second
	late := time.After(patience)
	for {
		select {
		case <-late:
			return fmt.Errorf("not within %v", patience)
		case event, open := <-events.ResultChan():
			if !open {
				return fmt.Errorf("the watch has ended")
			}
			if object, ok := event.Object.(T); ok && done(object) {
				return nil
			}
		}
	}
}
