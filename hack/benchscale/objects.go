package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/hack/measure"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

const (
	writers = 64 // requests at the same time
	images  = 50 // that a Node names, as many as a kubelet reports
)

// many does something for each number from first on and less than last.
func many(first, last int, do func(i int) error) error {
	var group errgroup.Group
	group.SetLimit(writers)
	for i := first; i < last; i++ {
		group.Go(func() error { return do(i) })
	}
	return group.Wait()
}

// makeNodes makes Nodes by their numbers.
func (c *cluster) makeNodes(s *measure.Scope, first, last int) {
	s.Check(many(first, last, func(i int) error { return c.client.Create(context.Background(), node(i)) }), "make Nodes")
}

// node is a Node as a kubelet keeps it, some 15 kB.
func node(i int) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{
			"kubernetes.io/hostname": nodeName(i), "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
			"node.kubernetes.io/instance-type": "bare-metal", "topology.kubernetes.io/region": "region-1",
			"topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3), "example.com/rack": fmt.Sprintf("rack-%d", i/40),
		}, Annotations: map[string]string{
			"node.alpha.kubernetes.io/ttl": "300", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
		}},
		Spec: corev1.NodeSpec{PodCIDR: podCIDR(i), PodCIDRs: []string{podCIDR(i)}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeAddress(i)}, {Type: corev1.NodeHostName, Address: nodeName(i)}},
			NodeInfo: corev1.NodeSystemInfo{
				MachineID: digest(i)[:32], SystemUUID: digest(i)[:36], BootID: digest(i)[:36], KernelVersion: "6.18.0", OSImage: "Debian GNU/Linux 12",
				ContainerRuntimeVersion: "containerd://2.1.0", KubeletVersion: "v1.36.0", OperatingSystem: "linux", Architecture: "amd64",
			},
		},
	}
	n.Status.Capacity = corev1.ResourceList{
		"cpu": resource.MustParse("64"), "memory": resource.MustParse("256Gi"), "pods": resource.MustParse("110"), "ephemeral-storage": resource.MustParse("1Ti"),
	}
	n.Status.Allocatable = n.Status.Capacity
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		condition := corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
			Reason: "KubeletHasNo" + string(kind), Message: "kubelet has no " + string(kind)}
		if kind == corev1.NodeReady {
			condition.Status, condition.Reason, condition.Message = corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"
		}
		n.Status.Conditions = append(n.Status.Conditions, condition)
	}
	for j := range images {
		name := fmt.Sprintf("registry.example.com/team-%d/service-%d", j%7, i+j)
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{SizeBytes: 1e8, Names: []string{name + "@sha256:" + digest(i+j), name + ":v1.2.3"}})
	}
	return n
}

func digest(i int) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, i))) }

// makePods makes pods by their numbers, in turns on all nodes, until the time is over, and returns how many it has made. They
// run on nodes that have agents; of the others nobody here reads the status.
func (c *cluster) makePods(s *measure.Scope, first, last, nodes int, patience time.Duration) int {
	deadline := time.Now().Add(patience)
	var made atomic.Int64
	s.Check(many(first, last, func(i int) error {
		if time.Now().After(deadline) {
			return nil
		}
		p := pod(i, i%nodes)
		if err := c.client.Create(context.Background(), p); err != nil {
			return err
		}
		made.Add(1)
		if i%nodes >= agents {
			return nil
		}
		address := fmt.Sprintf("10.%d.%d.%d", 64+i%nodes>>8, i%nodes%256, 2+i/nodes%250)
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}}
		return c.client.Status().Update(context.Background(), p)
	}), "make Pods")
	return int(made.Load())
}

func pod(i, node int) *corev1.Pod {
	no := false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "bench", Name: fmt.Sprintf("pod-%06d", i), Labels: map[string]string{
			"app": fmt.Sprintf("app-%d", i%10), "pod-template-hash": digest(i)[:10],
		}},
		Spec: corev1.PodSpec{
			NodeName: nodeName(node), AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.example.com/team/service@sha256:" + digest(i%100),
				Env: []corev1.EnvVar{{Name: "LEVEL", Value: "info"}, {Name: "PORT", Value: "8080"}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi"),
				}},
			}},
		},
	}
}

// makeReports waits until the controller has judged the nodes, and reports for those without an agent what an agent reports.
func (c *cluster) makeReports(s *measure.Scope, nodes int) {
	var states v1alpha1.NodeRoutingStateList
	nettest.Eventually(s, 5*time.Minute, func() error {
		err := c.client.List(context.Background(), &states)
		if err == nil && len(states.Items) < nodes {
			err = fmt.Errorf("the controller has made %d states of %d", len(states.Items), nodes)
		}
		return err
	})
	byName := map[string]*v1alpha1.NodeRoutingState{}
	for i := range states.Items {
		byName[states.Items[i].Name] = &states.Items[i]
	}
	s.Check(many(agents, nodes, func(i int) error {
		before := byName[nodeName(i)]
		state := before.DeepCopy()
		state.Status = *byName[nodeName(0)].Status.DeepCopy()
		state.Status.RouterID, state.Status.Announced, state.Status.Reported = nodeAddress(i), []string{podCIDR(i)}, metav1.Now()
		return c.client.Status().Patch(context.Background(), state, client.MergeFrom(before))
	}), "report for nodes")
}
