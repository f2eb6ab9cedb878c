package controller

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/waymark-bgp/waymark/api/v1alpha1"
	"github.com/waymark-bgp/waymark/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// cluster is a real API server with a controller that works.
type cluster struct {
	client.Client // straight to the API server
	kube          *nettest.Kube
	log           *transcript
}

// transcript keeps what the controller logs.
type transcript struct {
	io.Writer
	mu   sync.Mutex
	text strings.Builder
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	return l.Writer.Write(p)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

const metricsAddress, healthAddress = "127.0.0.1:9471", "127.0.0.1:9472"

// start starts a control plane, and a controller that ends with the test.
func start(t *testing.T) cluster {
	t.Helper()
	kube := nettest.StartKube(t, nettest.Self, "127.0.0.1")
	kube.DefineKinds(t)
	if _, err := kube.Kubectl("create", "namespace", "waymark-system"); err != nil {
		t.Fatal(err)
	}
	api, err := clientcmd.BuildConfigFromFlags("", kube.Admin)
	if err != nil {
		t.Fatal(err)
	}
	api.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, eventsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	direct, err := client.New(api, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // what is cleaned up still needs it
	ended := make(chan error)
	log := &transcript{Writer: t.Output()}
	go func() {
		ended <- Run(ctx, rest.CopyConfig(api), Options{
			Namespace: "waymark-system", LeaderElect: true,
			LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 500 * time.Millisecond,
			MetricsAddress: metricsAddress, HealthAddress: healthAddress, Log: slog.New(slog.NewTextHandler(log, nil)),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the controller ended: %v", err)
		}
	})
	nettest.Eventually(t, 30*time.Second, func() error {
		_, err := get("http://" + healthAddress + "/readyz")
		return err
	})
	return cluster{direct, kube, log}
}

func get(url string) (string, error) {
	response, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", url, response.Status, body)
	}
	return string(body), err
}

// node creates a Node that is Ready, deleted with the test.
func (c cluster) node(t *testing.T, name string, labels map[string]string, podCIDRs ...string) *corev1.Node {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{PodCIDRs: podCIDRs}}
	if len(podCIDRs) > 0 {
		n.Spec.PodCIDR = podCIDRs[0]
	}
	if err := c.Create(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), n) })
	c.ready(t, name, true)
	return n
}

// gateway creates a Node that is Ready, with an address and an agent. Its PodCIDR has the address's last number.
func (c cluster) gateway(t *testing.T, name, address string, labels map[string]string) *corev1.Node {
	t.Helper()
	last := address[strings.LastIndexByte(address, '.')+1:]
	n := c.node(t, name, labels, "10.244."+last+".0/24")
	patch := fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":%q}]}}`, address)
	if err := c.Status().Patch(t.Context(), n.DeepCopy(), client.RawPatch("application/strategic-merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
	c.state(t, name, func(s *v1alpha1.NodeRoutingState) error {
		if !ownedBy(s, n.UID) {
			return fmt.Errorf("the state is of the old node: %+v", s)
		}
		return nil
	})
	c.report(t, name, v1alpha1.NodeRoutingStateStatus{})
	return n
}

func (c cluster) ready(t *testing.T, name string, ready bool) {
	t.Helper()
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q,"reason":"Test","message":"%d"}]}}`, status, time.Now().UnixNano())
	if err := c.Status().Patch(t.Context(), n, client.RawPatch("application/strategic-merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// patch changes an object by a JSON merge patch.
func (c cluster) patch(t *testing.T, o client.Object, name, patch string) {
	t.Helper()
	o.SetName(name)
	if err := c.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// apply applies waymark.io manifests without apiVersion, deleted with the test.
func (c cluster) apply(t *testing.T, manifests ...string) {
	t.Helper()
	for _, m := range manifests {
		m = "apiVersion: waymark.io/v1alpha1\n" + m
		c.kube.Apply(t, m)
		t.Cleanup(func() {
			if out, err := c.kube.KubectlAs(c.kube.Admin, m, "delete", "--ignore-not-found", "-f", "-"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// state waits until the node's state is as check wants it.
func (c cluster) state(t *testing.T, node string, check func(*v1alpha1.NodeRoutingState) error) *v1alpha1.NodeRoutingState {
	t.Helper()
	var state v1alpha1.NodeRoutingState
	nettest.Eventually(t, 10*time.Second, func() error {
		state = v1alpha1.NodeRoutingState{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: node}, &state); err != nil {
			return err
		}
		return check(&state)
	})
	return &state
}

// report writes the status of a node's state, as its agent does.
func (c cluster) report(t *testing.T, node string, status v1alpha1.NodeRoutingStateStatus) {
	t.Helper()
	state := c.state(t, node, func(*v1alpha1.NodeRoutingState) error { return nil })
	before := state.DeepCopy()
	state.Status = status
	state.Status.Reported = metav1.Now()
	if err := c.Status().Patch(t.Context(), state, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// judgement of a state: "PREFIX" or "PREFIX: CONFLICT", joined by newlines.
func judgement(s *v1alpha1.NodeRoutingState) string {
	var lines []string
	for _, v := range s.Spec.PodCIDRs {
		lines = append(lines, strings.TrimSuffix(v.Prefix+": "+v.Conflict, ": "))
	}
	return strings.Join(lines, "\n")
}

func judgedAs(want string) func(*v1alpha1.NodeRoutingState) error {
	return func(s *v1alpha1.NodeRoutingState) error {
		if got := judgement(s); got != want {
			return fmt.Errorf("%s: %q, want %q", s.Name, got, want)
		}
		return nil
	}
}

// condition waits for a condition of an object: status, reason and a part of the message.
func (c cluster) condition(t *testing.T, o v1alpha1.Object, name, kind string, status metav1.ConditionStatus, reason, message string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, o); err != nil {
			return err
		}
		found := meta.FindStatusCondition(statusOf(o).Conditions, kind)
		if found == nil || found.Status != status || found.Reason != reason || !strings.Contains(found.Message, message) ||
			found.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("%s: condition %+v, want %s %s %q", name, found, status, reason, message)
		}
		return nil
	})
}

// event waits for an Event about an object.
func (c cluster) event(t *testing.T, kind, name, reason string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		var events eventsv1.EventList
		if err := c.List(t.Context(), &events); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Regarding.Kind == kind && e.Regarding.Name == name && e.Reason == reason {
				return nil
			}
		}
		return fmt.Errorf("no Event %s of %s %s", reason, kind, name)
	})
}

func (c cluster) gone(t *testing.T, o client.Object, name string) {
	t.Helper()
	nettest.Eventually(t, 10*time.Second, func() error {
		err := c.Get(t.Context(), client.ObjectKey{Name: name}, o)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("%s is still there: %v", name, err)
	})
}
